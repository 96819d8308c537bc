/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/core/core.h"

#include <string.h>

#include "controller/core/slabs.h"
#include "lib/base/check.h"

size_t core_bytes(uint32_t slabs_per_node)
{
    return sizeof(struct core) +
           (size_t)slabs_per_node * CORE_NODES_MAX * sizeof(((struct core *)NULL)->slabs[0]);
}

struct core *core_init(void *memory, uint32_t slabs_per_node, const struct core_times *times)
{
    CHECK(slabs_per_node >= 1 && slabs_per_node <= CORE_SLABS_PER_NODE_MAX);
    struct core *core = memory;
    core->times = *times;
    core->slabs_per_node = slabs_per_node;
    core->meta.next_generation = 1;
    core->meta.next_serial = 1;
    return core;
}

void core_text(char *to, uint32_t bytes, const char *from)
{
    size_t length = strnlen(from, bytes - 1);
    memmove(to, from, length);
    memset(to + length, 0, bytes - length);
}

uint32_t core_find_node(const struct core *core, const char *name)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (core->nodes[i].used && strcmp(core->nodes[i].name, name) == 0) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t core_find_agent(const struct core *core, const char *name)
{
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        if (core->agents[i].used && strcmp(core->agents[i].name, name) == 0) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t core_find_instance(const struct core *core, const char *name)
{
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        if (core->instances[i].used && strcmp(core->instances[i].name, name) == 0) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t core_find_instance_id(const struct core *core, const char *instance_id)
{
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        if (core->instances[i].used && strcmp(core->instances[i].instance_id, instance_id) == 0) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t core_find_serial(const struct core *core, uint64_t serial)
{
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        if (core->instances[i].used && core->instances[i].serial == serial) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t core_node_of_session(const struct core *core, uint64_t session)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX && session != 0; i++) {
        if (core->node_links[i].session == session) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t core_agent_of_session(const struct core *core, uint64_t session)
{
    for (uint32_t i = 0; i < CORE_AGENTS_MAX && session != 0; i++) {
        if (core->agent_links[i].session == session) {
            return i;
        }
    }
    return CORE_NONE;
}

const struct request_key *core_find_key(const struct core *core, const uint8_t *key)
{
    for (uint32_t i = 0; i < CORE_KEYS_MAX; i++) {
        if (core->keys[i].serial != 0 && memcmp(core->keys[i].key, key, CORE_KEY_BYTES) == 0) {
            return &core->keys[i];
        }
    }
    return NULL;
}

uint64_t core_pool_slab_bytes(const struct core *core, uint32_t except)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        bool holds = core->slabs_of[i].count[SLAB_FREE] != core->nodes[i].slab_count;
        if (i != except && core->nodes[i].used && (core->node_links[i].session != 0 || holds)) {
            return core->nodes[i].slab_bytes;
        }
    }
    return 0;
}

bool core_node_usable(const struct core *core, uint32_t node)
{
    const struct node *n = &core->nodes[node];
    return n->used && n->state == NODE_UP && !n->cordoned && core->node_links[node].session != 0;
}

uint64_t core_free_bytes(const struct core *core)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (core_node_usable(core, i)) {
            bytes += core->slabs_of[i].count[SLAB_FREE] * core->nodes[i].slab_bytes;
        }
    }
    return bytes;
}

uint32_t core_live_count(const struct core *core, uint32_t agent)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        const struct instance *instance = &core->instances[i];
        if (instance->used && instance->agent == agent && !instance_ended(instance->state)) {
            count++;
        }
    }
    return count;
}

uint32_t core_quota_slabs(const struct core *core, const struct instance *instance)
{
    uint64_t slab_bytes = core_pool_slab_bytes(core, CORE_NONE);
    if (slab_bytes == 0) {
        return 0;
    }
    uint64_t slabs = instance->far_bytes / slab_bytes + (instance->far_bytes % slab_bytes != 0);
    return (uint32_t)MIN(slabs + CORE_QUOTA_EXTRA_SLABS, (uint64_t)UINT32_MAX);
}

void core_clean(struct core *core)
{
    memset(&core->dirty, 0, sizeof(core->dirty));
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        core->slabs_of[i].dirty_first = 0;
        core->slabs_of[i].dirty_end = 0;
    }
}

static uint32_t host_slot(const struct core *core, uint32_t node)
{
    for (uint32_t i = 0; i < node; i++) {
        if (core->nodes[i].used && strcmp(core->nodes[i].host, core->nodes[node].host) == 0) {
            return i;
        }
    }
    return node;
}

void core_derive_hosts(struct core *core)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        core->slabs_of[i].host_slot = core->nodes[i].used ? host_slot(core, i) : i;
    }
}

void core_derive(struct core *core)
{
    core_derive_hosts(core);
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        slabs_recount(core, i);
    }
}
