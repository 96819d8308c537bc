/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/core/decide.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"

struct command *decide_command(struct decision *d, enum command_kind kind)
{
    /* The large arrays are told by their counts. */
    struct command *command = &d->command;
    memset(command, 0, offsetof(struct command, spec));
    command->spec.bytes = 0;
    command->extent_count = 0;
    command->kind = kind;
    d->kind = DECISION_COMMAND;
    return command;
}

void decide_refuse(struct decision *d, enum core_error code, const char *remedy, const char *format,
                   ...)
{
    va_list args;
    d->kind = DECISION_REFUSE;
    d->refusal.code = code;
    core_text(d->refusal.remedy, sizeof(d->refusal.remedy), remedy);
    va_start(args, format);
    (void)vsnprintf(d->refusal.message, sizeof(d->refusal.message), format, args);
    va_end(args);
}

bool decide_extent(struct command *command, const struct extent *extent)
{
    if (command->extent_count > 0) {
        struct extent *last = &command->extents[command->extent_count - 1];
        if (last->node == extent->node && last->first + last->count == extent->first &&
            last->state == extent->state && last->generation == extent->generation &&
            last->owner == extent->owner) {
            last->count += extent->count;
            return true;
        }
    }
    if (command->extent_count == CORE_EXTENTS_MAX) {
        return false;
    }
    command->extents[command->extent_count++] = *extent;
    return true;
}

static void decide_boot(const struct core *core, const struct core_event *e, struct decision *d)
{
    struct command *command = decide_command(d, COMMAND_BOOT);
    core_text(command->cluster_id, sizeof(command->cluster_id), e->cluster_id);
    (void)core;
}

static void decide_kind(const struct core *core, const struct core_event *e, struct core_now now,
                        struct decision *ret)
{
    static void (*const deciders[CORE_EVENT_COUNT])(const struct core *, const struct core_event *,
                                                    struct decision *) = {
        [CORE_BOOT] = decide_boot,
        [CORE_NODE_REGISTER] = decide_node_register,
        [CORE_NODE_HEARTBEAT] = decide_node_heartbeat,
        [CORE_NODE_CLOSED] = decide_node_closed,
        [CORE_ACCESS_REFUSED] = decide_access_refused,
        [CORE_AGENT_REGISTER] = decide_agent_register,
        [CORE_REPORT] = decide_report,
        [CORE_LAUNCH] = decide_launch,
        [CORE_START_DONE] = decide_start_done,
        [CORE_STOP] = decide_stop,
        [CORE_REMOVE] = decide_remove,
        [CORE_RESIZE] = decide_resize,
        [CORE_ACQUIRE] = decide_acquire,
        [CORE_GRANT_DONE] = decide_grant_done,
        [CORE_RELEASE] = decide_release,
        [CORE_REVOKE_DONE] = decide_revoke_done,
    };
    if (e->kind == CORE_TICK) {
        decide_tick(core, now, ret);
    } else if (deciders[e->kind] != NULL) {
        deciders[e->kind](core, e, ret);
    }
}

void core_decide(const struct core *core, const struct core_event *event, struct core_now now,
                 struct decision *ret)
{
    CHECK(event->kind < CORE_EVENT_COUNT);
    ret->kind = DECISION_NOTHING;
    decide_kind(core, event, now, ret);
    if (ret->kind == DECISION_COMMAND) {
        ret->command.time_ns = now.wall_ns;
    }
}

static bool fail_instance(struct decision *d, uint32_t instance, const char *exit_kind,
                          const char *format, const char *argument)
{
    struct command *command = decide_command(d, COMMAND_INSTANCE_STATE);
    command->instance = instance;
    command->state = INSTANCE_FAILED;
    core_text(command->exit_kind, sizeof(command->exit_kind), exit_kind);
    (void)snprintf(command->reason, sizeof(command->reason), format, argument);
    return true;
}

static bool agent_is_lost(const struct core *core, uint32_t agent, struct core_now now)
{
    const struct agent_link *link = &core->agent_links[agent];
    return link->session == 0 && now.mono_ms - link->seen_ms >= core->times.agent_grace_ms;
}

static bool tick_instances(const struct core *core, struct core_now now, struct decision *d)
{
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        const struct instance *instance = &core->instances[i];
        if (!instance->used || instance_ended(instance->state)) {
            continue;
        }
        const char *agent = core->agents[instance->agent].name;
        if (instance->lost[0] != '\0') {
            return fail_instance(d, i, "far-lost", "far memory is lost: %s", instance->lost);
        }
        if (core->missing[i]) {
            return fail_instance(d, i, "agent-lost",
                                 "agent %s registered without it: it was started again, or lost it",
                                 agent);
        }
        if (agent_is_lost(core, instance->agent, now)) {
            return fail_instance(d, i, "agent-lost", "agent %s is lost", agent);
        }
    }
    return false;
}

static bool tick_agents(const struct core *core, struct core_now now, struct decision *d)
{
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        if (core->agents[i].used && core->agents[i].up && agent_is_lost(core, i, now)) {
            struct command *command = decide_command(d, COMMAND_AGENT_DOWN);
            command->agent = i;
            core_text(command->reason, sizeof(command->reason), "not back within its grace time");
            return true;
        }
    }
    return false;
}

static void node_state(struct decision *d, uint32_t node, enum node_state state, const char *reason)
{
    struct command *command = decide_command(d, COMMAND_NODE_STATE);
    command->node = node;
    command->state = state;
    core_text(command->reason, sizeof(command->reason), reason);
}

static bool tick_nodes(const struct core *core, struct core_now now, struct decision *d)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        const struct node *node = &core->nodes[i];
        const struct node_link *link = &core->node_links[i];
        if (!node->used) {
            continue;
        }
        uint64_t silent_ms = now.mono_ms - (link->session != 0 ? link->seen_ms : core->booted_ms);
        if (node->state == NODE_JOINING && silent_ms >= core->times.down_ms) {
            node_state(d, i, NODE_DOWN, "has not registered since the controller started");
            return true;
        }
        if (link->session != 0 && silent_ms >= core->times.down_ms) {
            node_state(d, i, NODE_DOWN, "heartbeats stopped");
            return true;
        }
        if (node->state == NODE_UP && silent_ms >= core->times.suspect_ms) {
            node_state(d, i, NODE_SUSPECT, "heartbeats are late");
            return true;
        }
    }
    return false;
}

void decide_tick(const struct core *core, struct core_now now, struct decision *d)
{
    bool found =
        tick_instances(core, now, d) || tick_agents(core, now, d) || tick_nodes(core, now, d);
    (void)found;
}

void decide_node_closed(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = core_node_of_session(core, e->session);
    if (slot != CORE_NONE && core->nodes[slot].state != NODE_DOWN) {
        node_state(d, slot, NODE_DOWN, e->reason);
    }
}

void decide_node_heartbeat(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = core_node_of_session(core, e->session);
    if (slot != CORE_NONE && core->nodes[slot].state == NODE_SUSPECT) {
        node_state(d, slot, NODE_UP, "heartbeats are back");
    }
}
