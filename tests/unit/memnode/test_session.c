/* SPDX-License-Identifier: Apache-2.0 */
/* A node's session against a controller inside the test. */
#include "memnode/session.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/rpc/rpc.h"
#include "tests/tap.h"

#define SLABS      4u
#define DEADLINE_S 10
#define ROLES      (UINT32_C(1) << DILOS__ROLE__ROLE_MEMNODE)

static char folder[64];

struct world {
    struct event_base *base;
    struct event *deadline;
    struct rpc_server *controller;
    char *address;
    struct rpc_connection *connection; /* of the node, once it registered */
    struct node *node;
    struct state *state;
    struct session *session;
    struct config_list labels;
    uint64_t epoch; /* the controller's */
    bool refuse;
    unsigned registers;
    unsigned heartbeats;
    unsigned refusals;
    uint64_t refused_count;
    unsigned answers;
    uint32_t held;
    uint64_t slabs_granted; /* as the last heartbeat says */
    char arena_id[SYS_ID_BYTES];
    Dilos__ErrorCode code; /* of the last answer */
    bool failed;
    uint8_t keys[SLABS][16];
};

static void handle_register(void *context, struct rpc_connection *connection,
                            struct rpc_request *request, const ProtobufCMessage *message)
{
    struct world *w = context;
    const Dilos__NodeRegister *body = (const Dilos__NodeRegister *)message;
    Dilos__NodeRegisterReply reply = DILOS__NODE_REGISTER_REPLY__INIT;
    w->registers++;
    w->connection = connection;
    w->held = (uint32_t)body->n_held;
    EXPECT_STR(body->name, "mn1");
    EXPECT_STR(body->node_id, state_node_id(w->state));
    EXPECT_STR(body->host, "h1");
    EXPECT_EQ(body->slab_count, SLABS);
    EXPECT_EQ(body->slab_bytes, MIB);
    EXPECT_EQ(body->n_labels, 1);
    EXPECT_STR(body->labels[0]->key, "rack");
    EXPECT_STR(body->labels[0]->value, "r1=x");
    EXPECT_STR(body->endpoint->tcp_address, node_tcp_address(w->node));
    EXPECT_STR(body->endpoint->shm_path, "");
    (void)snprintf(w->arena_id, sizeof(w->arena_id), "%s", body->arena_id);
    if (w->refuse) {
        w->refuse = false;
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_EXISTS, "another node has this name",
                 "use --name");
        return;
    }
    reply.epoch = w->epoch;
    reply.heartbeat_ms = 100;
    rpc_reply(request, &reply.base);
}

static void handle_heartbeat(void *context, struct rpc_connection *connection,
                             struct rpc_request *request, const ProtobufCMessage *message)
{
    struct world *w = context;
    const Dilos__NodeHeartbeat *body = (const Dilos__NodeHeartbeat *)message;
    (void)connection;
    EXPECT(request == NULL);
    EXPECT_EQ(body->epoch, w->epoch);
    for (size_t i = 0; i < body->n_counters; i++) {
        if (strcmp(body->counters[i]->name, "slabs_granted") == 0) {
            w->slabs_granted = body->counters[i]->value;
        }
    }
    for (size_t i = 0; i < body->n_health; i++) {
        EXPECT(body->health[i]->remedy[0] != '\0');
    }
    w->heartbeats++;
}

/* The first one gets lost. */
static void handle_refused(void *context, struct rpc_connection *connection,
                           struct rpc_request *request, const ProtobufCMessage *message)
{
    const Dilos__Empty empty = DILOS__EMPTY__INIT;
    struct world *w = context;
    const Dilos__AccessRefused *body = (const Dilos__AccessRefused *)message;
    (void)connection;
    EXPECT_EQ(body->kind, DILOS__REFUSED_KIND__REFUSED_OLD_KEY);
    EXPECT_STR(body->fabric, "tcp");
    EXPECT_STR(body->instance_id, "i1");
    EXPECT(body->slab_known);
    EXPECT_EQ(body->slab_index, 2);
    w->refused_count = body->count;
    if (w->refusals++ == 0) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, "not now", "later");
        return;
    }
    rpc_reply(request, &empty.base);
}

static const struct rpc_method methods[] = {
    {DILOS__MESSAGE_TYPE__MESSAGE_ACCESS_REFUSED, &dilos__access_refused__descriptor,
     handle_refused, ROLES},
    {DILOS__MESSAGE_TYPE__MESSAGE_NODE_REGISTER, &dilos__node_register__descriptor, handle_register,
     ROLES},
    {DILOS__MESSAGE_TYPE__MESSAGE_NODE_HEARTBEAT, &dilos__node_heartbeat__descriptor,
     handle_heartbeat, ROLES, .notice = true},
};

static void on_open(void *context, struct rpc_connection *connection)
{
    (void)context;
    (void)connection;
}

static void on_close(void *context, struct rpc_connection *connection, int error,
                     const char *reason)
{
    struct world *w = context;
    (void)error;
    (void)reason;
    if (w->connection == connection) {
        w->connection = NULL;
    }
}

