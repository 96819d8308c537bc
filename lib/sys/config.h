/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Settings of a daemon: a table of options, read from a file ("key = value", # comments) and then
 * from flags ("--key value", "--key=value"; flags win, a list from flags replaces the file's). The
 * same table prints --help. In a file "#" at the start of a line or after a blank begins a comment.
 */
#ifndef DILOS_LIB_SYS_CONFIG_H
#define DILOS_LIB_SYS_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

enum config_kind {
    CONFIG_TEXT,   /* const char **; the value lives until config_fini */
    CONFIG_SIZE,   /* uint64_t *, text_parse_size */
    CONFIG_NUMBER, /* uint64_t * */
    CONFIG_FLAG,   /* bool *; in a file: yes or no */
    CONFIG_LIST,   /* struct config_list *; may be given several times */
};

#define CONFIG_LIST_MAX       64
#define CONFIG_OPTIONS_MAX    64
#define CONFIG_FILE_BYTES_MAX (64 * 1024)

struct config_list {
    const char *items[CONFIG_LIST_MAX];
    uint32_t count;
};

struct config_option {
    const char *name; /* long name without dashes: "slab-size" */
    enum config_kind kind;
    void *value;          /* holds the default beforehand */
    const char *argument; /* "SIZE", "PATH"; NULL for flags */
    const char *help;     /* one sentence, with the default */
};

struct config {
    const char *program; /* "dilos-memnode" */
    const char *summary;
    const char *examples; /* lines for the end of --help, or NULL */
    const struct config_option *options;
    uint32_t option_count; /* up to CONFIG_OPTIONS_MAX */
    void *storage;         /* private; NULL at first */
};

/*
 * Reads --config FILE if given (else default_path if that exists), then the flags.
 * Returns 0; 1 when --help or --version was answered on stdout: exit 0; -EINVAL with a message on
 * stderr that names file and line (or the flag), what is wrong and what is allowed.
 */
int config_load(struct config *config, const char *default_path, int argc, char **argv) MUST_CHECK;
/*
 * Applies the settings in `text` (the contents of a file; NUL terminated, `bytes` long); `name` is
 * for messages. Errors: -EINVAL with a message on stderr, -ENOMEM.
 */
int config_apply_text(struct config *config, const char *name, const char *text,
                      size_t bytes) MUST_CHECK;
/* Frees the texts that the options point to. */
void config_fini(struct config *config);

#endif
