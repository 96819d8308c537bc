/* SPDX-License-Identifier: Apache-2.0 */
/* What dilosctl asks, answered from the core, or made an event of it. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/slabs.h"
#include "controller/info.h"
#include "controller/internal.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define EVENTS_REPLY_MAX CORE_HISTORY_MAX
#define HEALTH_REPLY_MAX 512u

#ifndef DILOS_VERSION
#define DILOS_VERSION "unknown"
#endif

static void fail_not_found(struct rpc_request *request, const char *what, const char *remedy)
{
    rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, what, remedy);
}

static void count_members(const struct core *core, Dilos__Status *m)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        const struct node *node = &core->nodes[i];
        if (node->used) {
            m->nodes_total++;
            m->nodes_up += node->state == NODE_UP ? 1 : 0;
            m->bytes_total += node->slab_count * node->slab_bytes;
        }
    }
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        const struct instance *instance = &core->instances[i];
        if (instance->used) {
            m->instances_total++;
            m->instances_running += instance->state == INSTANCE_RUNNING ? 1 : 0;
        }
    }
    m->bytes_free = core_free_bytes(core);
}

/* The health of members, each detail with the member's name before it. */
static void add_health(Dilos__Status *m, Dilos__Health *items, const struct session *s,
                       const char *name)
{
    for (size_t i = 0; s != NULL && i < s->health_count && m->n_health < HEALTH_REPLY_MAX; i++) {
        Dilos__Health *health = &items[m->n_health];
        size_t bytes = strlen(name) + strlen(s->health[i]->detail) + 3;
        *health = *s->health[i];
        health->detail = info_zeroed(1, bytes);
        (void)snprintf(health->detail, bytes, "%s: %s", name, s->health[i]->detail);
        m->health[m->n_health++] = health;
    }
}

static void add_agent(struct controller *c, Dilos__AgentInfo *info, uint32_t slot)
{
    struct agent *agent = &c->core->agents[slot];
    struct session *s = session_of_agent(c, slot);
    dilos__agent_info__init(info);
    info->name = agent->name;
    info->up = s != NULL;
    info->accelerator = agent->accelerator;
    info->memory_bytes = agent->memory_bytes;
    info->cpu_count = agent->cpu_count;
    info->instances = core_live_count(c->core, slot);
    info->n_health = s != NULL ? s->health_count : 0;
    info->health = s != NULL ? s->health : NULL;
}

void on_status(void *context, struct rpc_connection *connection, struct rpc_request *request,
               const ProtobufCMessage *message)
{
    struct controller *c = context;
    Dilos__Status m = DILOS__STATUS__INIT;
    Dilos__AgentInfo agents[CORE_AGENTS_MAX], *agent_items[CORE_AGENTS_MAX];
    Dilos__Health health[HEALTH_REPLY_MAX], *health_items[HEALTH_REPLY_MAX];
    if (!controller_settle(c)) {
        return;
    }
    m.cluster_id = c->core->meta.cluster_id;
    m.epoch = c->core->meta.epoch;
    m.version = (char *)(uintptr_t)DILOS_VERSION;
    m.uptime_ms = (sys_monotonic_ns() - c->opened_ns) / 1000000;
    m.applied_index = c->core->meta.applied_index;
    m.agents = agent_items;
    m.health = health_items;
    count_members(c->core, &m);
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        add_health(&m, health, session_of_node(c, i), c->core->nodes[i].name);
    }
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        if (c->core->agents[i].used) {
            agent_items[m.n_agents] = &agents[m.n_agents];
            add_agent(c, &agents[m.n_agents], i);
            m.agents_up += agents[m.n_agents].up ? 1 : 0;
            m.n_agents++;
            add_health(&m, health, session_of_agent(c, i), c->core->agents[i].name);
        }
    }
    m.agents_total = (uint32_t)m.n_agents;
    rpc_reply(request, &m.base);
    for (size_t i = 0; i < m.n_health; i++) {
        free(health[i].detail);
    }
    (void)connection;
    (void)message;
}