static void timed_out(evutil_socket_t fd, short events, void *context)
{
    struct world *w = context;
    (void)fd;
    (void)events;
    w->failed = true;
}

static void listen_again(struct world *w, const char *address)
{
    const struct rpc_identity identity = {DILOS__ROLE__ROLE_CONTROLLER, "controller"};
    const struct rpc_callbacks callbacks = {.methods = methods,
                                            .method_count = ARRAY_LEN(methods),
                                            .on_open = on_open,
                                            .on_close = on_close,
                                            .context = w};
    CHECK(rpc_listen(w->base, address, false, &identity, &callbacks, &w->controller,
                     w->address == NULL ? &w->address : NULL) == 0);
}

static void world_open(struct world *w, uint64_t epoch)
{
    char error[NODE_ERROR_BYTES];
    const struct timeval deadline = {.tv_sec = DEADLINE_S};
    *w = (struct world){.epoch = epoch};
    w->labels = (struct config_list){.items = {"rack=r1=x"}, .count = 1};
    w->base = event_base_new();
    CHECK(w->base != NULL);
    w->deadline = event_new(w->base, -1, 0, timed_out, w);
    CHECK(event_add(w->deadline, &deadline) == 0);
    const struct node_config node = {.arena = {.slab_bytes = MIB, .bytes = SLABS * MIB},
                                     .listen_tcp = "127.0.0.1:0"};
    CHECK(node_open(&node, &w->node, error) == 0);
    CHECK(state_open(folder, &w->state, error) == 0);
    listen_again(w, "127.0.0.1:0");
    const struct session_config config = {.base = w->base,
                                          .controller = w->address,
                                          .name = "mn1",
                                          .host = "h1",
                                          .labels = &w->labels,
                                          .node = w->node,
                                          .state = w->state};
    CHECK(session_open(&config, &w->session) == 0);
}

static void world_close(struct world *w)
{
    w->session = session_close(w->session);
    w->controller = rpc_server_close(w->controller);
    w->node = node_close(w->node);
    w->state = state_close(w->state);
    event_free(w->deadline);
    event_base_free(w->base);
    free(w->address);
}

/* Runs the loop until the number is there. */
static bool wait_for(struct world *w, const unsigned *number, unsigned wanted)
{
    while (*number < wanted && !w->failed) {
        (void)event_base_loop(w->base, EVLOOP_ONCE);
    }
    EXPECT(!w->failed);
    return !w->failed;
}

static void answered(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct world *w = context;
    w->answers++;
    w->code = error == NULL ? (Dilos__ErrorCode)-1 : error->code;
    if (error != NULL) {
        EXPECT(error->message[0] != '\0');
        EXPECT(error->remedy[0] != '\0');
        return;
    }
    if (reply->descriptor == &dilos__slab_grant_reply__descriptor) {
        const Dilos__SlabGrantReply *body = (const Dilos__SlabGrantReply *)reply;
        for (size_t i = 0; i < body->n_keys && i < SLABS; i++) {
            EXPECT_EQ(body->keys[i].len, 16);
            memcpy(w->keys[i], body->keys[i].data, 16);
        }
    }
}

/* The error code of the answer, -1 if it was good. */
static int grant(struct world *w, uint64_t epoch, const char *instance, uint64_t generation,
                 uint32_t *slabs, uint32_t count)
{
    Dilos__SlabGrant body = DILOS__SLAB_GRANT__INIT;
    body.epoch = epoch;
    body.instance_id = (char *)(uintptr_t)instance;
    body.generation = generation;
    body.n_slab_indexes = count;
    body.slab_indexes = slabs;
    CHECK(rpc_call(w->connection, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_GRANT, &body.base,
                   &dilos__slab_grant_reply__descriptor, 0, answered, w) == 0);
    (void)wait_for(w, &w->answers, w->answers + 1);
    return (int)w->code;
}

static int take_back(struct world *w, uint64_t epoch, uint32_t *slabs, uint64_t *generations,
                     uint32_t count)
{
    Dilos__SlabRevoke body = DILOS__SLAB_REVOKE__INIT;
    body.epoch = epoch;
    body.n_slab_indexes = count;
    body.slab_indexes = slabs;
    body.n_generations = generations == NULL ? 0 : count;
    body.generations = generations;
    CHECK(rpc_call(w->connection, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_REVOKE, &body.base,
                   &dilos__empty__descriptor, 0, answered, w) == 0);
    (void)wait_for(w, &w->answers, w->answers + 1);
    return (int)w->code;
}

