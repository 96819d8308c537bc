/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "controller/core/flow_internal.h"
#include "controller/core/slabs.h"
#include "lib/base/check.h"

/* After a memory node failed to revoke, so long until it is asked again. */
#define REVOKE_PAUSE_MS 1000u

struct action *flow_action(struct flow *f, enum action_kind kind)
{
    CHECK(f->actions->count < ACTIONS_MAX);
    struct action *action = &f->actions->items[f->actions->count++];
    memset(action, 0, offsetof(struct action, refusal));
    action->kind = kind;
    return action;
}

void flow_reply_error(struct flow *f, uint64_t token, const struct refusal *refusal)
{
    if (token != 0) {
        struct action *action = flow_action(f, ACTION_REPLY_ERROR);
        action->token = token;
        action->refusal = *refusal;
    }
}

static void reply_empty(struct flow *f, uint64_t token)
{
    flow_action(f, ACTION_REPLY_EMPTY)->token = token;
}

static void reply_instance(struct flow *f, uint64_t token, uint32_t instance)
{
    if (token != 0) {
        struct action *action = flow_action(f, ACTION_REPLY_INSTANCE);
        action->token = token;
        action->instance = instance;
    }
}

static void send_signal(struct flow *f, uint32_t instance, uint32_t signal, uint32_t grace_ms)
{
    const struct instance *i = &f->core->instances[instance];
    if (f->core->agent_links[i->agent].session != 0) {
        struct action *action = flow_action(f, ACTION_SIGNAL);
        action->agent = i->agent;
        action->signal = signal;
        action->grace_ms = grace_ms;
        core_text(action->instance_id, sizeof(action->instance_id), i->instance_id);
    }
}

static void instance_changed(struct flow *f, uint32_t slot, const char *instance_id)
{
    struct action *action = flow_action(f, ACTION_CHANGED);
    action->instance = slot;
    core_text(action->instance_id, sizeof(action->instance_id), instance_id);
}

void flow_apply(struct flow *f)
{
    struct command *command = &f->decision->command;
    const struct instance *old = &f->core->instances[command->instance];
    if ((command->kind == COMMAND_REMOVE || command->kind == COMMAND_LAUNCH) && old->used) {
        instance_changed(f, CORE_NONE, old->instance_id);
    }
    core_apply(f->core, command);
    f->log(f->context, command);
    if (command->kind == COMMAND_INSTANCE_STATE) {
        instance_changed(f, command->instance, old->instance_id);
    }
}

static void node_unlink(struct flow *f, uint32_t slot, bool close)
{
    struct node_link *link = &f->core->node_links[slot];
    if (close && link->session != 0) {
        flow_action(f, ACTION_CLOSE)->session = link->session;
    }
    memset(link, 0, sizeof(*link));
}

static void node_registered(struct flow *f, const struct core_event *e, uint32_t slot)
{
    struct node_link *link = &f->core->node_links[slot];
    node_unlink(f, slot, link->session != e->session);
    link->session = e->session;
    link->seen_ms = f->now.mono_ms;
    core_text(link->address, sizeof(link->address), e->address);
    struct action *action = flow_action(f, ACTION_REPLY_NODE);
    action->token = e->token;
    action->node = slot;
}

static bool is_named(const struct core_event *e, const char *instance_id)
{
    for (uint32_t i = 0; i < e->name_count; i++) {
        if (strcmp(e->names[i], instance_id) == 0) {
            return true;
        }
    }
    return false;
}

static void agent_registered(struct flow *f, const struct core_event *e, uint32_t slot)
{
    struct agent_link *link = &f->core->agent_links[slot];
    if (link->session != 0 && link->session != e->session) {
        flow_action(f, ACTION_CLOSE)->session = link->session;
    }
    link->session = e->session;
    link->seen_ms = f->now.mono_ms;
    core_text(link->address, sizeof(link->address), e->address);
    struct action *action = flow_action(f, ACTION_REPLY_AGENT);
    action->token = e->token;
    action->agent = slot;
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        const struct instance *instance = &f->core->instances[i];
        if (!instance->used || instance->agent != slot || instance_ended(instance->state)) {
            continue;
        }
        f->core->missing[i] = !is_named(e, instance->instance_id);
        if (!f->core->missing[i] && instance->state == INSTANCE_STOPPING) {
            send_signal(f, i, CORE_SIGTERM, CORE_GRACE_DEFAULT_MS);
        }
    }
}

