/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of the controller's sessions. */
#ifndef DILOS_CONTROLLER_INTERNAL_H
#define DILOS_CONTROLLER_INTERNAL_H

#include "controller/controller.h"
#include "lib/base/list.h"
#include "lib/rpc/rpc.h"
#include "lib/sys/log.h"
#include "lib/wire/frame.h"

struct event;

#define WAITERS_MAX 256u
#define RELAYS_MAX  128u /* requests passed on to agents at one time */

#define GRANT_TIMEOUT_MS  5000u
#define REVOKE_TIMEOUT_MS 120000u /* with the scrub */
#define START_TIMEOUT_MS  30000u
#define SIGNAL_TIMEOUT_MS 10000u
#define LIVE_TIMEOUT_MS   3000u
#define RELAY_TIMEOUT_MS  10000u
#define BUILD_TIMEOUT_MS  120000u

/* A connection to a memory node or agent that has registered or tries to. */
struct session {
    struct list link;
    uint64_t id;
    struct rpc_connection *connection;
    size_t health_count, machine_count, counter_count;
    Dilos__Health **health;  /* as last heard */
    Dilos__Health **machine; /* of a memory node, as registered */
    Dilos__Counter **counters;
    char **reported; /* instance ids of a registration that isn't answered yet */
    size_t reported_count;
};

struct controller {
    struct controller_config config;
    struct event_base *base;
    struct engine *engine;
    struct core *core;
    struct event *tick;
    struct event *flush;
    struct rpc_server *servers[CONTROLLER_LISTEN_MAX];
    char *addresses[CONTROLLER_LISTEN_MAX];
    struct list sessions;
    struct list waiters;
    uint32_t waiter_count;
    uint32_t relay_count;
    uint64_t next_session;
    uint64_t opened_ns;
    bool closing;
    struct log_limit close_limit; /* strangers whose connection ended badly */
};

struct core_now controller_now(void);
void controller_event(struct controller *c, const struct core_event *event);
/* Before anything is read out of the core for an answer: what is told must be durable. */
bool controller_settle(struct controller *c);

struct session *session_of(struct controller *c, struct rpc_connection *connection);
struct session *session_find(struct controller *c, uint64_t id);
struct session *session_of_node(struct controller *c, uint32_t node);
struct session *session_of_agent(struct controller *c, uint32_t agent);
void session_keep_health(struct session *s, size_t count, Dilos__Health *const *health);
void session_keep_counters(struct session *s, size_t count, Dilos__Counter *const *counters);
void session_keep_reported(struct session *s, size_t count, Dilos__InstanceReport *const *reports);
void session_close(struct controller *c, struct session *s, const char *reason);

/* Copies; false if it is too long. */
bool take_text(char *to, uint32_t bytes, const char *from);
void fail_invalid(struct rpc_request *request, const char *message, const char *remedy);

void controller_perform(void *context, const struct action *action);
void waiters_wake(struct controller *c, uint32_t instance, const char *instance_id);
void waiters_close(struct controller *c);

#define HANDLER(name)                                                                              \
    void name(void *context, struct rpc_connection *connection, struct rpc_request *request,       \
              const ProtobufCMessage *message)
HANDLER(on_node_register);
HANDLER(on_node_heartbeat);
HANDLER(on_access_refused);
HANDLER(on_agent_register);
HANDLER(on_agent_heartbeat);
HANDLER(on_instance_event);
HANDLER(on_slab_acquire);
HANDLER(on_slab_release);
HANDLER(on_status);
HANDLER(on_node_list);
HANDLER(on_node_inspect);
HANDLER(on_slab_list);
HANDLER(on_slab_inspect);
HANDLER(on_launch);
HANDLER(on_instance_list);
HANDLER(on_instance_inspect);
HANDLER(on_log_read);
HANDLER(on_stop);
HANDLER(on_wait);
HANDLER(on_image_build);
HANDLER(on_image_list);
HANDLER(on_event_list);
HANDLER(on_remove);
HANDLER(on_tune);
HANDLER(on_resize);

#endif
