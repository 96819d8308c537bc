/* SPDX-License-Identifier: Apache-2.0 */
/* Actions of the core, as replies and calls. */
#include <stdlib.h>
#include <string.h>

#include "controller/core/slabs.h"
#include "controller/info.h"
#include "controller/internal.h"
#include "lib/base/check.h"
#include "lib/sys/log.h"

/* What a call must remember until it is done. */
struct call {
    struct controller *controller;
    uint64_t token;
    uint64_t session;
    uint64_t generation;
    uint32_t acquire, node;
    uint32_t slab_count;
    char instance_id[CORE_ID_BYTES];
};

static struct call *call_new(struct controller *c, const struct action *action)
{
    struct call *call = info_zeroed(1, sizeof(*call));
    call->controller = c;
    call->token = action->token;
    call->session = action->session;
    call->generation = action->generation;
    call->acquire = action->acquire;
    call->node = action->node;
    core_text(call->instance_id, sizeof(call->instance_id), action->instance_id);
    return call;
}

static void set_refusal(struct refusal *refusal, uint32_t code, const char *message,
                        const char *remedy)
{
    refusal->code = (enum core_error)code;
    core_text(refusal->message, sizeof(refusal->message), message);
    core_text(refusal->remedy, sizeof(refusal->remedy), remedy);
}

static void to_refusal(const Dilos__Error *error, struct refusal *ret)
{
    bool known = error->code <= DILOS__ERROR_CODE__ERROR_TIMEOUT;
    set_refusal(ret, known ? error->code : CORE_ERROR_INTERNAL, error->message, error->remedy);
}

static void grant_failed(struct call *call, const struct refusal *refusal)
{
    const struct core_event event = {.kind = CORE_GRANT_DONE,
                                     .acquire = call->acquire,
                                     .generation = call->generation,
                                     .node_slot = call->node,
                                     .error = refusal};
    controller_event(call->controller, &event);
}

static bool take_keys(const Dilos__SlabGrantReply *reply, uint32_t count,
                      uint8_t (*ret)[CORE_KEY_BYTES])
{
    if (reply->n_keys != count) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (reply->keys[i].len != CORE_KEY_BYTES) {
            return false;
        }
        memcpy(ret[i], reply->keys[i].data, CORE_KEY_BYTES);
    }
    return true;
}

static void grant_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct call *call = context;
    uint8_t keys[CORE_ACQUIRE_SLABS_MAX][CORE_KEY_BYTES];
    struct refusal refusal;
    if (error != NULL) {
        to_refusal(error, &refusal);
        grant_failed(call, &refusal);
    } else if (!take_keys((const Dilos__SlabGrantReply *)reply, call->slab_count, keys)) {
        set_refusal(&refusal, CORE_ERROR_INTERNAL, "the memory node sent a wrong number of keys",
                    "update the memory node");
        grant_failed(call, &refusal);
    } else {
        const struct core_event event = {.kind = CORE_GRANT_DONE,
                                         .acquire = call->acquire,
                                         .generation = call->generation,
                                         .node_slot = call->node,
                                         .keys = (const uint8_t(*)[CORE_KEY_BYTES])keys};
        controller_event(call->controller, &event);
    }
    explicit_bzero(keys, sizeof(keys));
    free(call);
}

static void perform_grant(struct controller *c, const struct action *action)
{
    const struct acquire *a = &c->core->acquires[action->acquire];
    struct session *session = session_of_node(c, action->node);
    uint32_t indexes[CORE_ACQUIRE_SLABS_MAX];
    struct call *call = call_new(c, action);
    Dilos__SlabGrant message = DILOS__SLAB_GRANT__INIT;
    for (uint32_t i = 0; i < a->slab_count; i++) {
        if (a->slabs[i].node == action->node) {
            indexes[call->slab_count++] = a->slabs[i].index;
        }
    }
    message.epoch = c->core->meta.epoch;
    message.instance_id = c->core->instances[a->instance].instance_id;
    message.n_slab_indexes = call->slab_count;
    message.slab_indexes = indexes;
    message.generation = action->generation;
    if (session == NULL ||
        rpc_call(session->connection, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_GRANT, &message.base,
                 &dilos__slab_grant_reply__descriptor, GRANT_TIMEOUT_MS, grant_done, call) != 0) {
        struct refusal refusal;
        set_refusal(&refusal, CORE_ERROR_UNAVAILABLE, "a memory node is not connected",
                    "try again");
        grant_failed(call, &refusal);
        free(call);
    }
}

static void revoke_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct call *call = context;
    struct refusal refusal;
    struct core_event event = {.kind = CORE_REVOKE_DONE, .session = call->session};
    if (error != NULL) {
        to_refusal(error, &refusal);
        event.error = &refusal;
        log_warning("revoke-failed", "node=%s message=\"%s\" then=\"tried again\"",
                    call->controller->core->nodes[call->node].name, error->message);
    }
    controller_event(call->controller, &event);
    free(call);
    (void)reply;
}

