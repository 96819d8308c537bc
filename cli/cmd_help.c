/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/version.h"

static void print_commands(void)
{
    printf("dilosctl operates a DiLOS memory pool: memory nodes, slabs, and the programs that use "
           "them.\n\nusage: dilosctl [OPTION...] COMMAND [...]\n\ncommands\n");
    for (uint32_t i = 0; i < cli_command_count; i++) {
        printf("  %-14s %s\n", cli_commands[i].name, cli_commands[i].summary);
    }
    printf("\ndilosctl COMMAND --help shows options and examples of a command.\n"
           "Exit codes: 0 done, 1 failed, 2 usage, 3 unreachable, 4 refused, 5 not found.\n"
           "\nexamples\n"
           "  dilosctl status\n"
           "  dilosctl launch --local-memory 64M --far-memory 1G --file index.awk "
           "--file packages.txt \\\n"
           "      --attach -- gawk -f index.awk packages.txt\n");
}

/* `dilosctl help node list` is `dilosctl node list --help`. */
static int help_for(struct cli *cli, const struct args_rest *rest)
{
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "%s%s%s", rest->items[0], rest->count > 1 ? " " : "",
             rest->count > 1 ? rest->items[1] : "");
    bool found = false;
    for (uint32_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        size_t length = strlen(wanted);
        bool whole = strcmp(name, wanted) == 0;
        bool group = strncmp(name, wanted, length) == 0 && name[length] == ' ';
        if (whole || group) {
            static char help[] = "--help";
            char *words[] = {help, NULL};
            struct cli one = *cli;
            one.command = &cli_commands[i];
            one.argc = 1;
            one.argv = words;
            printf("%s", found ? "\n" : "");
            (void)one.command->run(&one);
            found = true;
        }
    }
    return found ? EXIT_DONE
                 : cli_fail(EXIT_USAGE, "dilosctl help lists the commands",
                            "there is no command \"%s\"", wanted);
}

int cmd_help(struct cli *cli)
{
    struct args_rest rest;
    int exit_code;
    if (!args_parse(cli, NULL, 0, &rest, &exit_code)) {
        return exit_code;
    }
    if (rest.count > 0) {
        return help_for(cli, &rest);
    }
    print_commands();
    return EXIT_DONE;
}

int cmd_version(struct cli *cli)
{
    struct args_rest rest;
    int exit_code;
    if (!args_parse(cli, NULL, 0, &rest, &exit_code)) {
        return exit_code;
    }
    if (cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, false);
        json_object(&j, NULL);
        json_text(&j, "version", CLI_VERSION);
        json_object_end(&j);
        json_fini(&j);
    } else {
        printf("dilosctl %s\n", CLI_VERSION);
    }
    return EXIT_DONE;
}
