/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slab tables: one entry a slab, written through slab_move() only, with counts that are always
 * right. Part of the core.
 */
#ifndef DILOS_CONTROLLER_CORE_SLABS_H
#define DILOS_CONTROLLER_CORE_SLABS_H

#include "controller/core/core.h"

const struct slab *slab_at(const struct core *core, uint32_t node, uint32_t index);

/*
 * Moves one slab (CHECK: the move is legal). FREE drops owner and generation, all others keep
 * them; RESERVED goes through slab_reserve().
 */
void slab_move(struct core *core, uint32_t node, uint32_t index, enum slab_state state);
void slab_reserve(struct core *core, uint32_t node, uint32_t index, uint32_t instance,
                  uint64_t generation);
/*
 * The memory node knows a grant of this slab that isn't ours: it must be revoked before anything
 * else, whatever we believed. A holder of ours has lost the slab.
 */
void slab_foreign(struct core *core, uint32_t node, uint32_t index, uint64_t generation);
/* Sets how many slabs the node has; those beyond are forgotten. All of them, if `reset`. */
void slabs_resize(struct core *core, uint32_t node, uint32_t slab_count, bool reset);
/* The instance is forgotten; its slabs (none held) have no owner from now on. */
void slabs_disown(struct core *core, uint32_t instance);
/* For loading only: writes an entry as it was. slabs_recount() makes the counts afterwards. */
void slab_load(struct core *core, const struct extent *extent);
void slabs_recount(struct core *core, uint32_t node);

/* The first free slab at or after `from`, or the node's slab count. */
uint32_t slab_find_free(const struct core *core, uint32_t node, uint32_t from);
/* The extent that begins at `first` (below the node's slab count). */
struct extent slab_extent(const struct core *core, uint32_t node, uint32_t first);
/* The first slab of the extent that `index` is in. */
uint32_t slab_extent_start(const struct core *core, uint32_t node, uint32_t index);

#endif
