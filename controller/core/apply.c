/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controller/core/command.h"
#include "controller/core/slabs.h"
#include "lib/base/check.h"

static void remember(struct core *core, uint64_t time_ns, const char *kind, const char *subject,
                     const char *format, ...) PRINTF_LIKE(5, 6);

static void remember(struct core *core, uint64_t time_ns, const char *kind, const char *subject,
                     const char *format, ...)
{
    uint32_t slot = (uint32_t)(core->meta.history_count % CORE_HISTORY_MAX);
    struct history *history = &core->history[slot];
    va_list args;
    memset(history, 0, sizeof(*history));
    history->index = ++core->meta.history_count;
    history->time_ns = time_ns;
    core_text(history->kind, sizeof(history->kind), kind);
    core_text(history->subject, sizeof(history->subject), subject);
    va_start(args, format);
    (void)vsnprintf(history->detail, sizeof(history->detail), format, args);
    va_end(args);
    bitmap_set(core->dirty.history, slot);
}

static void remember_key(struct core *core, const uint8_t *key, uint64_t serial,
                         uint64_t generation)
{
    struct request_key *entry = (struct request_key *)(uintptr_t)core_find_key(core, key);
    if (entry == NULL) {
        entry = &core->keys[core->meta.key_count++ % CORE_KEYS_MAX];
    }
    memcpy(entry->key, key, CORE_KEY_BYTES);
    entry->serial = serial;
    entry->generation = generation;
    bitmap_set(core->dirty.keys, (uint64_t)(entry - core->keys));
}

static void move_node(struct core *core, uint32_t slot, enum node_state state, uint64_t time_ns,
                      const char *reason)
{
    struct node *node = &core->nodes[slot];
    if (node->state == state) {
        return;
    }
    CHECK(node_may_move(node->state, state));
    node->state = state;
    bitmap_set(core->dirty.nodes, slot);
    char kind[CORE_KIND_BYTES];
    (void)snprintf(kind, sizeof(kind), "node.%s", node_state_name(state));
    remember(core, time_ns, kind, node->name, "%s", reason);
}

/* Takes back all that the instance holds. */
static void revoke_all(struct core *core, uint32_t instance)
{
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        uint32_t left = core->owned[instance][node];
        for (uint32_t i = 0; left > 0 && i < core->slabs_of[node].top; i++) {
            const struct slab *slab = slab_at(core, node, i);
            if (slab->owner != instance + 1) {
                continue;
            }
            left--;
            if (slab_is_held((enum slab_state)slab->state)) {
                slab_move(core, node, i, SLAB_REVOKING);
            }
        }
    }
    CHECK(core->held[instance] == 0);
}

static void forget_instance(struct core *core, uint32_t slot)
{
    CHECK(instance_ended(core->instances[slot].state));
    slabs_disown(core, slot);
    memset(&core->instances[slot], 0, sizeof(core->instances[slot]));
    core->specs[slot].bytes = 0;
    core->missing[slot] = false;
    bitmap_set(core->dirty.instances, slot);
    bitmap_set(core->dirty.specs, slot);
}

static void apply_boot(struct core *core, const struct command *command)
{
    if (core->meta.cluster_id[0] == '\0') {
        core_text(core->meta.cluster_id, sizeof(core->meta.cluster_id), command->cluster_id);
    }
    core->meta.epoch++;
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        if (!core->nodes[node].used || core->nodes[node].state == NODE_GONE) {
            continue;
        }
        move_node(core, node, NODE_JOINING, command->time_ns, "the controller started");
        /* Whether these were granted is not known: nobody was told a key of them. */
        for (uint32_t i = 0; i < core->slabs_of[node].top; i++) {
            if (slab_at(core, node, i)->state == SLAB_RESERVED) {
                slab_move(core, node, i, SLAB_REVOKING);
            }
        }
    }
    remember(core, command->time_ns, "controller.started", "controller", "epoch %llu",
             (unsigned long long)core->meta.epoch);
}

static void lose_slab(struct core *core, uint32_t node, uint32_t index, const char *why)
{
    const struct slab *slab = slab_at(core, node, index);
    if (slab->owner != 0) {
        struct instance *owner = &core->instances[slab->owner - 1];
        char lost[CORE_REASON_BYTES];
        (void)snprintf(lost, sizeof(lost), "memory node %s %s", core->nodes[node].name, why);
        core_text(owner->lost, sizeof(owner->lost), lost);
        bitmap_set(core->dirty.instances, slab->owner - 1u);
    }
}

