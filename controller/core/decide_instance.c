/* SPDX-License-Identifier: Apache-2.0 */
/* Instances: launch, what agents report, stop, remove. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "controller/core/decide.h"
#include "controller/core/place.h"

#define MIB_OF(bytes) ((unsigned long long)((bytes) / MIB))

/* An unused slot, else that of the instance that ended first. */
static uint32_t instance_slot(const struct core *core)
{
    uint32_t oldest = CORE_NONE;
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        const struct instance *instance = &core->instances[i];
        if (!instance->used) {
            return i;
        }
        if (instance_ended(instance->state) &&
            (oldest == CORE_NONE || instance->ended_ns < core->instances[oldest].ended_ns)) {
            oldest = i;
        }
    }
    return oldest;
}

static uint32_t choose_agent(const struct core *core, const char *wanted, struct decision *d)
{
    uint32_t slot = wanted[0] == '\0' ? place_instance(core) : core_find_agent(core, wanted);
    if (slot == CORE_NONE && wanted[0] != '\0') {
        decide_refuse(d, CORE_ERROR_NOT_FOUND, "dilosctl status lists the agents",
                      "there is no agent named %s", wanted);
    } else if (slot == CORE_NONE) {
        decide_refuse(d, CORE_ERROR_REFUSED, "start dilos-agent on a compute host",
                      "no agent is connected");
    } else if (core->agent_links[slot].session == 0) {
        decide_refuse(d, CORE_ERROR_REFUSED, "start it again, or launch on another agent",
                      "agent %s is not connected", wanted);
        slot = CORE_NONE;
    }
    return slot;
}

/* "mn1 128M, mn2 down" */
static void explain_free(const struct core *core, char *to, uint32_t bytes)
{
    uint32_t used = 0;
    core_text(to, bytes, "there is no memory node");
    for (uint32_t i = 0; i < CORE_NODES_MAX && used < bytes; i++) {
        const struct node *node = &core->nodes[i];
        const char *comma = used == 0 ? "" : ", ";
        if (!node->used || node->state == NODE_GONE) {
            continue;
        }
        int n = core_node_usable(core, i)
                    ? snprintf(to + used, bytes - used, "%s%s %lluM", comma, node->name,
                               MIB_OF(core->slabs_of[i].count[SLAB_FREE] * node->slab_bytes))
                    : snprintf(to + used, bytes - used, "%s%s %s", comma, node->name,
                               node->cordoned ? "cordoned" : node_state_name(node->state));
        used += (uint32_t)n;
    }
}

static bool refuse_size(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint64_t free_bytes = core_free_bytes(core);
    if (e->local_bytes == 0 || e->far_bytes == 0) {
        decide_refuse(d, CORE_ERROR_INVALID, "give --local-memory and --far-memory a size",
                      "instance %s has no %s memory", e->name,
                      e->local_bytes == 0 ? "local" : "far");
        return true;
    }
    if (e->spec_bytes > CORE_SPEC_BYTES) {
        decide_refuse(d, CORE_ERROR_INVALID, "put long arguments into a file",
                      "arguments, environment and files of %s take %u bytes, %u are possible",
                      e->name, e->spec_bytes, CORE_SPEC_BYTES);
        return true;
    }
    if (free_bytes < e->far_bytes) {
        char where[CORE_REASON_BYTES];
        explain_free(core, where, sizeof(where));
        decide_refuse(d, CORE_ERROR_REFUSED,
                      "use a smaller --far-memory, add a memory node, or stop an instance",
                      "%lluM of far memory do not fit: %lluM are free (%s)", MIB_OF(e->far_bytes),
                      MIB_OF(free_bytes), where);
        return true;
    }
    return false;
}

void decide_launch(const struct core *core, const struct core_event *e, struct decision *d)
{
    const struct request_key *key = core_find_key(core, e->key);
    if (key != NULL && core_find_serial(core, key->serial) != CORE_NONE) {
        return; /* repeated: answered with what became of it */
    }
    uint32_t slot = core_find_instance(core, e->name);
    if (slot != CORE_NONE && !instance_ended(core->instances[slot].state)) {
        decide_refuse(d, CORE_ERROR_EXISTS,
                      "take another name, or stop it first (dilosctl stop NAME)",
                      "an instance named %s is %s", e->name,
                      instance_state_name(core->instances[slot].state));
        return;
    }
    slot = slot != CORE_NONE ? slot : instance_slot(core);
    if (slot == CORE_NONE) {
        decide_refuse(d, CORE_ERROR_REFUSED, "stop an instance",
                      "%u instances run already, the limit of a controller", CORE_INSTANCES_MAX);
        return;
    }
    uint32_t agent = choose_agent(core, e->agent_name, d);
    if (agent == CORE_NONE || refuse_size(core, e, d)) {
        return;
    }
    struct command *command = decide_command(d, COMMAND_LAUNCH);
    command->instance = slot;
    memcpy(command->key, e->key, CORE_KEY_BYTES);
    struct instance *instance = &command->new_instance;
    instance->used = true;
    instance->agent = agent;
    instance->local_bytes = e->local_bytes;
    instance->far_bytes = e->far_bytes;
    core_text(instance->name, sizeof(instance->name), e->name);
    core_text(instance->instance_id, sizeof(instance->instance_id), e->instance_id);
    command->spec.bytes = e->spec_bytes;
    memcpy(command->spec.data, e->spec, e->spec_bytes);
}

