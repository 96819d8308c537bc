/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/args.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sys/text.h"

#define DISTANCE_LENGTH_MAX 63u
#define DISTANCE_NEAR       2u
#define SECONDS_MAX         (7 * 86400.0)

/* The values of the options that every command has. */
struct global_values {
    const char *controller;
    const char *output;
    bool quiet;
    bool help;
    bool version;
};

#define GLOBAL_COUNT 5u
static void global_options(struct global_values *values, struct args_option to[GLOBAL_COUNT])
{
    const struct args_option options[GLOBAL_COUNT] = {
        {"controller", ARGS_TEXT, &values->controller, "ADDRESS",
         "unix:/PATH or HOST:PORT; default: $DILOS_CONTROLLER, else "
         "unix:/run/dilos/controller.sock, else 127.0.0.1:7400"},
        {"output", ARGS_TEXT, &values->output, "FORMAT", "table or json; default: table"},
        {"quiet", ARGS_FLAG, &values->quiet, NULL, "names only, and no progress"},
        {"help", ARGS_FLAG, &values->help, NULL, "this text"},
        {"version", ARGS_FLAG, &values->version, NULL, "the version of dilosctl"},
    };
    memcpy(to, options, sizeof(options));
}

uint32_t args_distance(const char *a, const char *b)
{
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > DISTANCE_LENGTH_MAX || b_length > DISTANCE_LENGTH_MAX) {
        return 255;
    }
    /* Three rows of the table: i - 2, i - 1 and i, in turn. */
    uint32_t rows[3][DISTANCE_LENGTH_MAX + 1];
    for (size_t j = 0; j <= b_length; j++) {
        rows[0][j] = (uint32_t)j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        uint32_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (uint32_t)i;
        for (size_t j = 1; j <= b_length; j++) {
            uint32_t replaced = above[j - 1] + (a[i - 1] != b[j - 1]);
            row[j] = MIN(MIN(above[j] + 1, row[j - 1] + 1), replaced);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], above2[j - 2] + 1);
            }
        }
    }
    return rows[a_length % 3][b_length];
}

static void nearest_option(const char *name, const struct args_option *options, uint32_t count,
                           const char **nearest, uint32_t *nearest_distance)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t distance = args_distance(name, options[i].name);
        /* "--local" is meant as "--local-memory" although many letters are missing. */
        if (strlen(name) >= 3 && strncmp(name, options[i].name, strlen(name)) == 0) {
            distance = 1;
        }
        if (distance < *nearest_distance) {
            *nearest = options[i].name;
            *nearest_distance = distance;
        }
    }
}

static const struct args_option *find_option(const struct args_option *options, uint32_t count,
                                             const char *name)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(options[i].name, name) == 0) {
            return &options[i];
        }
    }
    return NULL;
}

static int bad_value(const struct args_option *option, const char *value, const char *allowed)
{
    return cli_fail(EXIT_USAGE, NULL, "--%s %s: \"%s\" is not %s", option->name, option->argument,
                    value, allowed);
}

static int parse_seconds(const struct args_option *option, const char *text)
{
    char *end = NULL;
    errno = 0;
    double seconds = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(seconds) || seconds < 0 ||
        seconds > SECONDS_MAX) {
        return bad_value(option, text, "a number of seconds (0 to 604800)");
    }
    *(uint32_t *)option->value = (uint32_t)(seconds * 1000 + 0.5);
    return EXIT_DONE;
}

/* Returns an exit code. */
static int set_value(const struct args_option *option, const char *text)
{
    struct args_list *list;
    uint64_t number;
    switch (option->kind) {
    case ARGS_FLAG:
        *(bool *)option->value = true;
        return EXIT_DONE;
    case ARGS_TEXT:
        *(const char **)option->value = text;
        return EXIT_DONE;
    case ARGS_SIZE:
        if (text_parse_size(text, option->value) != 0) {
            return bad_value(option, text, "a size (examples: 64M, 1G, 512KiB, 4096)");
        }
        return EXIT_DONE;
    case ARGS_SECONDS:
        return parse_seconds(option, text);
    case ARGS_NUMBER:
        if (text_parse_u64(text, UINT32_MAX, &number) != 0) {
            return bad_value(option, text, "a number");
        }
        *(uint32_t *)option->value = (uint32_t)number;
        return EXIT_DONE;
    case ARGS_LIST:
        list = option->value;
        if (list->count == ARGS_LIST_MAX) {
            return cli_fail(EXIT_USAGE, NULL, "--%s: more than %u of them", option->name,
                            (unsigned)ARGS_LIST_MAX);
        }
        list->items[list->count++] = text;
        return EXIT_DONE;
    }
    return cli_fail(EXIT_FAILED, NULL, "--%s: unknown kind", option->name);
}

