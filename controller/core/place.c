/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/core/place.h"

#include <stdio.h>
#include <string.h>

static bool excludes(const uint64_t *excluded, uint32_t node)
{
    return excluded != NULL && bitmap_test(excluded, node);
}

/* Is the share of free slabs of a, after what was taken, larger than that of b? */
static bool has_larger_share(const struct core *core, const uint32_t *taken, uint32_t a, uint32_t b)
{
    uint64_t free_a = core->slabs_of[a].count[SLAB_FREE] - taken[a];
    uint64_t free_b = core->slabs_of[b].count[SLAB_FREE] - taken[b];
    return free_a * core->nodes[b].slab_count > free_b * core->nodes[a].slab_count;
}

static uint32_t best_node(const struct core *core, const uint64_t *excluded, const uint32_t *taken,
                          const uint32_t *on_host)
{
    uint32_t best = CORE_NONE;
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (!core_node_usable(core, i) || excludes(excluded, i) ||
            core->slabs_of[i].count[SLAB_FREE] == taken[i]) {
            continue;
        }
        if (best == CORE_NONE) {
            best = i;
            continue;
        }
        uint32_t mine = on_host[core->slabs_of[i].host_slot];
        uint32_t others = on_host[core->slabs_of[best].host_slot];
        if (mine < others || (mine == others && has_larger_share(core, taken, i, best))) {
            best = i;
        }
    }
    return best;
}

uint32_t place_slabs(const struct core *core, uint32_t slab_count, const uint64_t *excluded,
                     uint32_t ret_counts[CORE_NODES_MAX])
{
    uint32_t on_host[CORE_NODES_MAX] = {0};
    uint32_t placed = 0;
    memset(ret_counts, 0, CORE_NODES_MAX * sizeof(ret_counts[0]));
    for (; placed < slab_count; placed++) {
        uint32_t node = best_node(core, excluded, ret_counts, on_host);
        if (node == CORE_NONE) {
            break;
        }
        ret_counts[node]++;
        on_host[core->slabs_of[node].host_slot]++;
    }
    return placed;
}

static const char *why_not(const struct core *core, const uint64_t *excluded, uint32_t node)
{
    const struct node *n = &core->nodes[node];
    if (excludes(excluded, node)) {
        return "failed to grant";
    }
    if (n->cordoned) {
        return "cordoned";
    }
    return core_node_usable(core, node) ? "full" : node_state_name(n->state);
}

void place_explain(const struct core *core, const uint64_t *excluded, char *to, uint32_t bytes)
{
    uint32_t used = 0;
    core_text(to, bytes, "there is no memory node");
    for (uint32_t i = 0; i < CORE_NODES_MAX && used < bytes; i++) {
        if (core->nodes[i].used && core->nodes[i].state != NODE_GONE) {
            int n = snprintf(to + used, bytes - used, "%s%s %s", used == 0 ? "" : ", ",
                             core->nodes[i].name, why_not(core, excluded, i));
            used += (uint32_t)n;
        }
    }
}

uint32_t place_instance(const struct core *core)
{
    uint32_t best = CORE_NONE;
    uint32_t best_count = 0;
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        if (core->agent_links[i].session == 0) {
            continue;
        }
        uint32_t count = core_live_count(core, i);
        if (best == CORE_NONE || count < best_count) {
            best = i;
            best_count = count;
        }
    }
    return best;
}