static void set_state(struct decision *d, uint32_t slot, enum instance_state state,
                      const char *exit_kind, int32_t exit_code, const char *reason)
{
    struct command *command = decide_command(d, COMMAND_INSTANCE_STATE);
    command->instance = slot;
    command->state = state;
    command->exit_code = exit_code;
    core_text(command->exit_kind, sizeof(command->exit_kind), exit_kind);
    core_text(command->reason, sizeof(command->reason), reason);
}

void decide_report(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t agent = core_agent_of_session(core, e->session);
    uint32_t slot = core_find_instance_id(core, e->instance_id);
    if (agent == CORE_NONE || slot == CORE_NONE || core->instances[slot].agent != agent) {
        decide_refuse(d, CORE_ERROR_NOT_FOUND, "end it", "instance %s is not known on this agent",
                      e->instance_id);
        return;
    }
    /* What was heard before, or came too late, changes nothing. */
    if (instance_may_move(core->instances[slot].state, e->state)) {
        set_state(d, slot, e->state, e->exit_kind, e->exit_code, e->reason);
    }
}

void decide_start_done(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = core_find_instance_id(core, e->instance_id);
    if (slot == CORE_NONE || e->error == NULL || e->error->code == CORE_ERROR_UNAVAILABLE) {
        /* UNAVAILABLE: whether it started is told when the agent registers again. */
        return;
    }
    if (!instance_ended(core->instances[slot].state)) {
        set_state(d, slot, INSTANCE_FAILED, "refused", 0, e->error->message);
    }
}

static uint32_t find_or_refuse(const struct core *core, const char *name, struct decision *d)
{
    uint32_t slot = core_find_instance(core, name);
    if (slot == CORE_NONE) {
        decide_refuse(d, CORE_ERROR_NOT_FOUND, "dilosctl ps lists the instances",
                      "there is no instance named %s", name);
    }
    return slot;
}

void decide_stop(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = find_or_refuse(core, e->name, d);
    if (slot != CORE_NONE && instance_may_move(core->instances[slot].state, INSTANCE_STOPPING)) {
        set_state(d, slot, INSTANCE_STOPPING, "", 0, "");
    }
}

void decide_remove(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = find_or_refuse(core, e->name, d);
    if (slot == CORE_NONE) {
        return;
    }
    if (!instance_ended(core->instances[slot].state)) {
        decide_refuse(d, CORE_ERROR_REFUSED, "stop it first (dilosctl stop NAME)",
                      "instance %s is %s", e->name,
                      instance_state_name(core->instances[slot].state));
        return;
    }
    decide_command(d, COMMAND_REMOVE)->instance = slot;
}

static bool refuse_resize(struct refusal *ret, const char *remedy, const char *format, ...)
    PRINTF_LIKE(3, 4);

static bool refuse_resize(struct refusal *ret, const char *remedy, const char *format, ...)
{
    va_list args;
    ret->code = CORE_ERROR_REFUSED;
    core_text(ret->remedy, sizeof(ret->remedy), remedy);
    va_start(args, format);
    (void)vsnprintf(ret->message, sizeof(ret->message), format, args);
    va_end(args);
    return false;
}

bool core_may_resize(const struct core *core, uint32_t slot, uint64_t local_bytes,
                     uint64_t far_bytes, struct refusal *ret)
{
    const struct instance *instance = &core->instances[slot];
    uint64_t slab_bytes = core_pool_slab_bytes(core, CORE_NONE);
    uint64_t free_bytes = core_free_bytes(core);
    struct instance resized = *instance;
    char where[CORE_REASON_BYTES / 2];
    resized.far_bytes = far_bytes;
    if (instance->state != INSTANCE_RUNNING) {
        return refuse_resize(ret, "dilosctl inspect shows its state", "instance %s is %s",
                             instance->name, instance_state_name(instance->state));
    }
    if (local_bytes == 0 || far_bytes == 0) {
        return refuse_resize(ret, "give both a size", "no instance is without memory");
    }
    if (core_quota_slabs(core, &resized) < core->held[slot]) {
        return refuse_resize(ret, "give it that much, or let the program free memory first",
                             "%s holds %lluM of far memory now: it can't be limited to %lluM",
                             instance->name, MIB_OF(core->held[slot] * slab_bytes),
                             MIB_OF(far_bytes));
    }
    if (far_bytes > instance->far_bytes && far_bytes - instance->far_bytes > free_bytes) {
        explain_free(core, where, sizeof(where));
        return refuse_resize(ret, "add a memory node, or stop an instance",
                             "%lluM more of far memory do not fit: %lluM are free (%s)",
                             MIB_OF(far_bytes - instance->far_bytes), MIB_OF(free_bytes), where);
    }
    return true;
}

void decide_resize(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = core_find_instance_id(core, e->instance_id);
    if (slot == CORE_NONE || instance_ended(core->instances[slot].state)) {
        decide_refuse(d, CORE_ERROR_REFUSED, "dilosctl ps lists the instances",
                      "the instance has ended meanwhile");
        return;
    }
    if (e->spec_bytes > CORE_SPEC_BYTES) {
        decide_refuse(d, CORE_ERROR_INVALID, "use sizes that are possible",
                      "the specification became too long");
        return;
    }
    /* Done already: what has changed in the pool since it was asked for changes nothing. */
    struct command *command = decide_command(d, COMMAND_RESIZE);
    command->instance = slot;
    command->new_instance.local_bytes = e->local_bytes;
    command->new_instance.far_bytes = e->far_bytes;
    core_text(command->reason, sizeof(command->reason), e->reason == NULL ? "" : e->reason);
    command->spec.bytes = e->spec_bytes;
    memcpy(command->spec.data, e->spec, e->spec_bytes);
}