/* With what its heartbeats said, which stay the session's. */
static Dilos__NodeInfo *node_info(struct controller *c, uint32_t slot)
{
    Dilos__NodeInfo *info = info_node(c->core, slot);
    struct session *s = session_of_node(c, slot);
    if (s != NULL) {
        info->n_counters = s->counter_count;
        info->counters = s->counters;
        info->n_health = s->health_count;
        info->health = s->health;
        info->n_machine = s->machine_count;
        info->machine = s->machine;
        info->heartbeat_age_ms = controller_now().mono_ms - c->core->node_links[slot].seen_ms;
    }
    return info;
}

static void node_info_free(Dilos__NodeInfo *info)
{
    info->n_counters = 0;
    info->counters = NULL;
    info->n_health = 0;
    info->health = NULL;
    info->n_machine = 0;
    info->machine = NULL;
    dilos__node_info__free_unpacked(info, NULL);
}

void on_node_list(void *context, struct rpc_connection *connection, struct rpc_request *request,
                  const ProtobufCMessage *message)
{
    struct controller *c = context;
    Dilos__NodeList m = DILOS__NODE_LIST__INIT;
    Dilos__NodeInfo *items[CORE_NODES_MAX];
    if (!controller_settle(c)) {
        return;
    }
    m.nodes = items;
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (c->core->nodes[i].used) {
            items[m.n_nodes++] = node_info(c, i);
        }
    }
    rpc_reply(request, &m.base);
    for (size_t i = 0; i < m.n_nodes; i++) {
        node_info_free(items[i]);
    }
    (void)connection;
    (void)message;
}

/* CORE_NONE: answered with NOT_FOUND. */
static uint32_t node_or_fail(struct controller *c, const char *name, struct rpc_request *request)
{
    char text[CORE_REASON_BYTES];
    uint32_t slot = core_find_node(c->core, name);
    if (slot == CORE_NONE) {
        (void)snprintf(text, sizeof(text), "there is no memory node named %.64s", name);
        fail_not_found(request, text, "dilosctl node list shows the memory nodes");
    }
    return slot;
}

static uint32_t instance_or_fail(struct controller *c, const char *name,
                                 struct rpc_request *request)
{
    char text[CORE_REASON_BYTES];
    uint32_t slot = core_find_instance(c->core, name);
    if (slot == CORE_NONE) {
        (void)snprintf(text, sizeof(text), "there is no instance named %.64s", name);
        fail_not_found(request, text, "dilosctl ps shows the instances");
    }
    return slot;
}

void on_node_inspect(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    struct controller *c = context;
    if (!controller_settle(c)) {
        return;
    }
    uint32_t slot = node_or_fail(c, ((const Dilos__NameRef *)message)->name, request);
    if (slot != CORE_NONE) {
        Dilos__NodeInfo *info = node_info(c, slot);
        rpc_reply(request, &info->base);
        node_info_free(info);
    }
    (void)connection;
}

void on_slab_list(void *context, struct rpc_connection *connection, struct rpc_request *request,
                  const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__SlabFilter *m = (const Dilos__SlabFilter *)message;
    struct info_slabs which = {.node = CORE_NONE,
                               .instance = CORE_NONE,
                               .from_slab = m->from_slab,
                               .count_max = m->count_max};
    bool ok = controller_settle(c);
    if (ok && m->node[0] != '\0') {
        which.node = node_or_fail(c, m->node, request);
        ok = which.node != CORE_NONE;
    }
    if (ok && m->instance[0] != '\0') {
        which.instance = instance_or_fail(c, m->instance, request);
        ok = which.instance != CORE_NONE;
    }
    if (ok && m->from_node[0] != '\0') {
        which.from_node = node_or_fail(c, m->from_node, request);
        ok = which.from_node != CORE_NONE;
    }
    if (!ok) {
        return;
    }
    Dilos__SlabList *list = info_slabs(c->core, &which);
    rpc_reply(request, &list->base);
    dilos__slab_list__free_unpacked(list, NULL);
    (void)connection;
}