static void reported(struct flow *f, const struct core_event *e)
{
    uint32_t slot = core_find_instance_id(f->core, e->instance_id);
    if (e->token != 0) {
        reply_empty(f, e->token);
    }
    /* Given up here and running there: it must not go on. */
    if (instance_ended(f->core->instances[slot].state) && !instance_ended(e->state)) {
        send_signal(f, slot, CORE_SIGKILL, 0);
    }
}

static void launched(struct flow *f, const struct core_event *e, bool is_new)
{
    if (!is_new) {
        uint64_t serial = core_find_key(f->core, e->key)->serial;
        reply_instance(f, e->token, core_find_serial(f->core, serial));
        return;
    }
    uint32_t slot = core_find_instance_id(f->core, e->instance_id);
    struct action *action = flow_action(f, ACTION_START);
    action->token = e->token;
    action->agent = f->core->instances[slot].agent;
    action->instance = slot;
    core_text(action->instance_id, sizeof(action->instance_id), e->instance_id);
}

static void start_done(struct flow *f, const struct core_event *e)
{
    uint32_t slot = core_find_instance_id(f->core, e->instance_id);
    if (e->error == NULL && slot != CORE_NONE) {
        reply_instance(f, e->token, slot);
    } else if (e->error != NULL) {
        flow_reply_error(f, e->token, e->error);
    } else if (e->token != 0) {
        reply_empty(f, e->token);
    }
    if (e->error != NULL && e->error->code == CORE_ERROR_TIMEOUT && slot != CORE_NONE) {
        send_signal(f, slot, CORE_SIGKILL, 0);
    }
}

static void stopped(struct flow *f, const struct core_event *e)
{
    uint32_t slot = core_find_instance(f->core, e->name);
    if (!instance_ended(f->core->instances[slot].state)) {
        send_signal(f, slot, CORE_SIGTERM, e->grace_ms);
    }
    reply_instance(f, e->token, slot);
}

static void revoke_done(struct flow *f, const struct core_event *e)
{
    uint32_t slot = core_node_of_session(f->core, e->session);
    if (slot != CORE_NONE) {
        struct node_link *link = &f->core->node_links[slot];
        link->revoke_sent = false;
        link->revoke_count = 0;
        link->revoke_after_ms = e->error == NULL ? 0 : f->now.mono_ms + REVOKE_PAUSE_MS;
    }
}

static void agent_closed(struct flow *f, const struct core_event *e)
{
    uint32_t slot = core_agent_of_session(f->core, e->session);
    if (slot != CORE_NONE) {
        f->core->agent_links[slot].session = 0;
        f->core->agent_links[slot].seen_ms = f->now.mono_ms;
    }
}

/* What the event makes true at once, before anything is decided. */
static void note_event(struct flow *f, const struct core_event *e)
{
    struct core *core = f->core;
    if (e->kind == CORE_BOOT) {
        core->booted_ms = f->now.mono_ms;
        for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
            core->agent_links[i].seen_ms = f->now.mono_ms;
        }
    }
    if (e->kind == CORE_NODE_HEARTBEAT) {
        uint32_t slot = core_node_of_session(core, e->session);
        if (slot != CORE_NONE) {
            core->node_links[slot].seen_ms = f->now.mono_ms;
        }
    }
    if (e->kind == CORE_AGENT_HEARTBEAT) {
        uint32_t slot = core_agent_of_session(core, e->session);
        if (slot != CORE_NONE) {
            core->agent_links[slot].seen_ms = f->now.mono_ms;
        }
    }
    if (e->kind == CORE_AGENT_CLOSED) {
        agent_closed(f, e);
    }
}

