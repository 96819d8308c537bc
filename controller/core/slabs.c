/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/core/slabs.h"

#include <string.h>

#include "lib/base/check.h"

static struct slab *table(const struct core *core, uint32_t node)
{
    return (struct slab *)(uintptr_t)&core->slabs[(size_t)node * core->slabs_per_node];
}

static struct slab *entry(const struct core *core, uint32_t node, uint32_t index)
{
    CHECK(node < CORE_NODES_MAX);
    CHECK(index < core->nodes[node].slab_count);
    return &table(core, node)[index];
}

const struct slab *slab_at(const struct core *core, uint32_t node, uint32_t index)
{
    return entry(core, node, index);
}

static void touch(struct core *core, uint32_t node, uint32_t index)
{
    struct node_slabs *slabs = &core->slabs_of[node];
    if (slabs->dirty_end == 0) {
        slabs->dirty_first = index;
        slabs->dirty_end = index + 1;
    }
    slabs->dirty_first = MIN(slabs->dirty_first, index);
    slabs->dirty_end = MAX(slabs->dirty_end, index + 1);
    slabs->top = MAX(slabs->top, index + 1);
}

static void count_owner(struct core *core, uint32_t node, const struct slab *slab, int by)
{
    if (slab->owner != 0) {
        core->owned[slab->owner - 1][node] += (uint32_t)by;
        if (slab_is_held((enum slab_state)slab->state)) {
            core->held[slab->owner - 1] += (uint32_t)by;
        }
    }
}

/* The only place that writes an entry whose counts are known. */
static void write_entry(struct core *core, uint32_t node, uint32_t index, struct slab to)
{
    struct slab *slab = entry(core, node, index);
    struct node_slabs *slabs = &core->slabs_of[node];
    count_owner(core, node, slab, -1);
    slabs->count[slab->state]--;
    *slab = to;
    slabs->count[slab->state]++;
    count_owner(core, node, slab, 1);
    touch(core, node, index);
}

void slab_move(struct core *core, uint32_t node, uint32_t index, enum slab_state state)
{
    struct slab to = *entry(core, node, index);
    CHECK(state != SLAB_RESERVED);
    CHECK(slab_may_move((enum slab_state)to.state, state));
    to.state = (uint8_t)state;
    if (state == SLAB_FREE) {
        to = (struct slab){.state = SLAB_FREE};
    }
    write_entry(core, node, index, to);
}

void slab_reserve(struct core *core, uint32_t node, uint32_t index, uint32_t instance,
                  uint64_t generation)
{
    CHECK(entry(core, node, index)->state == SLAB_FREE);
    struct slab to = {
        .generation = generation, .owner = (uint16_t)(instance + 1), .state = SLAB_RESERVED};
    write_entry(core, node, index, to);
}

void slab_foreign(struct core *core, uint32_t node, uint32_t index, uint64_t generation)
{
    struct slab to = *entry(core, node, index);
    to.state = slab_is_held((enum slab_state)to.state) ? SLAB_LOST : SLAB_REVOKING;
    to.generation = generation;
    write_entry(core, node, index, to);
}

void slabs_resize(struct core *core, uint32_t node, uint32_t slab_count, bool reset)
{
    struct node *n = &core->nodes[node];
    struct node_slabs *slabs = &core->slabs_of[node];
    CHECK(slab_count <= core->slabs_per_node);
    uint32_t keep = reset ? 0 : slab_count;
    for (uint32_t i = keep; i < MIN(slabs->top, n->slab_count); i++) {
        struct slab forgotten = {.state = SLAB_FREE};
        write_entry(core, node, i, forgotten);
    }
    if (slab_count < n->slab_count) {
        touch(core, node, n->slab_count - 1);
    }
    slabs->count[SLAB_FREE] += slab_count - n->slab_count; /* all beyond are free; wraps down */
    n->slab_count = slab_count;
    slabs->top = MIN(slabs->top, slab_count);
    if (slab_count > 0) {
        uint32_t top = slabs->top;
        touch(core, node, slab_count - 1);
        slabs->top = top;
    }
}

void slabs_disown(struct core *core, uint32_t instance)
{
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        for (uint32_t i = 0; i < core->slabs_of[node].top; i++) {
            if (core->owned[instance][node] == 0) {
                break;
            }
            struct slab to = *entry(core, node, i);
            if (to.owner == instance + 1) {
                CHECK(!slab_is_held((enum slab_state)to.state));
                to.owner = 0;
                write_entry(core, node, i, to);
            }
        }
    }
}

void slab_load(struct core *core, const struct extent *extent)
{
    for (uint32_t i = 0; i < extent->count; i++) {
        struct slab *slab = entry(core, extent->node, extent->first + i);
        slab->generation = extent->generation;
        slab->owner = (uint16_t)extent->owner;
        slab->state = (uint8_t)extent->state;
    }
}

void slabs_recount(struct core *core, uint32_t node)
{
    struct node_slabs *slabs = &core->slabs_of[node];
    memset(slabs->count, 0, sizeof(slabs->count));
    slabs->top = 0;
    for (uint32_t i = 0; i < core->nodes[node].slab_count; i++) {
        const struct slab *slab = entry(core, node, i);
        slabs->count[slab->state]++;
        count_owner(core, node, slab, 1);
        if (slab->state != SLAB_FREE) {
            slabs->top = i + 1;
        }
    }
}

uint32_t slab_find_free(const struct core *core, uint32_t node, uint32_t from)
{
    while (from < core->nodes[node].slab_count && slab_at(core, node, from)->state != SLAB_FREE) {
        from++;
    }
    return from;
}

static bool same(const struct slab *a, const struct slab *b)
{
    return a->state == b->state && a->owner == b->owner && a->generation == b->generation;
}

struct extent slab_extent(const struct core *core, uint32_t node, uint32_t first)
{
    const struct slab *slab = entry(core, node, first);
    uint32_t end = first + 1;
    while (end < core->nodes[node].slab_count && same(slab, slab_at(core, node, end))) {
        end++;
    }
    return (struct extent){.node = node,
                           .first = first,
                           .count = end - first,
                           .state = (enum slab_state)slab->state,
                           .owner = slab->owner,
                           .generation = slab->generation};
}

uint32_t slab_extent_start(const struct core *core, uint32_t node, uint32_t index)
{
    const struct slab *slab = entry(core, node, index);
    while (index > 0 && same(slab, slab_at(core, node, index - 1))) {
        index--;
    }
    return index;
}
