/* SPDX-License-Identifier: Apache-2.0 */
/* Memory nodes and agents that register. */
#include <stdio.h>
#include <string.h>

#include "controller/core/decide.h"
#include "controller/core/slabs.h"

#define MIB_OF(bytes) ((unsigned long long)((bytes) / MIB))

static bool refuse_stale(const struct core *core, const struct core_event *e, struct decision *d,
                         const char *name)
{
    if (e->epoch_seen <= core->meta.epoch) {
        return false;
    }
    decide_refuse(d, CORE_ERROR_STALE_EPOCH,
                  "stop this controller if another one runs; otherwise restore its newest state "
                  "folder, or start all members with empty state folders",
                  "%s has seen controller epoch %llu, this controller is at %llu: it is older, or "
                  "its state is",
                  name, (unsigned long long)e->epoch_seen, (unsigned long long)core->meta.epoch);
    return true;
}

static bool refuse_geometry(const struct core *core, const struct node *node, uint32_t slot,
                            struct decision *d)
{
    uint64_t pool_bytes = core_pool_slab_bytes(core, slot);
    if (!IS_POWER_OF_TWO(node->slab_bytes) || node->slab_bytes < CORE_SLAB_BYTES_MIN ||
        node->slab_bytes > CORE_SLAB_BYTES_MAX) {
        decide_refuse(d, CORE_ERROR_INVALID, "use a power of two from 1M to 1G as --slab-size",
                      "memory node %s has slabs of %llu bytes", node->name,
                      (unsigned long long)node->slab_bytes);
        return true;
    }
    if (node->slab_count == 0 || node->slab_count > core->slabs_per_node) {
        decide_refuse(d, CORE_ERROR_INVALID, "use a larger --slab-size, or less memory a node",
                      "memory node %s has %u slabs, 1 to %u are possible", node->name,
                      node->slab_count, core->slabs_per_node);
        return true;
    }
    if (pool_bytes != 0 && pool_bytes != node->slab_bytes) {
        decide_refuse(d, CORE_ERROR_REFUSED,
                      "start it with the pool's slab size (--slab-size), or use another pool",
                      "memory node %s has slabs of %lluM, this pool has slabs of %lluM", node->name,
                      MIB_OF(node->slab_bytes), MIB_OF(pool_bytes));
        return true;
    }
    return false;
}

static uint32_t held_on(const struct core *core, uint32_t node)
{
    const uint32_t *count = core->slabs_of[node].count;
    return count[SLAB_RESERVED] + count[SLAB_GRANTED] + count[SLAB_MIGRATING];
}

/* The name is known: is this the same node, or may it take its place? */
static bool refuse_double(const struct core *core, const struct node *node, uint32_t slot,
                          struct decision *d)
{
    const struct node *known = &core->nodes[slot];
    if (strcmp(known->node_id, node->node_id) != 0) {
        if (core->node_links[slot].session != 0) {
            decide_refuse(d, CORE_ERROR_EXISTS, "give one of the two another --name",
                          "another memory node named %s is connected, from %s", node->name,
                          core->node_links[slot].address);
            return true;
        }
        if (held_on(core, slot) > 0) {
            decide_refuse(d, CORE_ERROR_EXISTS,
                          "bring that memory node back, stop the instances that use it (dilosctl "
                          "slab list --node), or take another --name",
                          "the memory node that was %s before holds %u slabs that are in use",
                          node->name, held_on(core, slot));
            return true;
        }
        return false;
    }
    if (strcmp(known->arena_id, node->arena_id) == 0 &&
        (known->slab_bytes != node->slab_bytes || known->slab_count != node->slab_count)) {
        decide_refuse(d, CORE_ERROR_INVALID, "restart the memory node, so that it gets a new arena",
                      "memory node %s says that its arena is the one of before, but has %u slabs "
                      "of %lluM instead of %u of %lluM",
                      node->name, node->slab_count, MIB_OF(node->slab_bytes), known->slab_count,
                      MIB_OF(known->slab_bytes));
        return true;
    }
    return false;
}

/* An unused slot, else that of a node that is away and holds nothing. */
static uint32_t node_slot(const struct core *core)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (!core->nodes[i].used) {
            return i;
        }
    }
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (core->nodes[i].state == NODE_DOWN &&
            core->slabs_of[i].count[SLAB_FREE] == core->nodes[i].slab_count) {
            return i;
        }
    }
    return CORE_NONE;
}

/* What the node holds and we don't know, and the other way round. */
static bool compare_held(const struct core *core, const struct core_event *e, uint32_t slot,
                         bool same_arena, struct decision *d)
{
    struct command *command = &d->command;
    memset(d->seen, 0, BITMAP_WORDS(e->node->slab_count) * sizeof(d->seen[0]));
    for (uint32_t i = 0; i < e->held_count; i++) {
        struct extent foreign = {.node = slot,
                                 .first = e->held[i].index,
                                 .count = 1,
                                 .state = SLAB_REVOKING,
                                 .generation = e->held[i].generation};
        if (foreign.first >= e->node->slab_count || bitmap_test(d->seen, foreign.first)) {
            return false;
        }
        bitmap_set(d->seen, foreign.first);
        command->generation = MAX(command->generation, foreign.generation);
        const struct slab *slab = same_arena ? slab_at(core, slot, foreign.first) : NULL;
        bool known =
            slab != NULL && slab->state != SLAB_FREE && slab->generation == foreign.generation;
        if (!known && !decide_extent(command, &foreign)) {
            return false;
        }
    }
    for (uint32_t i = 0; same_arena && i < core->slabs_of[slot].top; i++) {
        const struct slab *slab = slab_at(core, slot, i);
        struct extent lost = {.node = slot,
                              .first = i,
                              .count = 1,
                              .state = SLAB_LOST,
                              .generation = slab->generation};
        if ((slab->state == SLAB_GRANTED || slab->state == SLAB_MIGRATING) &&
            !bitmap_test(d->seen, i) && !decide_extent(command, &lost)) {
            return false;
        }
    }
    return true;
}

