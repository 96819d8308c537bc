/* SPDX-License-Identifier: Apache-2.0 */
/* What the core knows as messages. All are malloc'ed: free with dilos__..__free_unpacked. */
#ifndef DILOS_CONTROLLER_INFO_H
#define DILOS_CONTROLLER_INFO_H

#include "controller/core/core.h"
#include "proto/dilos.pb-c.h"

Dilos__InstanceInfo *info_instance(const struct core *core, uint32_t slot, bool with_extents);
/* Without counters and health. */
Dilos__NodeInfo *info_node(const struct core *core, uint32_t slot);
Dilos__Endpoint *info_endpoint(const struct endpoint *endpoint);
Dilos__SlabInfo *info_extent(const struct core *core, const struct extent *extent);
Dilos__EventInfo *info_history(const struct history *history);

#define INFO_EXTENTS_MAX 8192u /* in one reply */
struct info_slabs {
    uint32_t node;     /* CORE_NONE: all */
    uint32_t instance; /* CORE_NONE: all, and what is free */
    uint32_t from_node, from_slab;
    uint32_t count_max; /* 0: INFO_EXTENTS_MAX */
};
/* The next of them, and where those begin that are left. */
Dilos__SlabList *info_slabs(const struct core *core, const struct info_slabs *which);

/* malloc, strdup and calloc that end the process when there is no memory. */
void *info_zeroed(size_t count, size_t bytes);
char *info_text(const char *text);

#endif