struct parser {
    const struct args_option *options;
    uint32_t option_count;
    struct args_option globals[GLOBAL_COUNT];
    struct global_values values;
    int argc;
    char **argv;
    int next;
};

static int unknown_option(const struct parser *p, const char *name)
{
    const char *nearest = NULL;
    uint32_t distance = DISTANCE_NEAR + 1;
    nearest_option(name, p->options, p->option_count, &nearest, &distance);
    nearest_option(name, p->globals, GLOBAL_COUNT, &nearest, &distance);
    if (nearest != NULL) {
        return cli_fail(EXIT_USAGE, NULL, "there is no option --%s; did you mean --%s?", name,
                        nearest);
    }
    return cli_fail(EXIT_USAGE, "--help lists the options", "there is no option --%s", name);
}

/* Takes the option at p->next. Returns an exit code. */
static int take_option(struct parser *p)
{
    const char *word = p->argv[p->next++];
    if (strcmp(word, "-h") == 0) {
        word = "--help";
    } else if (strcmp(word, "-q") == 0) {
        word = "--quiet";
    }
    if (word[1] != '-') {
        return cli_fail(EXIT_USAGE, "--help lists the options", "there is no option %s", word);
    }
    char name[64];
    const char *equals = strchr(word, '=');
    size_t length = equals == NULL ? strlen(word + 2) : (size_t)(equals - word) - 2;
    snprintf(name, sizeof(name), "%.*s", (int)MIN(length, sizeof(name) - 1), word + 2);
    const struct args_option *option = find_option(p->options, p->option_count, name);
    if (option == NULL) {
        option = find_option(p->globals, GLOBAL_COUNT, name);
    }
    if (option == NULL) {
        return unknown_option(p, name);
    }
    if (option->kind == ARGS_FLAG && equals != NULL) {
        return cli_fail(EXIT_USAGE, NULL, "--%s takes no value", name);
    }
    if (option->kind == ARGS_FLAG || equals != NULL) {
        return set_value(option, equals == NULL ? NULL : equals + 1);
    }
    if (p->next == p->argc) {
        return cli_fail(EXIT_USAGE, NULL, "--%s needs a value: --%s %s", name, name,
                        option->argument);
    }
    return set_value(option, p->argv[p->next++]);
}

