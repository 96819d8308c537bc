/* SPDX-License-Identifier: Apache-2.0 */
/* Memory nodes and agents: their connections, and what they say, as events of the core. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/info.h"
#include "controller/internal.h"
#include "lib/sys/log.h"
#include "lib/sys/text.h"

struct session *session_of(struct controller *c, struct rpc_connection *connection)
{
    struct session *s = rpc_connection_data(connection);
    if (s == NULL) {
        s = info_zeroed(1, sizeof(*s));
        s->id = ++c->next_session;
        s->connection = connection;
        list_append(&c->sessions, &s->link);
        rpc_connection_set_data(connection, s);
    }
    return s;
}

struct session *session_find(struct controller *c, uint64_t id)
{
    list_for_each (node, &c->sessions) {
        struct session *s = list_entry(node, struct session, link);
        if (s->id == id && id != 0) {
            return s;
        }
    }
    return NULL;
}

struct session *session_of_node(struct controller *c, uint32_t node)
{
    return session_find(c, c->core->node_links[node].session);
}

struct session *session_of_agent(struct controller *c, uint32_t agent)
{
    return session_find(c, c->core->agent_links[agent].session);
}

static void drop_list(size_t *count, Dilos__Health ***list)
{
    for (size_t i = 0; i < *count; i++) {
        dilos__health__free_unpacked((*list)[i], NULL);
    }
    free(*list);
    *list = NULL;
    *count = 0;
}

static Dilos__Health **copy_list(size_t count, Dilos__Health *const *from)
{
    Dilos__Health **list = info_zeroed(count, sizeof(Dilos__Health *));
    for (size_t i = 0; i < count; i++) {
        list[i] = info_zeroed(1, sizeof(*list[i]));
        dilos__health__init(list[i]);
        list[i]->code = info_text(from[i]->code);
        list[i]->detail = info_text(from[i]->detail);
        list[i]->remedy = info_text(from[i]->remedy);
    }
    return list;
}

void session_keep_health(struct session *s, size_t count, Dilos__Health *const *health)
{
    drop_list(&s->health_count, &s->health);
    s->health = copy_list(count, health);
    s->health_count = count;
}

static void keep_machine(struct session *s, size_t count, Dilos__Health *const *machine)
{
    drop_list(&s->machine_count, &s->machine);
    s->machine = copy_list(count, machine);
    s->machine_count = count;
}

static void drop_counters(struct session *s)
{
    for (size_t i = 0; i < s->counter_count; i++) {
        dilos__counter__free_unpacked(s->counters[i], NULL);
    }
    free(s->counters);
    s->counters = NULL;
    s->counter_count = 0;
}

void session_keep_counters(struct session *s, size_t count, Dilos__Counter *const *counters)
{
    drop_counters(s);
    s->counters = info_zeroed(count, sizeof(*s->counters));
    s->counter_count = count;
    for (size_t i = 0; i < count; i++) {
        s->counters[i] = info_zeroed(1, sizeof(*s->counters[i]));
        dilos__counter__init(s->counters[i]);
        s->counters[i]->name = info_text(counters[i]->name);
        s->counters[i]->value = counters[i]->value;
        s->counters[i]->unit = info_text(counters[i]->unit);
    }
}

void session_keep_reported(struct session *s, size_t count, Dilos__InstanceReport *const *reports)
{
    for (size_t i = 0; i < s->reported_count; i++) {
        free(s->reported[i]);
    }
    free(s->reported);
    s->reported = info_zeroed(count, sizeof(*s->reported));
    s->reported_count = count;
    for (size_t i = 0; i < count; i++) {
        s->reported[i] = info_text(reports[i]->instance_id);
    }
}

void session_close(struct controller *c, struct session *s, const char *reason)
{
    uint32_t node = core_node_of_session(c->core, s->id);
    uint32_t agent = core_agent_of_session(c->core, s->id);
    const struct core_event event = {.kind =
                                         node != CORE_NONE ? CORE_NODE_CLOSED : CORE_AGENT_CLOSED,
                                     .session = s->id,
                                     .reason = reason};
    if (!c->closing && (node != CORE_NONE || agent != CORE_NONE)) {
        log_info("session-closed", "name=%s reason=\"%s\"",
                 node != CORE_NONE ? c->core->nodes[node].name : c->core->agents[agent].name,
                 reason);
        controller_event(c, &event);
    }
    list_remove(&s->link);
    drop_list(&s->health_count, &s->health);
    drop_list(&s->machine_count, &s->machine);
    drop_counters(s);
    session_keep_reported(s, 0, NULL);
    free(s->reported);
    free(s);
}

bool take_text(char *to, uint32_t bytes, const char *from)
{
    if (strlen(from) >= bytes) {
        return false;
    }
    core_text(to, bytes, from);
    return true;
}

#define TAKE(array, from) take_text(array, sizeof(array), from)

void fail_invalid(struct rpc_request *request, const char *message, const char *remedy)
{
    rpc_fail(request, DILOS__ERROR_CODE__ERROR_INVALID, message, remedy);
}

static bool take_labels(struct labels *to, size_t count, Dilos__Label *const *from)
{
    if (count > CORE_LABELS_MAX) {
        return false;
    }
    to->count = (uint32_t)count;
    for (size_t i = 0; i < count; i++) {
        if (!TAKE(to->items[i].key, from[i]->key) || !TAKE(to->items[i].value, from[i]->value)) {
            return false;
        }
    }
    return true;
}

static bool take_node(struct node *to, const Dilos__NodeRegister *m)
{
    const Dilos__Endpoint none = DILOS__ENDPOINT__INIT;
    const Dilos__Endpoint *endpoint = m->endpoint != NULL ? m->endpoint : &none;
    memset(to, 0, sizeof(*to));
    to->used = true;
    to->slab_bytes = m->slab_bytes;
    to->slab_count = m->slab_count;
    return TAKE(to->name, m->name) && TAKE(to->node_id, m->node_id) &&
           TAKE(to->arena_id, m->arena_id) && TAKE(to->host, m->host) &&
           take_labels(&to->labels, m->n_labels, m->labels) && m->node_id[0] != '\0' &&
           m->arena_id[0] != '\0' && TAKE(to->endpoint.host_id, endpoint->host_id) &&
           TAKE(to->endpoint.tcp_address, endpoint->tcp_address) &&
           TAKE(to->endpoint.shm_path, endpoint->shm_path) &&
           TAKE(to->endpoint.verbs_address, endpoint->verbs_address);
}

void on_node_register(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__NodeRegister *m = (const Dilos__NodeRegister *)message;
    struct node node;
    if (!text_is_name(m->name) || !take_node(&node, m)) {
        fail_invalid(request, "the memory node's name, ids, labels or addresses are not valid",
                     "names: a-z, 0-9 and -, up to 63; labels: up to 16");
        return;
    }
    struct held_slab *held = info_zeroed(m->n_held, sizeof(*held));
    for (size_t i = 0; i < m->n_held; i++) {
        held[i].index = m->held[i]->slab_index;
        held[i].generation = m->held[i]->generation;
    }
    struct session *s = session_of(c, connection);
    session_keep_health(s, m->n_health, m->health);
    keep_machine(s, m->n_machine, m->machine);
    const struct core_event event = {.kind = CORE_NODE_REGISTER,
                                     .token = (uintptr_t)request,
                                     .session = s->id,
                                     .node = &node,
                                     .address = rpc_connection_peer(connection)->address,
                                     .epoch_seen = m->epoch_seen,
                                     .held = held,
                                     .held_count = (uint32_t)m->n_held};
    controller_event(c, &event);
    free(held);
    log_info("node-register", "name=%s slabs=%u slab_bytes=%llu held=%zu accepted=%s", m->name,
             m->slab_count, (unsigned long long)m->slab_bytes, m->n_held,
             core_node_of_session(c->core, s->id) != CORE_NONE ? "yes" : "no");
}

void on_node_heartbeat(void *context, struct rpc_connection *connection,
                       struct rpc_request *request, const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__NodeHeartbeat *m = (const Dilos__NodeHeartbeat *)message;
    struct session *s = session_of(c, connection);
    const struct core_event event = {.kind = CORE_NODE_HEARTBEAT, .session = s->id};
    session_keep_health(s, m->n_health, m->health);
    session_keep_counters(s, m->n_counters, m->counters);
    controller_event(c, &event);
    (void)request;
}

void on_access_refused(void *context, struct rpc_connection *connection,
                       struct rpc_request *request, const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__AccessRefused *m = (const Dilos__AccessRefused *)message;
    const struct refused_access access = {.kind = (enum core_refused_kind)m->kind,
                                          .fabric = m->fabric,
                                          .instance_id = m->instance_id,
                                          .peer = m->peer,
                                          .slab_known = m->slab_known,
                                          .slab_index = m->slab_index,
                                          .count = m->count};
    const struct core_event event = {.kind = CORE_ACCESS_REFUSED,
                                     .token = (uintptr_t)request,
                                     .session = session_of(c, connection)->id,
                                     .access = &access};
    controller_event(c, &event);
}

static bool take_agent(struct agent *to, const Dilos__AgentRegister *m)
{
    memset(to, 0, sizeof(*to));
    to->memory_bytes = m->memory_bytes;
    to->cpu_count = m->cpu_count;
    return TAKE(to->name, m->name) && TAKE(to->agent_id, m->agent_id) && TAKE(to->host, m->host) &&
           TAKE(to->host_id, m->host_id) && TAKE(to->accelerator, m->accelerator) &&
           take_labels(&to->labels, m->n_labels, m->labels);
}

static void report(struct controller *c, uint64_t session, uint64_t token,
                   const Dilos__InstanceReport *r)
{
    /* Longer texts are cut by the core; the state comes from a peer. */
    bool known = r->state <= DILOS__INSTANCE_STATE__INSTANCE_FAILED;
    const struct core_event event = {.kind = CORE_REPORT,
                                     .token = token,
                                     .session = session,
                                     .instance_id = r->instance_id,
                                     .state =
                                         known ? (enum instance_state)r->state : INSTANCE_PENDING,
                                     .exit_kind = r->exit_kind,
                                     .exit_code = r->exit_code,
                                     .reason = r->reason};
    controller_event(c, &event);
}

