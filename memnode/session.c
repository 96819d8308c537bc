/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/session.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/rpc/rpc.h"
#include "lib/sys/log.h"
#include "memnode/handlers.h"
#include "memnode/register.h"
#include "memnode/report.h"

#define RETRY_MS_MAX        5000u
#define REGISTER_TIMEOUT_MS 10000u
#define REGISTER_RETRY_MS   2000u /* after a refusal: the operator has to do something */
#define INCIDENT_TIMEOUT_MS 10000u
#define HEARTBEAT_MS_MIN    100u
#define HEARTBEAT_MS_MAX    60000u
#define ROLE_BIT(role)      (UINT32_C(1) << (role))

struct session {
    struct session_config config;
    struct handlers handlers;
    struct rpc_client *client;
    struct event *timer; /* the next heartbeat, or the next attempt to register */
    bool registered;
    bool lost; /* said so; attempts that fail after it are not news */
    uint32_t heartbeat_ms;
    char arena_id[SYS_ID_BYTES]; /* contents don't outlive the process */
    char host_id[SYS_ID_BYTES];
    struct report report;
    bool telling;     /* of an incident, */
    uint32_t ticket;  /* this one */
    uint64_t refused; /* clients of the exports, as logged last */
};

static void handle_grant(void *context, struct rpc_connection *connection,
                         struct rpc_request *request, const ProtobufCMessage *message)
{
    const struct session *session = context;
    (void)connection;
    handlers_grant(&session->handlers, request, (const Dilos__SlabGrant *)message);
}

static void handle_revoke(void *context, struct rpc_connection *connection,
                          struct rpc_request *request, const ProtobufCMessage *message)
{
    const struct session *session = context;
    (void)connection;
    handlers_revoke(&session->handlers, request, (const Dilos__SlabRevoke *)message);
}

static const struct rpc_method methods[] = {
    {DILOS__MESSAGE_TYPE__MESSAGE_SLAB_GRANT, &dilos__slab_grant__descriptor, handle_grant,
     ROLE_BIT(DILOS__ROLE__ROLE_CONTROLLER)},
    {DILOS__MESSAGE_TYPE__MESSAGE_SLAB_REVOKE, &dilos__slab_revoke__descriptor, handle_revoke,
     ROLE_BIT(DILOS__ROLE__ROLE_CONTROLLER)},
};

static void schedule(struct session *session, uint32_t after_ms)
{
    const struct timeval delay = {.tv_sec = after_ms / 1000,
                                  .tv_usec = (suseconds_t)(after_ms % 1000) * 1000};
    CHECK(event_add(session->timer, &delay) == 0);
}

static void registered(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct session *session = context;
    if (error != NULL) {
        log_error("register-refused", "name=%s controller=%s reason=\"%s\" remedy=\"%s\"",
                  session->config.name, session->config.controller, error->message, error->remedy);
        schedule(session, REGISTER_RETRY_MS);
        return;
    }
    const Dilos__NodeRegisterReply *body = (const Dilos__NodeRegisterReply *)reply;
    int failed = state_see_epoch(session->config.state, body->epoch);
    if (failed != 0) {
        log_error("controller-refused", "epoch=%llu epoch_seen=%llu reason=\"%s\"",
                  (unsigned long long)body->epoch,
                  (unsigned long long)state_epoch(session->config.state),
                  failed == -ESTALE ? "an older controller" : strerror(-failed));
        schedule(session, REGISTER_RETRY_MS);
        return;
    }
    session->registered = true;
    session->heartbeat_ms = MAX(HEARTBEAT_MS_MIN, MIN(body->heartbeat_ms, HEARTBEAT_MS_MAX));
    log_info("registered", "name=%s controller=%s epoch=%llu", session->config.name,
             session->config.controller, (unsigned long long)body->epoch);
    schedule(session, session->heartbeat_ms);
}

static void send_register(struct session *session, struct rpc_connection *connection)
{
    const struct register_facts facts = {
        .name = session->config.name,
        .node_id = state_node_id(session->config.state),
        .arena_id = session->arena_id,
        .host = session->config.host,
        .host_id = session->host_id,
        .epoch_seen = state_epoch(session->config.state),
        .labels = session->config.labels,
        .machine = session->config.machine,
    };
    report_fill(&session->report, session->config.node);
    struct register_message *message =
        register_message_open(&facts, session->config.node, &session->report);
    int error = message == NULL ? -ENOMEM : 0;
    if (error == 0) {
        error =
            rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_NODE_REGISTER,
                     &register_message_body(message)->base, &dilos__node_register_reply__descriptor,
                     REGISTER_TIMEOUT_MS, registered, session);
    }
    if (error != 0) {
        log_error("register-failed", "reason=\"%s\"", strerror(-error));
        schedule(session, REGISTER_RETRY_MS);
    }
    (void)register_message_close(message);
}

/* What the exports refused since the last look: one line, however much it was. */
static void tell_refused(struct session *session)
{
    const struct export_counters *counters = node_counters(session->config.node);
    uint64_t hello = export_counter(&counters->closed_hello);
    uint64_t protocol = export_counter(&counters->closed_protocol);
    uint64_t limit = export_counter(&counters->closed_limit);
    uint64_t silent = export_counter(&counters->closed_silent);
    if (hello + protocol + limit + silent == session->refused) {
        return;
    }
    session->refused = hello + protocol + limit + silent;
    log_warning("export-refused",
                "no_hello=%llu broke_protocol=%llu over_limit=%llu no_unmap=%llu since=start "
                "remedy=\"if these are no agents, keep others away from --listen-tcp\"",
                (unsigned long long)hello, (unsigned long long)protocol, (unsigned long long)limit,
                (unsigned long long)silent);
}

