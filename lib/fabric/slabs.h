/* SPDX-License-Identifier: Apache-2.0 */
/* The slabs that one peer has attached: a growing table, indexed by what fabric_attach returned. */
#ifndef DILOS_LIB_FABRIC_SLABS_H
#define DILOS_LIB_FABRIC_SLABS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/base/list.h"
#include "lib/wire/pageop.h"

#define FABRIC_SLABS_MAX PAGEOP_HANDLES_MAX

enum fabric_slabs_state {
    FABRIC_SLAB_FREE,      /* the index is not in use */
    FABRIC_SLAB_ATTACHING, /* asked for; posts have to wait */
    FABRIC_SLAB_READY,     /* posts reach the memory node */
    FABRIC_SLAB_REVOKED,   /* taken back or refused: posts complete with -EACCES */
    FABRIC_SLAB_DETACHING, /* given up here, the memory node has not been told yet */
};

struct fabric_slabs_item {
    struct list node; /* of slabs.detaching */
    uint32_t index;
    enum fabric_slabs_state state;
    uint8_t attach_left; /* answers to the attach that are still to come */
    int attach_status;   /* the first error among them */
    uint64_t attach_token;
    uint64_t bytes;
    uint8_t *base; /* shm: where it is mapped; else NULL */
    bool writable; /* shm */
};

struct fabric_slabs {
    struct fabric_slabs_item **items;
    uint32_t count;
    struct list detaching;
};

void fabric_slabs_init(struct fabric_slabs *slabs);
/* Items must not be mapped any more. */
void fabric_slabs_fini(struct fabric_slabs *slabs);

/* A free index, now in state FABRIC_SLAB_ATTACHING. Errors: -ENOMEM, -EAGAIN at FABRIC_SLABS_MAX.
 */
int fabric_slabs_take(struct fabric_slabs *slabs, uint64_t bytes, uint64_t token,
                      uint32_t *ret) MUST_CHECK;
/* The item at `index`, or NULL if there is none that is in use. */
struct fabric_slabs_item *fabric_slabs_get(const struct fabric_slabs *slabs, uint32_t index);
/* Moves an item along the table of legal moves. */
void fabric_slabs_move(struct fabric_slabs *slabs, uint32_t index, enum fabric_slabs_state to);

#endif