/* The arena has other contents: what was held there is lost. */
static void lose_arena(struct core *core, uint32_t node, uint64_t time_ns)
{
    uint32_t lost_count = 0;
    for (uint32_t i = 0; i < core->slabs_of[node].top; i++) {
        if (slab_is_held((enum slab_state)slab_at(core, node, i)->state)) {
            lose_slab(core, node, i, "came back with other data");
            slab_move(core, node, i, SLAB_LOST);
            lost_count++;
        }
    }
    if (lost_count > 0) {
        remember(core, time_ns, "node.lost-data", core->nodes[node].name,
                 "came back with other data; %u slabs were in use", lost_count);
    }
}

static void apply_held(struct core *core, const struct command *command)
{
    for (uint32_t i = 0; i < command->extent_count; i++) {
        const struct extent *extent = &command->extents[i];
        for (uint32_t k = 0; k < extent->count; k++) {
            uint32_t index = extent->first + k;
            if (slab_is_held((enum slab_state)slab_at(core, extent->node, index)->state)) {
                lose_slab(core, extent->node, index, "does not know its grants any more");
            }
            if (extent->state == SLAB_LOST) {
                slab_move(core, extent->node, index, SLAB_LOST);
            } else {
                slab_foreign(core, extent->node, index, extent->generation);
            }
        }
    }
}

static void apply_node_register(struct core *core, const struct command *command)
{
    uint32_t slot = command->node;
    struct node *node = &core->nodes[slot];
    const struct node *to = &command->new_node;
    bool same_name = node->used && strcmp(node->name, to->name) == 0;
    bool same_node = same_name && strcmp(node->node_id, to->node_id) == 0;
    if (same_node && strcmp(node->arena_id, to->arena_id) != 0) {
        lose_arena(core, slot, command->time_ns);
    }
    enum node_state state = same_name ? node->state : NODE_JOINING;
    bool cordoned = same_name && node->cordoned;
    slabs_resize(core, slot, to->slab_count, !same_node);
    *node = *to;
    node->used = true;
    node->state = state;
    node->cordoned = cordoned;
    core_derive_hosts(core);
    apply_held(core, command);
    core->meta.next_generation = MAX(core->meta.next_generation, command->generation + 1);
    bitmap_set(core->dirty.nodes, slot);
    move_node(core, slot, NODE_UP, command->time_ns, "registered");
}

static void apply_node_state(struct core *core, const struct command *command)
{
    move_node(core, command->node, (enum node_state)command->state, command->time_ns,
              command->reason);
}

static void apply_agent_register(struct core *core, const struct command *command)
{
    struct agent *agent = &core->agents[command->agent];
    bool was_up = agent->used && agent->up;
    *agent = command->new_agent;
    agent->used = true;
    agent->up = true;
    bitmap_set(core->dirty.agents, command->agent);
    if (!was_up) {
        remember(core, command->time_ns, "agent.up", agent->name, "registered");
    }
}

static void apply_agent_down(struct core *core, const struct command *command)
{
    struct agent *agent = &core->agents[command->agent];
    agent->up = false;
    bitmap_set(core->dirty.agents, command->agent);
    remember(core, command->time_ns, "agent.down", agent->name, "%s", command->reason);
}

static void apply_launch(struct core *core, const struct command *command)
{
    uint32_t slot = command->instance;
    struct instance *instance = &core->instances[slot];
    if (instance->used) {
        forget_instance(core, slot);
    }
    *instance = command->new_instance;
    instance->used = true;
    instance->serial = core->meta.next_serial++;
    instance->created_ns = command->time_ns;
    /* pending and placing last no time: the agent was chosen by whoever made this command. */
    instance->state = INSTANCE_STARTING;
    core->specs[slot].bytes = command->spec.bytes;
    memcpy(core->specs[slot].data, command->spec.data, command->spec.bytes);
    remember_key(core, command->key, instance->serial, 0);
    bitmap_set(core->dirty.instances, slot);
    bitmap_set(core->dirty.specs, slot);
    remember(core, command->time_ns, "instance.launched", instance->name, "id %s on agent %s",
             instance->instance_id, core->agents[instance->agent].name);
}

static void apply_resize(struct core *core, const struct command *command)
{
    uint32_t slot = command->instance;
    struct instance *instance = &core->instances[slot];
    CHECK(instance->used);
    instance->local_bytes = command->new_instance.local_bytes;
    instance->far_bytes = command->new_instance.far_bytes;
    core->specs[slot].bytes = command->spec.bytes;
    memcpy(core->specs[slot].data, command->spec.data, command->spec.bytes);
    bitmap_set(core->dirty.instances, slot);
    bitmap_set(core->dirty.specs, slot);
    if (command->reason[0] != '\0') {
        remember(core, command->time_ns, "instance.tuned", instance->name, "%s", command->reason);
        return;
    }
    remember(core, command->time_ns, "instance.resized", instance->name, "local %lluM, far %lluM",
             (unsigned long long)(instance->local_bytes / MIB),
             (unsigned long long)(instance->far_bytes / MIB));
}

