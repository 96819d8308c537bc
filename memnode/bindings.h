/* SPDX-License-Identifier: Apache-2.0 */
/* The handles of one connection: a growing table from what the client chose to a slab. */
#ifndef DILOS_MEMNODE_BINDINGS_H
#define DILOS_MEMNODE_BINDINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

enum binding_state {
    BINDING_FREE,
    BINDING_BOUND,    /* requests reach the slab */
    BINDING_REVOKING, /* shm: the client was told to unmap and has not said that it did */
};

struct binding {
    enum binding_state state;
    bool read_only;
    bool revoked; /* FREE: it was `slab` until that was taken back */
    uint32_t slab;
};

struct bindings {
    struct binding *items;
    uint32_t count;
};

/* All zero bytes is an empty table. */
void bindings_fini(struct bindings *bindings);
/* The item of `handle`, grown as needed. NULL: out of memory or handle above the limit. */
struct binding *bindings_make(struct bindings *bindings, uint32_t handle);
/* The item of `handle`, or NULL if it is free. */
struct binding *bindings_get(const struct bindings *bindings, uint32_t handle);
/* The slab that the free `handle` stood for until that was taken back. False: none. */
bool bindings_was(const struct bindings *bindings, uint32_t handle, uint32_t *ret_slab);

#endif