void on_agent_register(void *context, struct rpc_connection *connection,
                       struct rpc_request *request, const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__AgentRegister *m = (const Dilos__AgentRegister *)message;
    struct agent agent;
    if (!text_is_name(m->name) || !take_agent(&agent, m)) {
        fail_invalid(request, "the agent's name, ids or labels are not valid",
                     "names: a-z, 0-9 and -, up to 63; labels: up to 16");
        return;
    }
    struct session *s = session_of(c, connection);
    session_keep_health(s, m->n_health, m->health);
    session_keep_reported(s, m->n_instances, m->instances);
    const struct core_event event = {.kind = CORE_AGENT_REGISTER,
                                     .token = (uintptr_t)request,
                                     .session = s->id,
                                     .agent = &agent,
                                     .address = rpc_connection_peer(connection)->address,
                                     .epoch_seen = m->epoch_seen,
                                     .names = (const char *const *)s->reported,
                                     .name_count = (uint32_t)m->n_instances};
    controller_event(c, &event);
    bool accepted = core_agent_of_session(c->core, s->id) != CORE_NONE;
    for (size_t i = 0; accepted && i < m->n_instances; i++) {
        report(c, s->id, 0, m->instances[i]);
    }
    log_info("agent-register", "name=%s accelerator=%s instances=%zu accepted=%s", m->name,
             agent.accelerator, m->n_instances, accepted ? "yes" : "no");
}