static void apply_instance_state(struct core *core, const struct command *command)
{
    struct instance *instance = &core->instances[command->instance];
    enum instance_state state = (enum instance_state)command->state;
    char kind[CORE_KIND_BYTES];
    CHECK(instance_may_move(instance->state, state));
    instance->state = state;
    if (state == INSTANCE_RUNNING) {
        instance->started_ns = command->time_ns;
    }
    if (instance_ended(state)) {
        instance->ended_ns = command->time_ns;
        instance->exit_code = command->exit_code;
        core_text(instance->exit_kind, sizeof(instance->exit_kind), command->exit_kind);
        core_text(instance->reason, sizeof(instance->reason), command->reason);
        revoke_all(core, command->instance);
    }
    bitmap_set(core->dirty.instances, command->instance);
    (void)snprintf(kind, sizeof(kind), "instance.%s", instance_state_name(state));
    remember(core, command->time_ns, kind, instance->name, "%s%s%s", command->exit_kind,
             command->exit_kind[0] != '\0' && command->reason[0] != '\0' ? ": " : "",
             command->reason);
}

static void apply_reserve(struct core *core, const struct command *command)
{
    CHECK(command->generation == core->meta.next_generation);
    core->meta.next_generation++;
    for (uint32_t i = 0; i < command->extent_count; i++) {
        const struct extent *extent = &command->extents[i];
        for (uint32_t k = 0; k < extent->count; k++) {
            slab_reserve(core, extent->node, extent->first + k, command->instance,
                         command->generation);
        }
    }
    remember_key(core, command->key, core->instances[command->instance].serial,
                 command->generation);
}

static void move_extents(struct core *core, const struct command *command, enum slab_state state)
{
    for (uint32_t i = 0; i < command->extent_count; i++) {
        const struct extent *extent = &command->extents[i];
        for (uint32_t k = 0; k < extent->count; k++) {
            CHECK(slab_at(core, extent->node, extent->first + k)->generation == extent->generation);
            slab_move(core, extent->node, extent->first + k, state);
        }
    }
}

static void apply_granted(struct core *core, const struct command *command)
{
    move_extents(core, command, SLAB_GRANTED);
}

static void apply_revoke(struct core *core, const struct command *command)
{
    move_extents(core, command, SLAB_REVOKING);
}

static void apply_revoked(struct core *core, const struct command *command)
{
    move_extents(core, command, SLAB_FREE);
}

static void apply_remove(struct core *core, const struct command *command)
{
    const struct instance *instance = &core->instances[command->instance];
    remember(core, command->time_ns, "instance.removed", instance->name, "id %s",
             instance->instance_id);
    forget_instance(core, command->instance);
}

static void apply_access_refused(struct core *core, const struct command *command)
{
    const char *subject = command->state != 0 ? core->instances[command->instance].name
                                              : core->nodes[command->node].name;
    remember(core, command->time_ns, "access.refused", subject, "%s", command->reason);
}

void core_apply(struct core *core, const struct command *command)
{
    static void (*const appliers[COMMAND_KIND_COUNT])(struct core *, const struct command *) = {
        [COMMAND_BOOT] = apply_boot,
        [COMMAND_NODE_REGISTER] = apply_node_register,
        [COMMAND_NODE_STATE] = apply_node_state,
        [COMMAND_AGENT_REGISTER] = apply_agent_register,
        [COMMAND_AGENT_DOWN] = apply_agent_down,
        [COMMAND_LAUNCH] = apply_launch,
        [COMMAND_INSTANCE_STATE] = apply_instance_state,
        [COMMAND_RESERVE] = apply_reserve,
        [COMMAND_GRANTED] = apply_granted,
        [COMMAND_GRANT_FAILED] = apply_revoke,
        [COMMAND_RELEASE] = apply_revoke,
        [COMMAND_REVOKED] = apply_revoked,
        [COMMAND_REMOVE] = apply_remove,
        [COMMAND_RESIZE] = apply_resize,
        [COMMAND_ACCESS_REFUSED] = apply_access_refused,
    };
    CHECK(command->kind > COMMAND_NONE && command->kind < COMMAND_KIND_COUNT);
    appliers[command->kind](core, command);
    core->meta.applied_index++;
}
