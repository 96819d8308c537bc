/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all commands of dilosctl share. One process runs one command on one thread, so commands
 * keep nothing: they get a struct cli and return an exit code.
 *
 * Functions in cli/ that return `int` and talk to the user return an exit code (enum cli_exit):
 * whoever finds an error prints it, once, and passes the code on.
 */
#ifndef DILOS_CLI_CLI_H
#define DILOS_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

/* Documented in the manual page; scripts rely on them. */
enum cli_exit {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,      /* it was tried and did not work out */
    EXIT_USAGE = 2,       /* the command line, or the request itself, is wrong */
    EXIT_UNREACHABLE = 3, /* the controller, or whom it needs, can't be reached */
    EXIT_REFUSED = 4,     /* understood, but not possible now */
    EXIT_NOT_FOUND = 5,   /* no node, slab, instance or image has that name */
};

enum cli_output { CLI_OUTPUT_TABLE, CLI_OUTPUT_JSON };

struct cli;

/* A row of the table in main.c. */
struct cli_command {
    const char *name; /* one or two words: "status", "node list" */
    const char
        *arguments;       /* after the options, for the usage line: "NAME", "-- PROGRAM [ARG...]" */
    const char *summary;  /* one line, for the list of commands */
    const char *details;  /* paragraphs for --help, or NULL */
    const char *examples; /* lines, each a comment or a command */
    uint32_t positional_min;
    uint32_t positional_max;
    bool stop_at_positional; /* options end at the first argument that isn't one */
    int (*run)(struct cli *cli);
};

struct cli {
    const char *controller; /* --controller, else DILOS_CONTROLLER, else NULL: the default */
    const char *address;    /* the one that answered, once a session is open */
    enum cli_output output;
    bool quiet; /* names only, no progress */
    const struct cli_command *command;
    int argc; /* what follows the command's words */
    char **argv;
};

extern const struct cli_command cli_commands[];
extern const uint32_t cli_command_count;

/*
 * Prints "dilosctl: TEXT" and, if there is one, "  remedy: REMEDY" on stderr, with control
 * characters made harmless (the text may come from a peer). Returns `exit_code`.
 */
int cli_fail(enum cli_exit exit_code, const char *remedy, const char *format, ...)
    PRINTF_LIKE(3, 4);

int cmd_status(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_help(struct cli *cli);
int cmd_node_list(struct cli *cli);
int cmd_node_inspect(struct cli *cli);
int cmd_slab_list(struct cli *cli);
int cmd_slab_inspect(struct cli *cli);
int cmd_launch(struct cli *cli);
int cmd_ps(struct cli *cli);
int cmd_inspect(struct cli *cli);
int cmd_logs(struct cli *cli);
int cmd_stop(struct cli *cli);
int cmd_wait(struct cli *cli);
int cmd_rm(struct cli *cli);
int cmd_tune(struct cli *cli);
int cmd_resize(struct cli *cli);
int cmd_events(struct cli *cli);
int cmd_image_build(struct cli *cli);
int cmd_image_list(struct cli *cli);

#endif
