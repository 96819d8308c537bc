/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"

/* The command that the words at argv name, and how many they are; NULL: none. */
static const struct cli_command *find_command(int argc, char **argv, int *ret_words)
{
    char two[64];
    snprintf(two, sizeof(two), "%s %s", argv[0], argc > 1 ? argv[1] : "");
    for (uint32_t i = 0; i < cli_command_count; i++) {
        bool is_two = strchr(cli_commands[i].name, ' ') != NULL;
        if (strcmp(cli_commands[i].name, is_two ? two : argv[0]) == 0) {
            *ret_words = is_two ? 2 : 1;
            return &cli_commands[i];
        }
    }
    return NULL;
}

/* A group ("node") without one of its commands. */
static bool is_group(const char *word)
{
    for (uint32_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (strncmp(name, word, strlen(word)) == 0 && name[strlen(word)] == ' ') {
            return true;
        }
    }
    return false;
}

static int unknown_command(struct cli *cli)
{
    char two[64];
    bool has_second = cli->argc > 1 && cli->argv[1][0] != '-';
    snprintf(two, sizeof(two), "%s%s%s", cli->argv[0], has_second ? " " : "",
             has_second ? cli->argv[1] : "");
    const char *nearest = NULL;
    uint32_t nearest_distance = 3;
    for (uint32_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        uint32_t distance = args_distance(strchr(name, ' ') == NULL ? cli->argv[0] : two, name);
        if (distance < nearest_distance) {
            nearest = name;
            nearest_distance = distance;
        }
    }
    if (nearest != NULL) {
        return cli_fail(EXIT_USAGE, NULL, "there is no command \"%s\"; did you mean \"%s\"?", two,
                        nearest);
    }
    return cli_fail(EXIT_USAGE, "dilosctl help lists the commands", "there is no command \"%s\"",
                    two);
}

static int run(struct cli *cli)
{
    static char help[] = "help", version[] = "version";
    char *words[] = {NULL, NULL, NULL};
    const char *asked = NULL;
    int exit_code, word_count;
    if (!args_parse_global(cli, &asked, &exit_code)) {
        return exit_code;
    }
    if (asked == NULL && cli->argc == 0) {
        return cli_fail(EXIT_USAGE, "dilosctl help lists the commands", "a command is missing");
    }
    if (asked != NULL) {
        words[0] = strcmp(asked, "help") == 0 ? help : version;
        cli->argv = words;
        cli->argc = 1;
    } else if (is_group(cli->argv[0]) && (cli->argc == 1 || strcmp(cli->argv[1], "--help") == 0)) {
        bool wrong = cli->argc == 1;
        words[0] = help;
        words[1] = cli->argv[0];
        cli->argv = words;
        cli->argc = 2;
        if (wrong) {
            return cli_fail(EXIT_USAGE, NULL,
                            "\"%s\" needs a second word; dilosctl help %s shows which", words[1],
                            words[1]);
        }
    }
    cli->command = find_command(cli->argc, cli->argv, &word_count);
    if (cli->command == NULL) {
        return unknown_command(cli);
    }
    cli->argc -= word_count;
    cli->argv += word_count;
    return cli->command->run(cli);
}

int main(int argc, char **argv)
{
    /* A reader that goes away shows as a failed write. */
    (void)signal(SIGPIPE, SIG_IGN);
    struct cli cli = {.controller = getenv("DILOS_CONTROLLER"), .argc = argc - 1, .argv = argv + 1};
    if (cli.controller != NULL && cli.controller[0] == '\0') {
        cli.controller = NULL;
    }
    int exit_code = run(&cli);
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        return cli_fail(EXIT_FAILED, NULL, "can't write to stdout");
    }
    return exit_code;
}
