/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's session with the controller: registering, heartbeats, reports of instances. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "computenode/agent/agent_internal.h"
#include "lib/base/check.h"
#include "lib/sys/log.h"

#define RETRY_MS_MAX      2000u
#define REGISTER_RETRY_MS 2000u
#define HEARTBEAT_MS_MIN  100u
#define HEARTBEAT_MS_MAX  60000u
#define HEALTH_MAX        4u
#define LABEL_BYTES       256u

static void schedule(struct event *event, uint32_t after_ms)
{
    const struct timeval delay = {.tv_sec = after_ms / 1000,
                                  .tv_usec = (suseconds_t)(after_ms % 1000) * 1000};
    CHECK(event_add(event, &delay) == 0);
}

struct rpc_connection *session_connection(struct agent *agent)
{
    return agent->registered ? rpc_client_connection(agent->client) : NULL;
}

void session_retry(struct agent *agent)
{
    schedule(agent->retry, AGENT_RETRY_MS);
}

/* ---- what is degraded ---- */

struct health_list {
    uint32_t count;
    Dilos__Health items[HEALTH_MAX];
    Dilos__Health *list[HEALTH_MAX];
};

static void health_add(struct health_list *health, const char *code, const char *detail,
                       const char *remedy)
{
    CHECK(health->count < HEALTH_MAX);
    Dilos__Health *item = &health->items[health->count];
    dilos__health__init(item);
    item->code = (char *)(uintptr_t)code;
    item->detail = (char *)(uintptr_t)detail;
    item->remedy = (char *)(uintptr_t)remedy;
    health->list[health->count++] = item;
}

static void health_fill(const struct agent *agent, struct health_list *health)
{
    health->count = 0;
    if (!agent->config.kvm && agent->config.kvm_reason[0] != '\0') {
        health_add(health, "KVM_UNUSABLE", agent->config.kvm_reason,
                   "enable virtualization in the firmware, load kvm_intel or kvm_amd, and let the "
                   "agent open /dev/kvm; until then instances are emulated");
    }
    if (agent->config.qemu == NULL) {
        health_add(health, "QEMU_MISSING", "qemu-system-x86_64 was not found",
                   "apt-get install qemu-system-x86, then restart the agent");
    }
    if (agent->config.kernel == NULL) {
        health_add(health, "KERNEL_MISSING", "dilos.elf was not found",
                   "start the agent with --kernel PATH");
    }
}

/* ---- registering ---- */

/* Parts of an AgentRegister that need storage. */
struct registration {
    Dilos__AgentRegister body;
    struct health_list health;
    Dilos__Label labels[CONFIG_LIST_MAX];
    Dilos__Label *label_list[CONFIG_LIST_MAX];
    char label_keys[CONFIG_LIST_MAX][LABEL_BYTES];
    size_t report_count;
    Dilos__InstanceReport *reports;
    Dilos__InstanceReport **report_list;
};

static void fill_labels(const struct agent *agent, struct registration *r)
{
    const struct config_list *labels = agent->config.labels;
    for (uint32_t i = 0; i < labels->count; i++) {
        const char *equals = strchr(labels->items[i], '=');
        CHECK(equals != NULL); /* options.c has seen to it */
        (void)snprintf(r->label_keys[i], LABEL_BYTES, "%.*s", (int)(equals - labels->items[i]),
                       labels->items[i]);
        dilos__label__init(&r->labels[i]);
        r->labels[i].key = r->label_keys[i];
        r->labels[i].value = (char *)(uintptr_t)(equals + 1);
        r->label_list[i] = &r->labels[i];
    }
    r->body.n_labels = labels->count;
    r->body.labels = r->label_list;
}

/* Held slabs of one instance; freed by free_held. */
static bool fill_held(const struct member *member, Dilos__InstanceReport *report)
{
    size_t count = member->held_count;
    report->held = calloc(count + 1, sizeof(*report->held));
    report->held_nodes = calloc(count + 1, sizeof(*report->held_nodes));
    Dilos__HeldGrant *grants = calloc(count + 1, sizeof(*grants));
    if (report->held == NULL || report->held_nodes == NULL || grants == NULL) {
        free(grants);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct held_slab *held = &member->held[i];
        dilos__held_grant__init(&grants[i]);
        grants[i].slab_index = held->slab.slab_index;
        grants[i].generation = held->slab.generation;
        grants[i].instance_id = report->instance_id;
        report->held[i] = &grants[i];
        report->held_nodes[i] = held->slab.node;
    }
    report->held[count] = &grants[0]; /* kept for free_held, not counted */
    report->n_held = count;
    report->n_held_nodes = count;
    return true;
}