/* What follows from the event, once it was not refused. */
static void follow_event(struct flow *f, const struct core_event *e, bool changed)
{
    const struct command *command = &f->decision->command;
    switch (e->kind) {
    case CORE_NODE_REGISTER:
        node_registered(f, e, command->node);
        break;
    case CORE_NODE_CLOSED:
        if (core_node_of_session(f->core, e->session) != CORE_NONE) {
            node_unlink(f, core_node_of_session(f->core, e->session), false);
        }
        break;
    case CORE_AGENT_REGISTER:
        agent_registered(f, e, command->agent);
        break;
    case CORE_REPORT:
        reported(f, e);
        break;
    case CORE_LAUNCH:
        launched(f, e, changed);
        break;
    case CORE_START_DONE:
        start_done(f, e);
        break;
    case CORE_STOP:
        stopped(f, e);
        break;
    case CORE_ACQUIRE:
        flow_acquire_begin(f, e, changed);
        break;
    case CORE_GRANT_DONE:
        flow_grant_done(f, e);
        break;
    case CORE_REVOKE_DONE:
        revoke_done(f, e);
        break;
    case CORE_RESIZE:
        if (e->reason != NULL) {
            reply_empty(f, e->token);
            break;
        }
        reply_instance(f, e->token, core_find_instance_id(f->core, e->instance_id));
        break;
    case CORE_ACCESS_REFUSED:
    case CORE_REMOVE:
    case CORE_RELEASE:
        reply_empty(f, e->token);
        break;
    default:
        break;
    }
}

/* A command of the tick: what else belongs to it. */
static void follow_tick(struct flow *f)
{
    const struct command *command = &f->decision->command;
    if (command->kind == COMMAND_NODE_STATE && command->state == NODE_DOWN) {
        node_unlink(f, command->node, true);
    }
    if (command->kind == COMMAND_INSTANCE_STATE) {
        send_signal(f, command->instance, CORE_SIGKILL, 0);
    }
}

static void close_silent_agents(struct flow *f)
{
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        struct agent_link *link = &f->core->agent_links[i];
        if (link->session != 0 && f->now.mono_ms - link->seen_ms >= f->core->times.down_ms) {
            flow_action(f, ACTION_CLOSE)->session = link->session;
            link->session = 0;
            link->seen_ms = f->now.mono_ms;
        }
    }
}

/* One revocation at a time goes to each memory node, until it holds nothing that it should not. */
static void revoke_some(struct flow *f, uint32_t node)
{
    struct core *core = f->core;
    struct node_link *link = &core->node_links[node];
    const struct node_slabs *slabs = &core->slabs_of[node];
    uint32_t left = slabs->count[SLAB_REVOKING] + slabs->count[SLAB_LOST];
    if (left == 0 || link->session == 0 || link->revoke_sent ||
        f->now.mono_ms < link->revoke_after_ms) {
        return;
    }
    uint64_t count_max = CORE_REVOKE_BYTES_MAX / core->nodes[node].slab_bytes;
    count_max = MIN(MAX(count_max, 1), CORE_REVOKE_SLABS_MAX);
    for (uint32_t i = 0; left > 0 && i < slabs->top && link->revoke_count < count_max; i++) {
        uint8_t state = slab_at(core, node, i)->state;
        if (state == SLAB_REVOKING || state == SLAB_LOST) {
            link->revoke_slabs[link->revoke_count++] = i;
            left--;
        }
    }
    link->revoke_sent = true;
    struct action *action = flow_action(f, ACTION_REVOKE);
    action->session = link->session;
    action->node = node;
}

static void run_tick(struct flow *f)
{
    const struct core_event tick = {.kind = CORE_TICK};
    close_silent_agents(f);
    for (;;) {
        core_decide(f->core, &tick, f->now, f->decision);
        if (f->decision->kind != DECISION_COMMAND) {
            break;
        }
        flow_apply(f);
        follow_tick(f);
    }
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        if (f->core->nodes[node].used) {
            revoke_some(f, node);
        }
    }
}

void core_step(struct core *core, const struct core_event *event, struct core_now now,
               struct decision *scratch, struct action_queue *actions, core_log *log, void *context)
{
    struct flow f = {.core = core,
                     .now = now,
                     .decision = scratch,
                     .actions = actions,
                     .log = log,
                     .context = context};
    CHECK(actions->count + ACTIONS_PER_STEP <= ACTIONS_MAX);
    note_event(&f, event);
    core_decide(core, event, now, scratch);
    if (scratch->kind == DECISION_REFUSE) {
        core->refused_count++;
        flow_reply_error(&f, event->token, &scratch->refusal);
    } else {
        bool changed = scratch->kind == DECISION_COMMAND;
        if (changed) {
            flow_apply(&f);
        }
        follow_event(&f, event, changed);
    }
    run_tick(&f);
}
