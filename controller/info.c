/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/info.h"

#include <stdlib.h>
#include <string.h>

#include "controller/core/slabs.h"
#include "lib/base/check.h"

_Static_assert((int)SLAB_LOST == (int)DILOS__SLAB_STATE__SLAB_LOST, "same numbers");
_Static_assert((int)NODE_GONE == (int)DILOS__NODE_STATE__NODE_GONE, "same numbers");
_Static_assert((int)INSTANCE_FAILED == (int)DILOS__INSTANCE_STATE__INSTANCE_FAILED, "same numbers");

void *info_zeroed(size_t count, size_t bytes)
{
    void *memory = calloc(count == 0 ? 1 : count, bytes);
    CHECK(memory != NULL);
    return memory;
}

char *info_text(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

Dilos__Endpoint *info_endpoint(const struct endpoint *endpoint)
{
    Dilos__Endpoint *m = info_zeroed(1, sizeof(*m));
    dilos__endpoint__init(m);
    m->host_id = info_text(endpoint->host_id);
    m->tcp_address = info_text(endpoint->tcp_address);
    m->shm_path = info_text(endpoint->shm_path);
    m->verbs_address = info_text(endpoint->verbs_address);
    return m;
}

Dilos__SlabInfo *info_extent(const struct core *core, const struct extent *extent)
{
    Dilos__SlabInfo *m = info_zeroed(1, sizeof(*m));
    dilos__slab_info__init(m);
    m->node = info_text(core->nodes[extent->node].name);
    m->slab_first = extent->first;
    m->slab_count = extent->count;
    m->state = (Dilos__SlabState)extent->state;
    m->instance = info_text(extent->owner != 0 ? core->instances[extent->owner - 1].name : "");
    m->generation = extent->generation;
    m->slab_bytes = core->nodes[extent->node].slab_bytes;
    return m;
}

static bool wants(const struct core *core, const struct info_slabs *which, uint32_t node)
{
    return core->nodes[node].used && (which->node == CORE_NONE || which->node == node) &&
           (which->instance == CORE_NONE || core->owned[which->instance][node] > 0);
}

/* Adds those of one node, from `first` on. False: there is no room for another one. */
static bool add_extents(const struct core *core, const struct info_slabs *which, uint32_t node,
                        uint32_t first, uint32_t count_max, Dilos__SlabList *m)
{
    while (first < core->nodes[node].slab_count) {
        struct extent extent = slab_extent(core, node, first);
        if (which->instance == CORE_NONE || extent.owner == which->instance + 1) {
            if (m->n_extents == count_max) {
                m->next_node = info_text(core->nodes[node].name);
                m->next_slab = first;
                return false;
            }
            m->extents[m->n_extents++] = info_extent(core, &extent);
        }
        first += extent.count;
    }
    return true;
}

Dilos__SlabList *info_slabs(const struct core *core, const struct info_slabs *which)
{
    uint32_t count_max =
        which->count_max == 0 ? INFO_EXTENTS_MAX : MIN(which->count_max, INFO_EXTENTS_MAX);
    Dilos__SlabList *m = info_zeroed(1, sizeof(*m));
    bool room = true;
    dilos__slab_list__init(m);
    m->extents = info_zeroed(count_max, sizeof(*m->extents));
    for (uint32_t i = which->from_node; i < CORE_NODES_MAX && room; i++) {
        uint32_t first = i == which->from_node ? which->from_slab : 0;
        room = !wants(core, which, i) || add_extents(core, which, i, first, count_max, m);
    }
    return m;
}

static Dilos__InstanceSpec *info_spec(const struct core *core, uint32_t slot)
{
    const struct instance_spec *spec = &core->specs[slot];
    return dilos__instance_spec__unpack(NULL, spec->bytes, spec->data);
}

Dilos__InstanceInfo *info_instance(const struct core *core, uint32_t slot, bool with_extents)
{
    const struct instance *instance = &core->instances[slot];
    Dilos__InstanceInfo *m = info_zeroed(1, sizeof(*m));
    dilos__instance_info__init(m);
    m->name = info_text(instance->name);
    m->instance_id = info_text(instance->instance_id);
    m->state = (Dilos__InstanceState)instance->state;
    m->spec = info_spec(core, slot);
    m->agent = info_text(core->agents[instance->agent].name);
    m->exit_kind = info_text(instance->exit_kind);
    m->exit_code = instance->exit_code;
    m->reason = info_text(instance->reason);
    m->created_ns = instance->created_ns;
    m->started_ns = instance->started_ns;
    m->ended_ns = instance->ended_ns;
    m->slabs_held = core->held[slot];
    if (with_extents) {
        const struct info_slabs which = {.node = CORE_NONE, .instance = slot};
        Dilos__SlabList *slabs = info_slabs(core, &which);
        m->extents_cut = slabs->next_node[0] != '\0';
        m->n_extents = slabs->n_extents;
        m->extents = slabs->extents;
        slabs->n_extents = 0;
        slabs->extents = NULL;
        dilos__slab_list__free_unpacked(slabs, NULL);
    }
    return m;
}

static Dilos__Label **info_labels(const struct labels *labels)
{
    Dilos__Label **items = info_zeroed(labels->count, sizeof(Dilos__Label *));
    for (uint32_t i = 0; i < labels->count; i++) {
        items[i] = info_zeroed(1, sizeof(*items[i]));
        dilos__label__init(items[i]);
        items[i]->key = info_text(labels->items[i].key);
        items[i]->value = info_text(labels->items[i].value);
    }
    return items;
}

Dilos__NodeInfo *info_node(const struct core *core, uint32_t slot)
{
    const struct node *node = &core->nodes[slot];
    const uint32_t *count = core->slabs_of[slot].count;
    Dilos__NodeInfo *m = info_zeroed(1, sizeof(*m));
    dilos__node_info__init(m);
    m->name = info_text(node->name);
    m->node_id = info_text(node->node_id);
    m->arena_id = info_text(node->arena_id);
    m->state = (Dilos__NodeState)node->state;
    m->host = info_text(node->host);
    m->n_labels = node->labels.count;
    m->labels = info_labels(&node->labels);
    m->slab_bytes = node->slab_bytes;
    m->slab_count = node->slab_count;
    m->slabs_free = count[SLAB_FREE];
    m->slabs_granted = count[SLAB_GRANTED] + count[SLAB_MIGRATING];
    m->slabs_other = node->slab_count - m->slabs_free - m->slabs_granted;
    m->endpoint = info_endpoint(&node->endpoint);
    m->cordoned = node->cordoned;
    return m;
}

Dilos__EventInfo *info_history(const struct history *history)
{
    Dilos__EventInfo *m = info_zeroed(1, sizeof(*m));
    dilos__event_info__init(m);
    m->index = history->index;
    m->time_ns = history->time_ns;
    m->kind = info_text(history->kind);
    m->subject = info_text(history->subject);
    m->detail = info_text(history->detail);
    return m;
}