static void free_held(Dilos__InstanceReport *report)
{
    if (report->held != NULL) {
        free(report->held[report->n_held]);
    }
    free(report->held);
    free(report->held_nodes);
}

static bool fill_reports(const struct agent *agent, struct registration *r)
{
    size_t count = agent->member_count;
    bool ok = true;
    r->reports = calloc(count + 1, sizeof(*r->reports));
    r->report_list = calloc(count + 1, sizeof(*r->report_list));
    if (r->reports == NULL || r->report_list == NULL) {
        return false;
    }
    list_for_each (node, &agent->members) {
        const struct member *member = list_entry(node, struct member, link);
        if (instance_state(member->instance) == INSTANCE_ENDED && !member->report_due) {
            continue; /* the controller knows, and has taken everything back */
        }
        Dilos__InstanceReport *report = &r->reports[r->report_count];
        dilos__instance_report__init(report);
        instance_report(member->instance, report);
        r->report_list[r->report_count++] = report;
        ok = ok && fill_held(member, report);
    }
    r->body.n_instances = r->report_count;
    r->body.instances = r->report_list;
    return ok;
}

static void end_unknown(struct agent *agent, const Dilos__AgentRegisterReply *reply)
{
    for (size_t i = 0; i < reply->n_unknown_instances; i++) {
        struct member *member = agent_find(agent, reply->unknown_instances[i]);
        if (member != NULL) {
            log_warning("instance-unknown", "name=%s id=%s action=end",
                        instance_name(member->instance), reply->unknown_instances[i]);
            instance_kill(member->instance, "refused", "the controller does not know it");
            member->report_due = false;
        }
    }
}

static void send_owed(struct agent *agent)
{
    list_for_each (node, &agent->members) {
        struct member *member = list_entry(node, struct member, link);
        session_report(member);
        slabs_send_owed(member);
    }
}

static void registered(void *context, const ProtobufCMessage *message, const Dilos__Error *error)
{
    struct agent *agent = context;
    if (error != NULL) {
        log_error("register-refused", "name=%s controller=%s reason=\"%s\" remedy=\"%s\"",
                  agent->config.name, agent->config.controller, error->message, error->remedy);
        schedule(agent->beat, REGISTER_RETRY_MS);
        return;
    }
    const Dilos__AgentRegisterReply *reply = (const Dilos__AgentRegisterReply *)message;
    if (reply->epoch < agent->epoch) {
        log_error("controller-refused", "epoch=%llu epoch_seen=%llu reason=\"an older controller\"",
                  (unsigned long long)reply->epoch, (unsigned long long)agent->epoch);
        schedule(agent->beat, REGISTER_RETRY_MS);
        return;
    }
    agent_see_epoch(agent, reply->epoch);
    agent->registered = true;
    agent->heartbeat_ms = MAX(HEARTBEAT_MS_MIN, MIN(reply->heartbeat_ms, HEARTBEAT_MS_MAX));
    log_info("registered", "name=%s controller=%s epoch=%llu", agent->config.name,
             agent->config.controller, (unsigned long long)reply->epoch);
    end_unknown(agent, reply);
    schedule(agent->beat, agent->heartbeat_ms);
    send_owed(agent);
}

static int call_register(struct agent *agent, struct rpc_connection *connection,
                         struct registration *r)
{
    dilos__agent_register__init(&r->body);
    r->body.name = (char *)(uintptr_t)agent->config.name;
    r->body.agent_id = agent->agent_id;
    r->body.host = (char *)(uintptr_t)agent->config.host;
    r->body.host_id = agent->host_id;
    r->body.accelerator = (char *)(uintptr_t)(agent->config.kvm ? "kvm" : "tcg");
    r->body.memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    r->body.cpu_count = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    r->body.epoch_seen = agent->epoch;
    fill_labels(agent, r);
    health_fill(agent, &r->health);
    r->body.n_health = r->health.count;
    r->body.health = r->health.list;
    if (!fill_reports(agent, r)) {
        return -ENOMEM;
    }
    return rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_AGENT_REGISTER, &r->body.base,
                    &dilos__agent_register_reply__descriptor, AGENT_CALL_MS, registered, agent);
}

static void send_register(struct agent *agent, struct rpc_connection *connection)
{
    struct registration *r = calloc(1, sizeof(*r));
    int error = r == NULL ? -ENOMEM : call_register(agent, connection, r);
    if (error < 0) {
        log_error("register-failed", "reason=\"%s\"", strerror(-error));
        schedule(agent->beat, REGISTER_RETRY_MS);
    }
    if (r != NULL) {
        for (size_t i = 0; i < r->report_count; i++) {
            free_held(&r->reports[i]);
        }
        free(r->reports);
        free(r->report_list);
        free(r);
    }
}