static void access_told(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct session *session = context;
    (void)reply;
    if (error != NULL && error->code != DILOS__ERROR_CODE__ERROR_UNAVAILABLE) {
        log_warning("incident-not-recorded", "reason=\"%s\"", error->message);
    }
    session->telling = false;
    incidents_told(node_incidents(session->config.node), session->ticket, sys_monotonic_ns(),
                   error == NULL);
}

/* One at a time: the next goes with the next heartbeat. */
static void tell_incident(struct session *session, struct rpc_connection *connection)
{
    Dilos__AccessRefused body = DILOS__ACCESS_REFUSED__INIT;
    struct incident incident;
    struct incidents *incidents = node_incidents(session->config.node);
    if (session->telling ||
        !incidents_next(incidents, sys_monotonic_ns(), &incident, &session->ticket)) {
        return;
    }
    body.kind = (Dilos__RefusedKind)incident.kind;
    body.fabric = (char *)(uintptr_t)incident.fabric;
    body.instance_id = incident.instance;
    body.slab_known = incident.slab != INCIDENTS_ANY_SLAB;
    body.slab_index = body.slab_known ? incident.slab : 0;
    body.peer = incident.peer;
    body.count = incident.count;
    log_warning("access-refused", "kind=%s fabric=%s instance=%s slab=%d peer=%s count=%llu",
                incident_name(incident.kind), incident.fabric,
                incident.instance[0] == '\0' ? "unknown" : incident.instance,
                body.slab_known ? (int)incident.slab : -1,
                incident.peer[0] == '\0' ? "unknown" : incident.peer,
                (unsigned long long)incident.count);
    int error = rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_ACCESS_REFUSED, &body.base,
                         &dilos__empty__descriptor, INCIDENT_TIMEOUT_MS, access_told, session);
    session->telling = error == 0;
    if (error != 0) {
        incidents_told(incidents, session->ticket, sys_monotonic_ns(), false);
    }
}

static void send_heartbeat(struct session *session, struct rpc_connection *connection)
{
    struct report *report = &session->report;
    Dilos__NodeHeartbeat body = DILOS__NODE_HEARTBEAT__INIT;
    report_fill(report, session->config.node);
    tell_refused(session);
    tell_incident(session, connection);
    body.epoch = state_epoch(session->config.state);
    body.n_counters = report->counter_count;
    body.counters = report->counter_list;
    body.n_health = report->health_count;
    body.health = report->health_list;
    int error = rpc_notify(connection, DILOS__MESSAGE_TYPE__MESSAGE_NODE_HEARTBEAT, &body.base);
    if (error != 0) {
        log_warning("heartbeat-failed", "reason=\"%s\"", strerror(-error));
    }
    schedule(session, session->heartbeat_ms);
}

static void timer_fired(evutil_socket_t fd, short events, void *context)
{
    struct session *session = context;
    (void)fd;
    (void)events;
    struct rpc_connection *connection = rpc_client_connection(session->client);
    if (connection == NULL) {
        return; /* on_open starts again */
    }
    if (session->registered) {
        send_heartbeat(session, connection);
    } else {
        send_register(session, connection);
    }
}

static void on_open(void *context, struct rpc_connection *connection)
{
    struct session *session = context;
    session->registered = false;
    session->lost = false;
    send_register(session, connection);
}

static void on_close(void *context, struct rpc_connection *connection, int error,
                     const char *reason)
{
    struct session *session = context;
    (void)connection;
    session->registered = false;
    CHECK(event_del(session->timer) == 0);
    if (session->lost || error == -ECANCELED) {
        return;
    }
    session->lost = true;
    log_warning("controller-lost", "controller=%s reason=\"%s\" data_plane=running",
                session->config.controller, reason == NULL ? "" : reason);
}

int session_open(const struct session_config *config, struct session **ret)
{
    struct session *session = calloc(1, sizeof(*session));
    if (session == NULL) {
        return -ENOMEM;
    }
    session->config = *config;
    session->handlers = (struct handlers){.node = config->node, .state = config->state};
    sys_random_id(session->arena_id);
    sys_host_id(session->host_id);
    session->timer = event_new(config->base, -1, 0, timer_fired, session);
    if (session->timer == NULL) {
        free(session);
        return -ENOMEM;
    }
    const struct rpc_identity identity = {.role = DILOS__ROLE__ROLE_MEMNODE, .name = config->name};
    const struct rpc_callbacks callbacks = {.methods = methods,
                                            .method_count = ARRAY_LEN(methods),
                                            .on_open = on_open,
                                            .on_close = on_close,
                                            .context = session};
    int error = rpc_client_open(config->base, config->controller, RETRY_MS_MAX, &identity,
                                &callbacks, &session->client);
    if (error != 0) {
        event_free(session->timer);
        free(session);
        return error;
    }
    *ret = session;
    return 0;
}

struct session *session_close(struct session *session)
{
    if (session != NULL) {
        session->client = rpc_client_close(session->client);
        event_free(session->timer);
        free(session);
    }
    return NULL;
}
