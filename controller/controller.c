/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/controller.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "controller/info.h"
#include "controller/internal.h"
#include "lib/sys/log.h"
#include "lib/sys/sys.h"

#define TICK_MS 250

#define FROM(role) (1u << DILOS__ROLE__ROLE_##role)
#define METHOD(name, body_type, role, handler)                                                     \
    {                                                                                              \
        .type = DILOS__MESSAGE_TYPE__MESSAGE_##name, .body = &dilos__##body_type##__descriptor,    \
        .handle = handler, .roles = FROM(role)                                                     \
    }

#define NOTICE(name, body_type, role, handler)                                                     \
    {                                                                                              \
        .type = DILOS__MESSAGE_TYPE__MESSAGE_##name, .body = &dilos__##body_type##__descriptor,    \
        .handle = handler, .roles = FROM(role), .notice = true                                     \
    }

static const struct rpc_method methods[] = {
    METHOD(NODE_REGISTER, node_register, MEMNODE, on_node_register),
    NOTICE(NODE_HEARTBEAT, node_heartbeat, MEMNODE, on_node_heartbeat),
    METHOD(ACCESS_REFUSED, access_refused, MEMNODE, on_access_refused),
    METHOD(AGENT_REGISTER, agent_register, AGENT, on_agent_register),
    NOTICE(AGENT_HEARTBEAT, agent_heartbeat, AGENT, on_agent_heartbeat),
    METHOD(INSTANCE_EVENT, instance_event, AGENT, on_instance_event),
    METHOD(SLAB_ACQUIRE, slab_acquire, AGENT, on_slab_acquire),
    METHOD(SLAB_RELEASE, slab_release, AGENT, on_slab_release),
    METHOD(STATUS, empty, OPERATOR, on_status),
    METHOD(NODE_LIST, empty, OPERATOR, on_node_list),
    METHOD(NODE_INSPECT, name_ref, OPERATOR, on_node_inspect),
    METHOD(SLAB_LIST, slab_filter, OPERATOR, on_slab_list),
    METHOD(SLAB_INSPECT, slab_ref, OPERATOR, on_slab_inspect),
    METHOD(LAUNCH, launch, OPERATOR, on_launch),
    METHOD(INSTANCE_LIST, empty, OPERATOR, on_instance_list),
    METHOD(INSTANCE_INSPECT, name_ref, OPERATOR, on_instance_inspect),
    METHOD(LOG_READ, log_read, OPERATOR, on_log_read),
    METHOD(STOP, stop, OPERATOR, on_stop),
    METHOD(WAIT, wait, OPERATOR, on_wait),
    METHOD(IMAGE_BUILD, image_build, OPERATOR, on_image_build),
    METHOD(IMAGE_LIST, empty, OPERATOR, on_image_list),
    METHOD(EVENT_LIST, event_filter, OPERATOR, on_event_list),
    METHOD(REMOVE, name_ref, OPERATOR, on_remove),
    METHOD(TUNE, tune, OPERATOR, on_tune),
    METHOD(RESIZE, resize, OPERATOR, on_resize),
};

struct core_now controller_now(void)
{
    return (struct core_now){.mono_ms = sys_monotonic_ns() / 1000000, .wall_ns = sys_realtime_ns()};
}

void controller_event(struct controller *c, const struct core_event *event)
{
    engine_event(c->engine, event, controller_now());
}

bool controller_settle(struct controller *c)
{
    int result = engine_flush(c->engine);
    if (result != 0) {
        c->config.on_broken(c->config.context, result);
    }
    return result == 0;
}

static void on_flush(evutil_socket_t fd, short what, void *context)
{
    (void)controller_settle(context);
    (void)fd;
    (void)what;
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    const struct core_event tick = {.kind = CORE_TICK};
    controller_event(context, &tick);
    (void)fd;
    (void)what;
}

static void wake(void *context)
{
    struct controller *c = context;
    if (c->flush != NULL) {
        event_active(c->flush, EV_TIMEOUT, 0);
    }
}