void decide_node_register(const struct core *core, const struct core_event *e, struct decision *d)
{
    const struct node *node = e->node;
    uint32_t slot = core_find_node(core, node->name);
    if (refuse_stale(core, e, d, node->name) || refuse_geometry(core, node, slot, d) ||
        (slot != CORE_NONE && refuse_double(core, node, slot, d))) {
        return;
    }
    bool same_arena = slot != CORE_NONE && strcmp(core->nodes[slot].node_id, node->node_id) == 0 &&
                      strcmp(core->nodes[slot].arena_id, node->arena_id) == 0;
    slot = slot != CORE_NONE ? slot : node_slot(core);
    if (slot == CORE_NONE) {
        decide_refuse(d, CORE_ERROR_REFUSED, "use another pool for more memory nodes",
                      "this pool has %u memory nodes already, its limit", CORE_NODES_MAX);
        return;
    }
    struct command *command = decide_command(d, COMMAND_NODE_REGISTER);
    command->node = slot;
    command->new_node = *node;
    if (!compare_held(core, e, slot, same_arena, d)) {
        decide_refuse(d, CORE_ERROR_INVALID, "restart the memory node, so that it gets a new arena",
                      "memory node %s reports grants that can't be: a slab twice or beyond its "
                      "arena, or too many unknown ones",
                      node->name);
    }
}

static uint32_t instances_of(const struct core *core, uint32_t agent)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        count += core->instances[i].used && core->instances[i].agent == agent ? 1 : 0;
    }
    return count;
}

static uint32_t agent_slot(const struct core *core)
{
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        if (!core->agents[i].used) {
            return i;
        }
    }
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        if (!core->agents[i].up && core->agent_links[i].session == 0 &&
            instances_of(core, i) == 0) {
            return i;
        }
    }
    return CORE_NONE;
}

void decide_agent_register(const struct core *core, const struct core_event *e, struct decision *d)
{
    const struct agent *agent = e->agent;
    uint32_t slot = core_find_agent(core, agent->name);
    if (refuse_stale(core, e, d, agent->name)) {
        return;
    }
    if (slot != CORE_NONE && core->agent_links[slot].session != 0 &&
        strcmp(core->agents[slot].agent_id, agent->agent_id) != 0) {
        decide_refuse(d, CORE_ERROR_EXISTS, "give one of the two another --name",
                      "another agent named %s is connected, from %s", agent->name,
                      core->agent_links[slot].address);
        return;
    }
    slot = slot != CORE_NONE ? slot : agent_slot(core);
    if (slot == CORE_NONE) {
        decide_refuse(d, CORE_ERROR_REFUSED, "remove ended instances of agents that are gone",
                      "this pool has %u agents already, its limit", CORE_AGENTS_MAX);
        return;
    }
    struct command *command = decide_command(d, COMMAND_AGENT_REGISTER);
    command->agent = slot;
    command->new_agent = *agent;
}

static const char *refused_text(enum core_refused_kind kind)
{
    static const char *const texts[CORE_REFUSED_COUNT] = {
        [CORE_REFUSED_UNKNOWN] = "an access that its grant does not allow",
        [CORE_REFUSED_WRONG_KEY] = "a key that is not the slab's",
        [CORE_REFUSED_OLD_KEY] = "a grant that was taken back",
        [CORE_REFUSED_READ_ONLY] = "a write with a grant to read",
        [CORE_REFUSED_BEYOND_END] = "an access beyond the slab's end",
        [CORE_REFUSED_NOT_ATTACHED] = "a request for a slab that it did not attach",
        [CORE_REFUSED_BY_DEVICE] = "an access without a right, its queue pair is broken",
    };
    return texts[(uint32_t)kind < CORE_REFUSED_COUNT ? kind : CORE_REFUSED_UNKNOWN];
}

/* "memory node mn1 refused slab 7 over tcp: a key that is not the slab's, 3 times, from ADDRESS" */
void decide_access_refused(const struct core *core, const struct core_event *e, struct decision *d)
{
    const struct refused_access *access = e->access;
    uint32_t node = core_node_of_session(core, e->session);
    char slab[32] = "";
    if (node == CORE_NONE) {
        decide_refuse(d, CORE_ERROR_NOT_FOUND, "register first",
                      "no memory node is registered on this connection");
        return;
    }
    struct command *command = decide_command(d, COMMAND_ACCESS_REFUSED);
    uint32_t instance = core_find_instance_id(core, access->instance_id);
    command->node = node;
    command->state = instance != CORE_NONE ? 1 : 0;
    command->instance = instance != CORE_NONE ? instance : 0;
    if (access->slab_known) {
        (void)snprintf(slab, sizeof(slab), " slab %u", access->slab_index);
    }
    (void)snprintf(
        command->reason, sizeof(command->reason),
        "memory node %s refused%s over %.8s: %s, %llu times%s%.64s%s%.63s", core->nodes[node].name,
        slab, access->fabric, refused_text(access->kind), (unsigned long long)access->count,
        access->peer[0] != '\0' ? ", from " : "", access->peer,
        instance == CORE_NONE && access->instance_id[0] != '\0' ? ", of instance id " : "",
        instance == CORE_NONE ? access->instance_id : "");
}
