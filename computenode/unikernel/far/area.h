/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mappings of an address space: ranges that don't overlap, in an AVL tree by address, threaded
 * by a list in the same order. Nodes live in frames of their own; a change first reserves the nodes
 * that it may need, so that nothing fails half way.
 */
#ifndef DILOS_UNIKERNEL_FAR_AREA_H
#define DILOS_UNIKERNEL_FAR_AREA_H

#include <stdint.h>

#include "computenode/unikernel/far/mm.h"
#include "lib/base/list.h"

#define AREAS_MAX 65530 /* as Linux's vm.max_map_count */

struct area {
    struct list link;
    struct area *left;
    struct area *right;
    uint64_t start;
    uint64_t end;
    struct mm_backing *backing; /* NULL: anonymous. The area holds a reference. */
    uint64_t offset;            /* in the backing, of start */
    uint16_t protection;        /* enum mm_protection */
    uint16_t flags;             /* enum mm_map_flags, those that last */
    uint32_t height;
};

struct areas {
    struct list list; /* by address */
    struct list spare;
    struct area *root;
    uint32_t count;
    uint32_t spare_count;
};

void areas_init(struct areas *as);

/* Makes sure of `count` spare nodes. Errors: -ENOMEM, also beyond AREAS_MAX. */
int areas_reserve(struct areas *as, uint32_t count) MUST_CHECK;

/* The first area that ends above `va`, or NULL. */
struct area *areas_find(const struct areas *as, uint64_t va);
/* The area that holds `va`, or NULL. */
struct area *areas_at(const struct areas *as, uint64_t va);
struct area *areas_next(const struct areas *as, const struct area *a);
struct area *areas_previous(const struct areas *as, const struct area *a);

/* Adds a copy of `like` (range, protection, flags, backing, offset). Takes a reserved node. */
struct area *areas_insert(struct areas *as, const struct area *like);
/* The node becomes spare. Drops no reference. */
void areas_remove(struct areas *as, struct area *a);

/* Splits areas so that none crosses start or end. Takes up to two reserved nodes. */
void areas_cut(struct areas *as, uint64_t start, uint64_t end);
/* Joins an area with those after it and the one before it that continue each other. */
void areas_join(struct areas *as, struct area *a);

/* The hole around an empty range: end of the area before, start of the one after. */
void areas_hole(const struct areas *as, uint64_t va, uint64_t *start, uint64_t *end);

/* Highest hole of `bytes` below `top` and not below `bottom`; 0 if there is none. */
uint64_t areas_room_down(const struct areas *as, uint64_t bottom, uint64_t top, uint64_t bytes);
/* Lowest one. */
uint64_t areas_room_up(const struct areas *as, uint64_t bottom, uint64_t top, uint64_t bytes);

#endif
