/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a node offers: slabs of one size, each a sealed memfd of its own, mapped when it
 * is first granted, side by side in one reserved range. One file per slab lets shm pass a single
 * slab, and lets a slab be taken back from a peer that doesn't answer: it keeps the old pages, the
 * next tenant gets a new file.
 *
 * Belongs to one thread, but for arena_slab_base(), which any thread may call for a slab that has
 * been prepared and is not being scrubbed.
 */
#ifndef DILOS_MEMNODE_ARENA_H
#define DILOS_MEMNODE_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define ARENA_SLAB_BYTES_MIN  MIB
#define ARENA_SLAB_BYTES_MAX  GIB
#define ARENA_SLAB_COUNT_MAX  32768u /* each is a descriptor and a mapping (vm.max_map_count) */
#define ARENA_ERROR_BYTES     384u
#define ARENA_DESCRIPTOR_ROOM 256u /* descriptors left for sockets and files */

struct arena;

struct arena_config {
    uint64_t slab_bytes;      /* a power of two, ARENA_SLAB_BYTES_MIN..MAX */
    uint64_t bytes;           /* rounded down to whole slabs */
    bool huge;                /* huge pages if there are enough of them */
    uint64_t available_bytes; /* of the machine; 0: ask it (tests set it) */
};

/*
 * Errors, each with text naming cause and remedy in ret_error (ARENA_ERROR_BYTES): -EINVAL sizes,
 * -ENOMEM more than the machine has available, -EMFILE too many slabs, or errno of the system.
 */
int arena_open(const struct arena_config *config, struct arena **ret, char *ret_error) MUST_CHECK;
struct arena *arena_close(struct arena *arena);

uint32_t arena_slab_count(const struct arena *arena);
uint64_t arena_slab_bytes(const struct arena *arena);
/* How many slabs are on huge pages: all or none at first, fewer after arena_slab_replace(). */
uint32_t arena_huge_count(const struct arena *arena);

/* Makes a slab usable: maps it if it isn't. Errors: -ENOMEM. */
int arena_slab_prepare(struct arena *arena, uint32_t slab) MUST_CHECK;
/* Where a prepared slab is mapped; the same for the life of the arena. */
uint8_t *arena_slab_base(const struct arena *arena, uint32_t slab);
/* The slab's file; the arena keeps it. Changes with arena_slab_replace(). */
int arena_slab_fd(const struct arena *arena, uint32_t slab);

/*
 * Maps every slab, for devices that have its pages registered: from now on scrubbing overwrites
 * pages instead of freeing them, since the device would keep the old ones. Errors: -ENOMEM.
 */
int arena_pin(struct arena *arena) MUST_CHECK;
void arena_unpin(struct arena *arena);

/*
 * Frees (of a pinned arena: overwrites) all pages of the slab and verifies that it reads as zeros.
 * Nobody may use it meanwhile. Errors: -EIO it could not be made zero; errno of the system.
 */
int arena_slab_scrub(struct arena *arena, uint32_t slab) MUST_CHECK;
/*
 * Gives the slab a new, empty file; whoever still maps the old one keeps that alone. old_unused:
 * nobody does, so its pages are freed first. If no huge pages are left for the new one, it gets
 * normal ones. Errors: -ENOMEM, -EMFILE.
 */
int arena_slab_replace(struct arena *arena, uint32_t slab, bool old_unused) MUST_CHECK;

/* What the machine has, also for --check. In bytes; 0 if it can't be found out. */
uint64_t arena_machine_available(void);
struct arena_huge {
    uint64_t page_bytes;
    uint64_t free_count;
};
void arena_machine_huge(struct arena_huge *ret);

#endif