static void perform_revoke(struct controller *c, const struct action *action)
{
    const struct node_link *link = &c->core->node_links[action->node];
    struct session *session = session_find(c, action->session);
    uint64_t generations[CORE_REVOKE_SLABS_MAX];
    uint32_t indexes[CORE_REVOKE_SLABS_MAX];
    Dilos__SlabRevoke message = DILOS__SLAB_REVOKE__INIT;
    if (session == NULL || link->session != action->session) {
        return; /* asked again when the node is back */
    }
    for (uint32_t i = 0; i < link->revoke_count; i++) {
        indexes[i] = link->revoke_slabs[i];
        generations[i] = slab_at(c->core, action->node, indexes[i])->generation;
    }
    message.epoch = c->core->meta.epoch;
    message.n_slab_indexes = link->revoke_count;
    message.slab_indexes = indexes;
    message.n_generations = link->revoke_count;
    message.generations = generations;
    struct call *call = call_new(c, action);
    if (rpc_call(session->connection, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_REVOKE, &message.base,
                 &dilos__empty__descriptor, REVOKE_TIMEOUT_MS, revoke_done, call) != 0) {
        struct refusal refusal;
        set_refusal(&refusal, CORE_ERROR_UNAVAILABLE, "not sent", "");
        const struct core_event event = {
            .kind = CORE_REVOKE_DONE, .session = action->session, .error = &refusal};
        controller_event(c, &event);
        free(call);
    }
}

static void start_failed(struct controller *c, uint64_t token, const char *instance_id,
                         const struct refusal *refusal)
{
    const struct core_event event = {
        .kind = CORE_START_DONE, .token = token, .instance_id = instance_id, .error = refusal};
    controller_event(c, &event);
}

static void start_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct call *call = context;
    struct refusal refusal;
    if (error != NULL) {
        to_refusal(error, &refusal);
    }
    start_failed(call->controller, call->token, call->instance_id, error != NULL ? &refusal : NULL);
    free(call);
    (void)reply;
}

static void perform_start(struct controller *c, const struct action *action)
{
    struct session *session = session_of_agent(c, action->agent);
    uint32_t slot = core_find_instance_id(c->core, action->instance_id);
    const struct instance_spec *spec = slot == CORE_NONE ? NULL : &c->core->specs[slot];
    Dilos__InstanceStart message = DILOS__INSTANCE_START__INIT;
    struct call *call = call_new(c, action);
    message.epoch = c->core->meta.epoch;
    message.instance_id = call->instance_id;
    message.slab_bytes = core_pool_slab_bytes(c->core, CORE_NONE);
    message.spec =
        spec == NULL ? NULL : dilos__instance_spec__unpack(NULL, spec->bytes, spec->data);
    if (session == NULL || message.spec == NULL ||
        rpc_call(session->connection, DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_START, &message.base,
                 &dilos__empty__descriptor, START_TIMEOUT_MS, start_done, call) != 0) {
        struct refusal refusal;
        set_refusal(&refusal, CORE_ERROR_UNAVAILABLE,
                    "the agent was lost while it was told to start",
                    "dilosctl inspect shows what became of the instance");
        start_failed(c, action->token, action->instance_id, &refusal);
        free(call);
    }
    dilos__instance_spec__free_unpacked(message.spec, NULL);
}

static void signal_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct call *call = context;
    if (error != NULL && error->code != DILOS__ERROR_CODE__ERROR_NOT_FOUND) {
        log_warning("signal-failed", "instance_id=%s message=\"%s\"", call->instance_id,
                    error->message);
    }
    free(call);
    (void)reply;
}

static void perform_signal(struct controller *c, const struct action *action)
{
    struct session *session = session_of_agent(c, action->agent);
    Dilos__InstanceSignal message = DILOS__INSTANCE_SIGNAL__INIT;
    struct call *call = call_new(c, action);
    message.instance_id = call->instance_id;
    message.signal = action->signal;
    message.grace_ms = action->grace_ms;
    if (session == NULL ||
        rpc_call(session->connection, DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_SIGNAL, &message.base,
                 &dilos__empty__descriptor, SIGNAL_TIMEOUT_MS, signal_done, call) != 0) {
        free(call); /* without a session: the agent is told when it registers again */
    }
}

static Dilos__NodeEndpoint *node_endpoint(const struct core *core, uint32_t node)
{
    Dilos__NodeEndpoint *m = info_zeroed(1, sizeof(*m));
    dilos__node_endpoint__init(m);
    m->node = info_text(core->nodes[node].name);
    m->arena_id = info_text(core->nodes[node].arena_id);
    m->endpoint = info_endpoint(&core->nodes[node].endpoint);
    return m;
}