static void test_grant_and_revoke(void)
{
    struct world w;
    uint32_t slabs[] = {1, 3};
    uint32_t more[] = {0, 3};
    uint32_t none[] = {SLABS};
    uint64_t generations[] = {10, 10};
    uint8_t keys[2][16];
    world_open(&w, 5);
    EXPECT(wait_for(&w, &w.heartbeats, 1));
    EXPECT_EQ(w.held, 0);
    EXPECT_EQ(grant(&w, 5, "i1", 10, slabs, 2), -1);
    memcpy(keys, w.keys, sizeof(keys));
    EXPECT(memcmp(keys[0], keys[1], 16) != 0);
    EXPECT_EQ(grant(&w, 5, "i1", 10, slabs, 2), -1);
    EXPECT(memcmp(keys, w.keys, sizeof(keys)) == 0);
    /* All or none: slab 0 stays free. */
    EXPECT_EQ(grant(&w, 5, "i2", 11, more, 2), DILOS__ERROR_CODE__ERROR_REFUSED);
    EXPECT_EQ(grants_held_count(node_grants(w.node)), 2);
    EXPECT_EQ(grant(&w, 5, "i2", 11, none, 1), DILOS__ERROR_CODE__ERROR_INVALID);
    EXPECT_EQ(grant(&w, 5, "i2", 11, none, 0), DILOS__ERROR_CODE__ERROR_INVALID);
    EXPECT_EQ(take_back(&w, 5, slabs, NULL, 2), DILOS__ERROR_CODE__ERROR_INVALID);
    EXPECT_EQ(take_back(&w, 5, slabs, generations, 2), -1);
    EXPECT_EQ(take_back(&w, 5, slabs, generations, 2), -1);
    EXPECT_EQ(grants_held_count(node_grants(w.node)), 0);
    EXPECT_EQ(grant(&w, 5, "i1", 10, slabs, 2), DILOS__ERROR_CODE__ERROR_REFUSED);
    EXPECT_EQ(grant(&w, 5, "i2", 11, more, 2), -1);
    EXPECT(wait_for(&w, &w.heartbeats, w.heartbeats + 2));
    EXPECT_EQ(w.slabs_granted, 2);
    world_close(&w);
}

static void test_refused_accesses_are_told(void)
{
    struct world w;
    world_open(&w, 5);
    EXPECT(wait_for(&w, &w.heartbeats, 1));
    incidents_add(node_incidents(w.node), INCIDENT_OLD_KEY, "tcp", "i1", 2, "");
    incidents_add(node_incidents(w.node), INCIDENT_OLD_KEY, "tcp", "i1", 2, "");
    EXPECT(wait_for(&w, &w.refusals, 2));
    EXPECT_EQ(w.refused_count, 2);
    EXPECT(wait_for(&w, &w.heartbeats, w.heartbeats + 3));
    EXPECT_EQ(w.refusals, 2);
    world_close(&w);
}

static void test_epochs(void)
{
    struct world w;
    uint32_t slabs[] = {0};
    uint64_t generations[] = {1};
    world_open(&w, 6);
    EXPECT(wait_for(&w, &w.heartbeats, 1));
    EXPECT_EQ(grant(&w, 6, "i1", 1, slabs, 1), -1);
    EXPECT_EQ(grant(&w, 5, "i1", 1, slabs, 1), DILOS__ERROR_CODE__ERROR_STALE_EPOCH);
    EXPECT_EQ(take_back(&w, 5, slabs, generations, 1), DILOS__ERROR_CODE__ERROR_STALE_EPOCH);
    EXPECT_EQ(grants_held_count(node_grants(w.node)), 1);
    w.epoch = 9;
    EXPECT_EQ(take_back(&w, 9, slabs, generations, 1), -1);
    EXPECT_EQ(state_epoch(w.state), 9);
    EXPECT_EQ(grant(&w, 8, "i1", 2, slabs, 1), DILOS__ERROR_CODE__ERROR_STALE_EPOCH);
    world_close(&w);
}

/* The controller goes and comes back: the same arena, with what it holds. */
static void test_controller_restarts(void)
{
    struct world w;
    uint32_t slabs[] = {2};
    char arena_id[SYS_ID_BYTES];
    world_open(&w, 10);
    EXPECT(wait_for(&w, &w.heartbeats, 1));
    EXPECT_EQ(grant(&w, 10, "i1", 1, slabs, 1), -1);
    memcpy(arena_id, w.arena_id, sizeof(arena_id));
    w.controller = rpc_server_close(w.controller);
    w.epoch = 11;
    listen_again(&w, w.address);
    EXPECT(wait_for(&w, &w.registers, 2));
    EXPECT_STR(w.arena_id, arena_id);
    EXPECT_EQ(w.held, 1);
    EXPECT(wait_for(&w, &w.heartbeats, w.heartbeats + 1));
    world_close(&w);
}

/* A refusal is no end: the node asks again. */
static void test_refused_registration(void)
{
    struct world w;
    world_open(&w, 12);
    w.refuse = true;
    EXPECT(wait_for(&w, &w.heartbeats, 1));
    EXPECT_EQ(w.registers, 2);
    world_close(&w);
}

int main(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/dilos-session-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    TAP_RUN(test_grant_and_revoke);
    TAP_RUN(test_refused_accesses_are_told);
    TAP_RUN(test_epochs);
    TAP_RUN(test_controller_restarts);
    TAP_RUN(test_refused_registration);
    const char *const names[] = {"node-id", "epoch", "lock"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return tap_done();
}
