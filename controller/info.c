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

static bool wants(const struct core *core, uint32_t node, uint32_t instance, uint32_t i)
{
    return core->nodes[i].used && (node == CORE_NONE || node == i) &&
           (instance == CORE_NONE || core->owned[instance][i] > 0);
}

Dilos__SlabList *info_slabs(const struct core *core, uint32_t node, uint32_t instance)
{
    Dilos__SlabList *m = info_zeroed(1, sizeof(*m));
    dilos__slab_list__init(m);
    m->extents = info_zeroed(INFO_EXTENTS_MAX, sizeof(*m->extents));
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        uint32_t first = 0;
        while (wants(core, node, instance, i) && first < core->nodes[i].slab_count &&
               m->n_extents < INFO_EXTENTS_MAX) {
            struct extent extent = slab_extent(core, i, first);
            if (instance == CORE_NONE || extent.owner == instance + 1) {
                m->extents[m->n_extents++] = info_extent(core, &extent);
            }
            first += extent.count;
        }
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
        Dilos__SlabList *slabs = info_slabs(core, CORE_NONE, slot);
        m->n_extents = slabs->n_extents;
        m->extents = slabs->extents;
        free(slabs);
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
