/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the controller's state outlives it: a log of commands, and the state that they make. A
 * store is one of two files: store_sqlite.c, and store_sim.c for tests.
 */
#ifndef DILOS_CONTROLLER_STORE_H
#define DILOS_CONTROLLER_STORE_H

#include "controller/core/command.h"

/* Commands that become durable together. */
struct store_batch {
    uint64_t first_index; /* applied_index after the first of them */
    uint32_t count;
    uint32_t *lengths;
    uint8_t *data; /* one after the other */
};

struct store;

struct store_ops {
    /*
     * Writes the batch and all records that core->dirty names, all or nothing. Durable when it
     * returns 0. Errors: -EIO and others of the system: what is stored is unchanged.
     */
    int (*append)(struct store *store, const struct core *core, const struct store_batch *batch);
    /* Fills a core fresh from core_init(). Errors: -EBADMSG: not what a controller wrote. */
    int (*load)(struct store *store, struct core *core);
    struct store *(*close)(struct store *store);
};

struct store {
    const struct store_ops *ops;
};

/*
 * Opens or creates the database. Errors: negative errno, with a sentence about cause and remedy in
 * ret_error (STORE_ERROR_BYTES): damaged, written by a newer version, not ours, no permission.
 */
#define STORE_ERROR_BYTES 512u
int store_sqlite_open(const char *path, struct store **ret, char *ret_error) MUST_CHECK;

/* In memory: keeps the log and loads by replaying it. */
struct store *store_sim_open(void);

#endif
