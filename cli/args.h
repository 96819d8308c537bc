/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of one command: a table on the stack of the command's run function, with pointers to
 * its variables. The same table prints --help, so that help can't lie.
 */
#ifndef DILOS_CLI_ARGS_H
#define DILOS_CLI_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"

enum args_kind {
    ARGS_TEXT,    /* const char ** */
    ARGS_SIZE,    /* uint64_t *, bytes: text_parse_size */
    ARGS_SECONDS, /* uint32_t *, milliseconds: "30", "0.5" */
    ARGS_NUMBER,  /* uint32_t * */
    ARGS_FLAG,    /* bool * */
    ARGS_LIST,    /* struct args_list *; may be given several times */
};

#define ARGS_LIST_MAX 256
struct args_list {
    const char *items[ARGS_LIST_MAX];
    uint32_t count;
};

struct args_option {
    const char *name; /* without dashes */
    enum args_kind kind;
    void *value;          /* holds the default beforehand */
    const char *argument; /* "SIZE"; NULL for flags */
    const char *help;     /* one sentence, with the default */
};

/* What is left after the options; points into argv. */
struct args_rest {
    char **items;
    uint32_t count;
};

/*
 * Reads the options of cli->command (and those that all commands have) from cli->argc/argv.
 * Returns true: go on. False: --help was answered, or the command line is wrong and that was
 * printed, with the option that was probably meant; exit with *ret_exit_code.
 */
bool args_parse(struct cli *cli, const struct args_option *options, uint32_t option_count,
                struct args_rest *ret_rest, int *ret_exit_code) MUST_CHECK;

/*
 * Reads the options before the command's words, the same that all commands have. Moves cli->argc
 * and argv past them. Returns as args_parse; --help and --version set *ret_asked to their name and
 * return true.
 */
bool args_parse_global(struct cli *cli, const char **ret_asked, int *ret_exit_code) MUST_CHECK;

/* Usage, options and examples of cli->command on stdout. */
void args_print_help(const struct cli_command *command, const struct args_option *options,
                     uint32_t option_count);

/*
 * The edit distance of two words (insert, delete, replace, swap neighbours), at most 255; words
 * above 63 bytes have no neighbours: 255.
 */
uint32_t args_distance(const char *a, const char *b);

#endif
