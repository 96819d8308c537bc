/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where each part of an instance's far memory lies: far offset >> slab shift -> slab, in a sparse
 * table of two levels, and per slab which of its pages hold data. Pure bookkeeping, no I/O; owned
 * by the data thread.
 */
#ifndef DILOS_AGENT_SLAB_MAP_H
#define DILOS_AGENT_SLAB_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/bitmap.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

#define FAR_BYTES        (UINT64_C(1) << 48) /* of the device, thinly provisioned */
#define SLAB_BYTES_MIN   MIB
#define SLAB_BYTES_MAX   GIB
#define SLAB_NUMBER_NONE UINT64_MAX

/* A granted slab. */
struct slab {
    struct list link;    /* in the list of spares */
    uint64_t number;     /* far offset >> slab shift; SLAB_NUMBER_NONE while it is not mapped */
    uint32_t peer_index; /* in the slab pool */
    uint32_t fabric_slab;
    uint32_t slab_index; /* on its node */
    uint64_t generation;
    uint32_t in_flight; /* operations of the fabric that have not completed */
    bool lost;          /* an operation failed: what it holds is unknown from then on */
    uint64_t page_count;
    uint64_t pages_set;
    uint64_t pages[]; /* bit: the page holds data; else it reads as zeros */
};

/* NULL without memory. */
struct slab *slab_open(uint64_t slab_bytes);
struct slab *slab_close(struct slab *slab);

static inline bool slab_page_is_set(const struct slab *slab, uint64_t page)
{
    return bitmap_test(slab->pages, page);
}
/* [first, first + count) must lie in the slab. */
void slab_pages_set(struct slab *slab, uint64_t first, uint64_t count);
void slab_pages_clear(struct slab *slab, uint64_t first, uint64_t count);

struct slab_map;

/* slab_bytes: a power of two, SLAB_BYTES_MIN..SLAB_BYTES_MAX. Errors: -EINVAL, -ENOMEM. */
int slab_map_open(uint64_t slab_bytes, struct slab_map **ret) MUST_CHECK;
/* The slabs stay the caller's. */
struct slab_map *slab_map_close(struct slab_map *map);

uint32_t slab_map_shift(const struct slab_map *map);
/* Slabs in the map. */
uint64_t slab_map_count(const struct slab_map *map);
/* number < FAR_BYTES >> shift. NULL: nothing there. */
struct slab *slab_map_get(const struct slab_map *map, uint64_t number);
/* The place must be empty and the slab unmapped. Errors: -ENOMEM. */
int slab_map_put(struct slab_map *map, uint64_t number, struct slab *slab) MUST_CHECK;
void slab_map_remove(struct slab_map *map, struct slab *slab);
/* The first mapped slab with a number at or above `number`; NULL: none. */
struct slab *slab_map_next(const struct slab_map *map, uint64_t number);

#endif