void on_slab_inspect(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__SlabRef *m = (const Dilos__SlabRef *)message;
    if (!controller_settle(c)) {
        return;
    }
    uint32_t node = node_or_fail(c, m->node, request);
    if (node == CORE_NONE) {
        return;
    }
    if (m->slab_index >= c->core->nodes[node].slab_count) {
        fail_not_found(request, "the memory node has fewer slabs",
                       "dilosctl node inspect shows how many");
        return;
    }
    struct extent extent =
        slab_extent(c->core, node, slab_extent_start(c->core, node, m->slab_index));
    Dilos__SlabInfo *info = info_extent(c->core, &extent);
    rpc_reply(request, &info->base);
    dilos__slab_info__free_unpacked(info, NULL);
    (void)connection;
}

void on_launch(void *context, struct rpc_connection *connection, struct rpc_request *request,
               const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__Launch *m = (const Dilos__Launch *)message;
    const Dilos__InstanceSpec *spec = m->spec;
    char instance_id[SYS_ID_BYTES];
    if (spec == NULL || !text_is_name(spec->name)) {
        fail_invalid(request, "the instance's name is not valid",
                     "use a-z, 0-9 and -, up to 63, beginning with a letter or digit");
        return;
    }
    if (m->request_key.len != CORE_KEY_BYTES ||
        (spec->n_arguments == 0 && spec->image[0] == '\0')) {
        fail_invalid(request, "a launch needs a request key of 16 bytes, and a program or image",
                     "name a program after --");
        return;
    }
    size_t bytes = dilos__instance_spec__get_packed_size(spec);
    uint8_t *packed = info_zeroed(bytes, 1);
    (void)dilos__instance_spec__pack(spec, packed);
    sys_random_id(instance_id);
    const struct core_event event = {.kind = CORE_LAUNCH,
                                     .token = (uintptr_t)request,
                                     .key = m->request_key.data,
                                     .name = spec->name,
                                     .instance_id = instance_id,
                                     .agent_name = spec->agent,
                                     .local_bytes = spec->local_bytes,
                                     .far_bytes = spec->far_bytes,
                                     .spec = packed,
                                     .spec_bytes = (uint32_t)bytes};
    controller_event(c, &event);
    free(packed);
    (void)connection;
}

void on_instance_list(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    struct controller *c = context;
    Dilos__InstanceList m = DILOS__INSTANCE_LIST__INIT;
    Dilos__InstanceInfo *items[CORE_INSTANCES_MAX];
    size_t room = FRAME_BODY_BYTES_MAX / 2, used = 0;
    if (!controller_settle(c)) {
        return;
    }
    m.instances = items;
    for (uint32_t i = 0; i < CORE_INSTANCES_MAX; i++) {
        if (!c->core->instances[i].used) {
            continue;
        }
        Dilos__InstanceInfo *info = info_instance(c->core, i, false);
        used += c->core->specs[i].bytes;
        if (used > room) { /* the reply must fit into a frame: inspect shows the rest */
            dilos__instance_spec__free_unpacked(info->spec, NULL);
            info->spec = NULL;
        }
        items[m.n_instances++] = info;
    }
    rpc_reply(request, &m.base);
    for (size_t i = 0; i < m.n_instances; i++) {
        dilos__instance_info__free_unpacked(items[i], NULL);
    }
    (void)connection;
    (void)message;
}

void on_stop(void *context, struct rpc_connection *connection, struct rpc_request *request,
             const ProtobufCMessage *message)
{
    const Dilos__Stop *m = (const Dilos__Stop *)message;
    const struct core_event event = {
        .kind = CORE_STOP, .token = (uintptr_t)request, .name = m->name, .grace_ms = m->grace_ms};
    controller_event(context, &event);
    (void)connection;
}

void on_remove(void *context, struct rpc_connection *connection, struct rpc_request *request,
               const ProtobufCMessage *message)
{
    const struct core_event event = {.kind = CORE_REMOVE,
                                     .token = (uintptr_t)request,
                                     .name = ((const Dilos__NameRef *)message)->name};
    controller_event(context, &event);
    (void)connection;
}