static Dilos__GrantedSlab *granted_slab(const struct core *core, const struct acquire *a,
                                        const struct acquired_slab *s)
{
    Dilos__GrantedSlab *m = info_zeroed(1, sizeof(*m));
    dilos__granted_slab__init(m);
    m->node = info_text(core->nodes[s->node].name);
    m->slab_index = s->index;
    m->generation = a->generation;
    m->slab_bytes = core->nodes[s->node].slab_bytes;
    m->key.data = info_zeroed(1, CORE_KEY_BYTES);
    m->key.len = CORE_KEY_BYTES;
    memcpy(m->key.data, s->key, CORE_KEY_BYTES);
    return m;
}

static void reply_slabs(struct controller *c, const struct action *action,
                        struct rpc_request *request)
{
    const struct acquire *a = &c->core->acquires[action->acquire];
    Dilos__SlabAcquireReply *m = info_zeroed(1, sizeof(*m));
    bool seen[CORE_NODES_MAX] = {false};
    dilos__slab_acquire_reply__init(m);
    m->slabs = info_zeroed(a->slab_count, sizeof(*m->slabs));
    m->endpoints = info_zeroed(a->slab_count, sizeof(*m->endpoints));
    for (uint32_t i = 0; i < a->slab_count; i++) {
        const struct acquired_slab *s = &a->slabs[i];
        if (!s->granted) {
            continue;
        }
        m->slabs[m->n_slabs++] = granted_slab(c->core, a, s);
        if (!seen[s->node]) {
            seen[s->node] = true;
            m->endpoints[m->n_endpoints++] = node_endpoint(c->core, s->node);
        }
    }
    rpc_reply(request, &m->base);
    for (size_t i = 0; i < m->n_slabs; i++) {
        explicit_bzero(m->slabs[i]->key.data, CORE_KEY_BYTES);
    }
    dilos__slab_acquire_reply__free_unpacked(m, NULL);
}

static void reply_agent(struct controller *c, const struct action *action,
                        struct rpc_request *request)
{
    struct session *session = session_of_agent(c, action->agent);
    Dilos__AgentRegisterReply m = DILOS__AGENT_REGISTER_REPLY__INIT;
    size_t count = session == NULL ? 0 : session->reported_count;
    char **unknown = info_zeroed(count, sizeof(*unknown));
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = core_find_instance_id(c->core, session->reported[i]);
        if (slot == CORE_NONE || c->core->instances[slot].agent != action->agent ||
            instance_ended(c->core->instances[slot].state)) {
            unknown[m.n_unknown_instances++] = session->reported[i];
        }
    }
    m.epoch = c->core->meta.epoch;
    m.heartbeat_ms = c->core->times.heartbeat_ms;
    m.unknown_instances = unknown;
    rpc_reply(request, &m.base);
    free(unknown);
    if (session != NULL) {
        session_keep_reported(session, 0, NULL);
    }
}

static void reply_node(struct controller *c, struct rpc_request *request)
{
    Dilos__NodeRegisterReply m = DILOS__NODE_REGISTER_REPLY__INIT;
    m.epoch = c->core->meta.epoch;
    m.heartbeat_ms = c->core->times.heartbeat_ms;
    rpc_reply(request, &m.base);
}

static void reply_instance(struct controller *c, const struct action *action,
                           struct rpc_request *request)
{
    Dilos__InstanceInfo *info = info_instance(c->core, action->instance, false);
    rpc_reply(request, &info->base);
    dilos__instance_info__free_unpacked(info, NULL);
}

/* True if it was a reply. */
static bool perform_reply(struct controller *c, const struct action *action)
{
    struct rpc_request *request = (struct rpc_request *)(uintptr_t)action->token;
    Dilos__Empty empty = DILOS__EMPTY__INIT;
    switch (action->kind) {
    case ACTION_REPLY_EMPTY:
        rpc_reply(request, &empty.base);
        return true;
    case ACTION_REPLY_ERROR:
        rpc_fail(request, (Dilos__ErrorCode)action->refusal.code, action->refusal.message,
                 action->refusal.remedy);
        return true;
    case ACTION_REPLY_NODE:
        reply_node(c, request);
        return true;
    case ACTION_REPLY_AGENT:
        reply_agent(c, action, request);
        return true;
    case ACTION_REPLY_INSTANCE:
        reply_instance(c, action, request);
        return true;
    case ACTION_REPLY_SLABS:
        reply_slabs(c, action, request);
        return true;
    default:
        return false;
    }
}

void controller_perform(void *context, const struct action *action)
{
    struct controller *c = context;
    if (perform_reply(c, action)) {
        return;
    }
    switch (action->kind) {
    case ACTION_GRANT:
        perform_grant(c, action);
        break;
    case ACTION_REVOKE:
        perform_revoke(c, action);
        break;
    case ACTION_START:
        perform_start(c, action);
        break;
    case ACTION_SIGNAL:
        perform_signal(c, action);
        break;
    case ACTION_CLOSE: {
        struct session *session = session_find(c, action->session);
        if (session != NULL) {
            rpc_connection_close(session->connection, "silent for too long, or replaced");
        }
        break;
    }
    default:
        waiters_wake(c, action->instance, action->instance_id);
        break;
    }
}
