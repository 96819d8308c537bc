/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where slabs and instances go: filter, then score; the same state gives the same answer.
 * Part of the core.
 */
#ifndef DILOS_CONTROLLER_CORE_PLACE_H
#define DILOS_CONTROLLER_CORE_PLACE_H

#include "controller/core/core.h"

/*
 * Chooses nodes for up to `slab_count` slabs. Filter: up with a session, not cordoned, not in
 * `excluded` (a bitmap of node slots, may be NULL), a free slab. Score, best first: fewest slabs of
 * this request on the same host; largest share of free slabs; lowest slot.
 * ret_counts[node]: slabs to take there. Returns how many could be placed.
 */
uint32_t place_slabs(const struct core *core, uint32_t slab_count, const uint64_t *excluded,
                     uint32_t ret_counts[CORE_NODES_MAX]);

/* Why each node was rejected, for humans: "mn1 full, mn2 down". */
void place_explain(const struct core *core, const uint64_t *excluded, char *to, uint32_t bytes);

/* The agent with a session that runs the fewest instances; CORE_NONE if there is none. */
uint32_t place_instance(const struct core *core);

#endif