void on_event_list(void *context, struct rpc_connection *connection, struct rpc_request *request,
                   const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__EventFilter *filter = (const Dilos__EventFilter *)message;
    Dilos__EventList m = DILOS__EVENT_LIST__INIT;
    Dilos__EventInfo *items[EVENTS_REPLY_MAX];
    uint64_t last = c->core->meta.history_count;
    uint64_t oldest = last > CORE_HISTORY_MAX ? last - CORE_HISTORY_MAX : 0;
    uint32_t count_max = filter->count_max != 0 ? filter->count_max : EVENTS_REPLY_MAX;
    if (!controller_settle(c)) {
        return;
    }
    m.events = items;
    for (uint64_t i = MAX(filter->after, oldest); i < last && m.n_events < count_max; i++) {
        items[m.n_events++] = info_history(&c->core->history[i % CORE_HISTORY_MAX]);
    }
    rpc_reply(request, &m.base);
    for (size_t i = 0; i < m.n_events; i++) {
        dilos__event_info__free_unpacked(items[i], NULL);
    }
    (void)connection;
}

struct waiter {
    struct list link;
    struct controller *controller;
    struct rpc_request *request;
    struct event *timer;
    char instance_id[CORE_ID_BYTES];
};

static void waiter_free(struct waiter *w)
{
    list_remove(&w->link);
    w->controller->waiter_count--;
    event_free(w->timer);
    free(w);
}

static void waiter_answer(struct waiter *w)
{
    uint32_t slot = core_find_instance_id(w->controller->core, w->instance_id);
    if (slot == CORE_NONE) {
        fail_not_found(w->request, "the instance was removed", "dilosctl ps");
    } else {
        Dilos__InstanceInfo *info = info_instance(w->controller->core, slot, false);
        rpc_reply(w->request, &info->base);
        dilos__instance_info__free_unpacked(info, NULL);
    }
    waiter_free(w);
}

static void waiter_timeout(evutil_socket_t fd, short what, void *context)
{
    struct waiter *w = context;
    struct controller *c = w->controller;
    /* Off the list meanwhile: what settles may end this very wait, and it is answered once. */
    list_remove(&w->link);
    bool settled = controller_settle(c);
    list_append(&c->waiters, &w->link);
    if (settled) {
        waiter_answer(w);
    }
    (void)fd;
    (void)what;
}

void waiters_wake(struct controller *c, uint32_t instance, const char *instance_id)
{
    bool ended = instance == CORE_NONE || instance_ended(c->core->instances[instance].state);
    list_for_each_safe (node, &c->waiters) {
        struct waiter *w = list_entry(node, struct waiter, link);
        if (ended && strcmp(w->instance_id, instance_id) == 0) {
            waiter_answer(w);
        }
    }
}

void waiters_close(struct controller *c)
{
    list_for_each_safe (node, &c->waiters) {
        struct waiter *w = list_entry(node, struct waiter, link);
        rpc_fail(w->request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, "the controller stops",
                 "try again");
        waiter_free(w);
    }
}

void on_wait(void *context, struct rpc_connection *connection, struct rpc_request *request,
             const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__Wait *m = (const Dilos__Wait *)message;
    if (!controller_settle(c)) {
        return;
    }
    uint32_t slot = instance_or_fail(c, m->name, request);
    if (slot == CORE_NONE) {
        return;
    }
    if (c->waiter_count == WAITERS_MAX) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, "too many requests wait already",
                 "try again later");
        return;
    }
    struct waiter *w = info_zeroed(1, sizeof(*w));
    struct timeval timeout = {.tv_sec = m->timeout_ms / 1000,
                              .tv_usec = (suseconds_t)(m->timeout_ms % 1000) * 1000};
    w->controller = c;
    w->request = request;
    w->timer = evtimer_new(c->base, waiter_timeout, w);
    core_text(w->instance_id, sizeof(w->instance_id), c->core->instances[slot].instance_id);
    list_append(&c->waiters, &w->link);
    c->waiter_count++;
    if (instance_ended(c->core->instances[slot].state) || evtimer_add(w->timer, &timeout) != 0) {
        waiter_answer(w);
    }
    (void)connection;
}