static void send_heartbeat(struct agent *agent, struct rpc_connection *connection)
{
    struct health_list health;
    Dilos__AgentHeartbeat body = DILOS__AGENT_HEARTBEAT__INIT;
    health_fill(agent, &health);
    body.epoch = agent->epoch;
    body.n_health = health.count;
    body.health = health.list;
    int error = rpc_notify(connection, DILOS__MESSAGE_TYPE__MESSAGE_AGENT_HEARTBEAT, &body.base);
    if (error < 0) {
        log_warning("heartbeat-failed", "reason=\"%s\"", strerror(-error));
    }
    schedule(agent->beat, agent->heartbeat_ms);
    agent_forget(agent);
}

static void on_beat(int fd, short events, void *context)
{
    struct agent *agent = context;
    struct rpc_connection *connection = rpc_client_connection(agent->client);
    (void)fd;
    (void)events;
    if (connection == NULL) {
        return; /* on_open begins again */
    }
    if (agent->registered) {
        send_heartbeat(agent, connection);
    } else {
        send_register(agent, connection);
    }
}

static void on_retry(int fd, short events, void *context)
{
    (void)fd;
    (void)events;
    send_owed(context);
}

/* ---- reports ---- */

static void reported(void *context, const ProtobufCMessage *message, const Dilos__Error *error)
{
    struct member *member = context;
    (void)message;
    member->report_sent = false;
    bool settled = error == NULL || error->code == DILOS__ERROR_CODE__ERROR_NOT_FOUND ||
                   error->code == DILOS__ERROR_CODE__ERROR_INVALID;
    if (settled && member->report_number == member->change_number) {
        member->report_due = false;
        return;
    }
    if (settled) {
        session_report(member); /* it has changed again meanwhile */
    } else {
        session_retry(member->agent);
    }
}

void session_report(struct member *member)
{
    struct rpc_connection *connection = session_connection(member->agent);
    if (connection == NULL || !member->report_due || member->report_sent) {
        return;
    }
    Dilos__InstanceReport report = DILOS__INSTANCE_REPORT__INIT;
    Dilos__InstanceEvent body = DILOS__INSTANCE_EVENT__INIT;
    instance_report(member->instance, &report);
    body.report = &report;
    member->report_number = member->change_number;
    int error = rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_EVENT, &body.base,
                         &dilos__empty__descriptor, AGENT_CALL_MS, reported, member);
    member->report_sent = error == 0;
    if (error < 0) {
        session_retry(member->agent);
    }
}

/* ---- connection ---- */

static void on_open(void *context, struct rpc_connection *connection)
{
    struct agent *agent = context;
    agent->registered = false;
    agent->lost = false;
    send_register(agent, connection);
}

static void on_close(void *context, struct rpc_connection *connection, int error,
                     const char *reason)
{
    struct agent *agent = context;
    (void)connection;
    agent->registered = false;
    CHECK(event_del(agent->beat) == 0);
    if (agent->lost || error == -ECANCELED) {
        return;
    }
    agent->lost = true;
    log_warning("controller-lost", "controller=%s reason=\"%s\" instances=running",
                agent->config.controller, reason == NULL ? "" : reason);
}

int session_open(struct agent *agent)
{
    const struct rpc_identity identity = {.role = DILOS__ROLE__ROLE_AGENT,
                                          .name = agent->config.name};
    const struct rpc_callbacks callbacks = {.methods = agent_methods,
                                            .method_count = agent_method_count,
                                            .on_open = on_open,
                                            .on_close = on_close,
                                            .context = agent};
    agent->beat = event_new(agent->config.base, -1, 0, on_beat, agent);
    agent->retry = event_new(agent->config.base, -1, 0, on_retry, agent);
    int r = agent->beat == NULL || agent->retry == NULL ? -ENOMEM : 0;
    if (r == 0) {
        r = rpc_client_open(agent->config.base, agent->config.controller, RETRY_MS_MAX, &identity,
                            &callbacks, &agent->client);
    }
    if (r < 0) {
        session_close(agent);
    }
    return r;
}

void session_close(struct agent *agent)
{
    agent->client = rpc_client_close(agent->client);
    if (agent->beat != NULL) {
        event_free(agent->beat);
        agent->beat = NULL;
    }
    if (agent->retry != NULL) {
        event_free(agent->retry);
        agent->retry = NULL;
    }
}