static int apply_globals(struct cli *cli, const struct global_values *values)
{
    if (values->controller != NULL) {
        cli->controller = values->controller;
    }
    cli->quiet |= values->quiet;
    if (values->output == NULL) {
        return EXIT_DONE;
    }
    if (strcmp(values->output, "json") != 0 && strcmp(values->output, "table") != 0) {
        return cli_fail(EXIT_USAGE, NULL, "--output %s: the formats are table and json",
                        values->output);
    }
    cli->output = strcmp(values->output, "json") == 0 ? CLI_OUTPUT_JSON : CLI_OUTPUT_TABLE;
    return EXIT_DONE;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* Options are taken out of argv; the other words move to its front. Returns an exit code. */
static int parse_words(struct parser *p, bool stop_at_positional, struct args_rest *rest)
{
    rest->items = p->argv;
    rest->count = 0;
    while (p->next < p->argc) {
        char *word = p->argv[p->next];
        bool end = strcmp(word, "--") == 0;
        p->next += end;
        if (end || (!is_option(word) && stop_at_positional)) {
            while (p->next < p->argc) {
                p->argv[rest->count++] = p->argv[p->next++];
            }
        } else if (is_option(word)) {
            int exit_code = take_option(p);
            if (exit_code != EXIT_DONE) {
                return exit_code;
            }
        } else {
            p->argv[rest->count++] = word;
            p->next++;
        }
    }
    return EXIT_DONE;
}

static int check_count(const struct cli_command *command, uint32_t count, char **items)
{
    if (count > command->positional_max) {
        return cli_fail(EXIT_USAGE, NULL,
                        "%s: \"%s\" is one argument too many; usage: dilosctl %s"
                        "%s%s",
                        command->name, items[command->positional_max], command->name,
                        command->arguments[0] == '\0' ? "" : " ", command->arguments);
    }
    if (count < command->positional_min) {
        return cli_fail(EXIT_USAGE, NULL, "%s: an argument is missing; usage: dilosctl %s %s",
                        command->name, command->name, command->arguments);
    }
    return EXIT_DONE;
}

bool args_parse(struct cli *cli, const struct args_option *options, uint32_t option_count,
                struct args_rest *ret_rest, int *ret_exit_code)
{
    struct parser p = {
        .options = options, .option_count = option_count, .argc = cli->argc, .argv = cli->argv};
    global_options(&p.values, p.globals);
    struct args_rest rest;
    int exit_code = parse_words(&p, cli->command->stop_at_positional, &rest);
    if (exit_code == EXIT_DONE && p.values.help) {
        args_print_help(cli->command, options, option_count);
        *ret_exit_code = EXIT_DONE;
        return false;
    }
    if (exit_code == EXIT_DONE && p.values.version) {
        exit_code = cli_fail(EXIT_USAGE, NULL, "--version comes before the command");
    }
    if (exit_code == EXIT_DONE) {
        exit_code = apply_globals(cli, &p.values);
    }
    if (exit_code == EXIT_DONE) {
        exit_code = check_count(cli->command, rest.count, rest.items);
    }
    if (exit_code != EXIT_DONE) {
        *ret_exit_code = exit_code;
        return false;
    }
    *ret_rest = rest;
    return true;
}

bool args_parse_global(struct cli *cli, const char **ret_asked, int *ret_exit_code)
{
    struct parser p = {.argc = cli->argc, .argv = cli->argv};
    global_options(&p.values, p.globals);
    int exit_code = EXIT_DONE;
    while (exit_code == EXIT_DONE && p.next < p.argc && is_option(p.argv[p.next])) {
        exit_code = take_option(&p);
    }
    if (exit_code == EXIT_DONE) {
        exit_code = apply_globals(cli, &p.values);
    }
    if (exit_code != EXIT_DONE) {
        *ret_exit_code = exit_code;
        return false;
    }
    cli->argc -= p.next;
    cli->argv += p.next;
    *ret_asked = p.values.help ? "help" : p.values.version ? "version" : NULL;
    return true;
}

static void print_option(const struct args_option *option)
{
    char left[64];
    snprintf(left, sizeof(left), "--%s%s%s", option->name, option->argument == NULL ? "" : " ",
             option->argument == NULL ? "" : option->argument);
    printf("  %-24s  %s%s\n", left, option->help,
           option->kind == ARGS_LIST ? " (may be repeated)" : "");
}

void args_print_help(const struct cli_command *command, const struct args_option *options,
                     uint32_t option_count)
{
    printf("dilosctl %s: %s\n\nusage: dilosctl %s%s%s%s\n", command->name, command->summary,
           command->name, option_count == 0 ? "" : " [OPTION...]",
           command->arguments[0] == '\0' ? "" : " ", command->arguments);
    if (command->details != NULL) {
        printf("\n%s\n", command->details);
    }
    if (option_count > 0) {
        printf("\noptions\n");
    }
    for (uint32_t i = 0; i < option_count; i++) {
        print_option(&options[i]);
    }
    printf("\noptions of all commands\n");
    struct global_values values;
    struct args_option globals[GLOBAL_COUNT];
    global_options(&values, globals);
    for (uint32_t i = 0; i + 1 < GLOBAL_COUNT; i++) {
        print_option(&globals[i]);
    }
    printf("\nexamples\n%s\n", command->examples);
}