void on_agent_heartbeat(void *context, struct rpc_connection *connection,
                        struct rpc_request *request, const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__AgentHeartbeat *m = (const Dilos__AgentHeartbeat *)message;
    struct session *s = session_of(c, connection);
    const struct core_event event = {.kind = CORE_AGENT_HEARTBEAT, .session = s->id};
    session_keep_health(s, m->n_health, m->health);
    controller_event(c, &event);
    (void)request;
}

void on_instance_event(void *context, struct rpc_connection *connection,
                       struct rpc_request *request, const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__InstanceEvent *m = (const Dilos__InstanceEvent *)message;
    if (m->report == NULL) {
        fail_invalid(request, "an instance event without a report", "update the agent");
        return;
    }
    report(c, session_of(c, connection)->id, (uintptr_t)request, m->report);
}

void on_slab_acquire(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__SlabAcquire *m = (const Dilos__SlabAcquire *)message;
    if (m->request_key.len != CORE_KEY_BYTES) {
        fail_invalid(request, "a request key has 16 bytes", "update the agent");
        return;
    }
    const struct core_event event = {.kind = CORE_ACQUIRE,
                                     .token = (uintptr_t)request,
                                     .session = session_of(c, connection)->id,
                                     .key = m->request_key.data,
                                     .instance_id = m->instance_id,
                                     .slab_count = m->slab_count};
    controller_event(c, &event);
}

void on_slab_release(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__SlabRelease *m = (const Dilos__SlabRelease *)message;
    struct released_slab *released = info_zeroed(m->n_slabs, sizeof(*released));
    for (size_t i = 0; i < m->n_slabs; i++) {
        released[i].node = m->slabs[i]->node;
        released[i].index = m->slabs[i]->slab_index;
        released[i].generation = m->slabs[i]->generation;
    }
    const struct core_event event = {.kind = CORE_RELEASE,
                                     .token = (uintptr_t)request,
                                     .session = session_of(c, connection)->id,
                                     .instance_id = m->instance_id,
                                     .released = released,
                                     .released_count = (uint32_t)m->n_slabs};
    controller_event(c, &event);
    free(released);
}
