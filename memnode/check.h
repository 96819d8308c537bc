/* SPDX-License-Identifier: Apache-2.0 */
/* dilos-memnode --check: one line for each thing that matters, with its fix. */
#ifndef DILOS_MEMNODE_CHECK_H
#define DILOS_MEMNODE_CHECK_H

#include <stdint.h>

#include "memnode/options.h"

#define CHECK_ITEMS_MAX  48u
#define CHECK_TEXT_BYTES 512u

struct check_item {
    const char *state; /* "ok"; "missing": works, but not as well as it could; "FAILED" */
    const char *thing;
    char detail[CHECK_TEXT_BYTES];
    char fix[CHECK_TEXT_BYTES];
};

struct check_report {
    uint32_t count;
    struct check_item items[CHECK_ITEMS_MAX];
};

/* What the machine has and lacks for these settings. Takes nothing from it. */
void check_collect(const struct options *options, struct check_report *ret);

/* Prints to stdout. True if the node would start with these settings. */
bool check_machine(const struct options *options);

#endif