static void on_open(void *context, struct rpc_connection *connection)
{
    (void)context;
    (void)connection;
}

static void on_close(void *context, struct rpc_connection *connection, int error,
                     const char *reason)
{
    struct controller *c = context;
    struct session *s = rpc_connection_data(connection);
    uint64_t dropped;
    if (error != 0 && s == NULL && !c->closing &&
        log_limit_pass(&c->close_limit, sys_monotonic_ns(), &dropped)) {
        log_warning("connection-closed", "error=%d reason=\"%s\" dropped=%llu", -error, reason,
                    (unsigned long long)dropped);
    }
    if (s != NULL) {
        session_close(c, s, error == 0 ? "it closed the connection" : reason);
    }
}

static int listen_all(struct controller *c, const char **ret_error)
{
    const struct rpc_identity identity = {.role = DILOS__ROLE__ROLE_CONTROLLER,
                                          .name = "controller"};
    const struct rpc_callbacks callbacks = {.methods = methods,
                                            .method_count = ARRAY_LEN(methods),
                                            .on_open = on_open,
                                            .on_close = on_close,
                                            .context = c};
    for (uint32_t i = 0; i < c->config.address_count; i++) {
        int result = rpc_listen(c->base, c->config.addresses[i], c->config.insecure, &identity,
                                &callbacks, &c->servers[i], &c->addresses[i]);
        if (result != 0) {
            *ret_error = c->config.addresses[i];
            return result;
        }
        rpc_server_set_epoch(c->servers[i], c->core->meta.epoch);
    }
    return 0;
}

static int start(struct controller *c, const char **ret_error)
{
    const struct timeval period = {.tv_usec = TICK_MS * 1000};
    char cluster_id[SYS_ID_BYTES];
    sys_random_id(cluster_id);
    const struct engine_config engine = {.times = c->config.times,
                                         .slabs_per_node = c->config.slabs_per_node,
                                         .store = c->config.store,
                                         .cluster_id = cluster_id,
                                         .perform = controller_perform,
                                         .wake = wake,
                                         .context = c};
    int result = engine_open(&engine, controller_now(), &c->engine);
    if (result != 0) {
        return result;
    }
    c->core = engine_core(c->engine);
    c->flush = event_new(c->base, -1, 0, on_flush, c);
    c->tick = event_new(c->base, -1, EV_PERSIST, on_tick, c);
    if (c->flush == NULL || c->tick == NULL || event_add(c->tick, &period) != 0) {
        return -ENOMEM;
    }
    return listen_all(c, ret_error);
}

int controller_open(struct event_base *base, const struct controller_config *config,
                    struct controller **ret, const char **ret_error)
{
    struct controller *c = info_zeroed(1, sizeof(*c));
    c->config = *config;
    c->base = base;
    c->opened_ns = sys_monotonic_ns();
    list_init(&c->sessions);
    list_init(&c->waiters);
    *ret_error = NULL;
    int result = config->address_count <= CONTROLLER_LISTEN_MAX ? start(c, ret_error) : -E2BIG;
    if (result != 0) {
        (void)controller_close(c);
        return result;
    }
    *ret = c;
    return 0;
}

struct controller *controller_close(struct controller *c)
{
    if (c == NULL) {
        return NULL;
    }
    c->closing = true;
    waiters_close(c);
    for (uint32_t i = 0; i < CONTROLLER_LISTEN_MAX; i++) {
        c->servers[i] = rpc_server_close(c->servers[i]);
        free(c->addresses[i]);
    }
    list_for_each_safe (node, &c->sessions) {
        session_close(c, list_entry(node, struct session, link), "the controller stops");
    }
    if (c->flush != NULL) {
        event_free(c->flush);
    }
    if (c->tick != NULL) {
        event_free(c->tick);
    }
    c->engine = engine_close(c->engine);
    free(c);
    return NULL;
}

const char *controller_address(const struct controller *c, uint32_t index)
{
    return c->addresses[index];
}

const struct core *controller_core(const struct controller *c)
{
    return c->core;
}
