/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole controller in this process, over a unix socket, with a memory node, an agent and an
 * operator that are made here: what crosses the wire, and what a restart keeps.
 */
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "controller/controller.h"
#include "controller/core/slabs.h"
#include "lib/base/check.h"
#include "lib/rpc/rpc.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"

#define SLABS   16u
#define WAIT_NS 10000000000ull

struct world {
    struct event_base *base;
    struct store *store;
    struct controller *controller;
    struct rpc_client *node, *agent, *operators;
    char folder[64], address[96];
    bool node_ready, agent_ready;
    uint32_t grants, revokes, starts, signals;
    uint64_t granted[SLABS]; /* generation */
    char instance_id[64];
    uint64_t far_bytes;
    uint32_t signal;
    bool broken;
};

static struct world w;

/* The last answer of any call. */
static struct {
    bool done;
    int code; /* -1: no error */
    char message[256], remedy[256];
    char name[64], reason[256];
    uint32_t state, count, endpoints;
    uint8_t key[16];
    uint64_t generation, value;
    char node[64], tcp[64];
} got;

static void keep_instance(const Dilos__InstanceInfo *m)
{
    got.state = m->state;
    got.count = m->slabs_held;
    (void)snprintf(got.name, sizeof(got.name), "%s", m->name);
    (void)snprintf(got.reason, sizeof(got.reason), "%s", m->reason);
    got.value = m->live != NULL && m->live->n_counters == 1 ? m->live->counters[0]->value : 0;
}

static void keep_slabs(const Dilos__SlabAcquireReply *m)
{
    got.count = (uint32_t)m->n_slabs;
    got.endpoints = (uint32_t)m->n_endpoints;
    memcpy(got.key, m->slabs[0]->key.data, MIN(m->slabs[0]->key.len, sizeof(got.key)));
    got.generation = m->slabs[0]->generation;
    (void)snprintf(got.node, sizeof(got.node), "%s", m->slabs[0]->node);
    (void)snprintf(got.tcp, sizeof(got.tcp), "%s", m->endpoints[0]->endpoint->tcp_address);
}

static void on_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    got.done = true;
    got.code = error != NULL ? (int)error->code : -1;
    if (error != NULL) {
        (void)snprintf(got.message, sizeof(got.message), "%s", error->message);
        (void)snprintf(got.remedy, sizeof(got.remedy), "%s", error->remedy);
    } else if (reply->descriptor == &dilos__instance_info__descriptor) {
        keep_instance((const Dilos__InstanceInfo *)reply);
    } else if (reply->descriptor == &dilos__slab_acquire_reply__descriptor) {
        keep_slabs((const Dilos__SlabAcquireReply *)reply);
    } else if (reply->descriptor == &dilos__log_chunk__descriptor) {
        got.value = ((const Dilos__LogChunk *)reply)->next_offset;
    } else if (reply->descriptor == &dilos__status__descriptor) {
        const Dilos__Status *m = (const Dilos__Status *)reply;
        got.count = m->nodes_up * 10 + m->agents_up;
        got.value = m->bytes_free;
        got.generation = m->epoch;
    } else if (reply->descriptor == &dilos__event_list__descriptor) {
        got.count = (uint32_t)((const Dilos__EventList *)reply)->n_events;
    }
    (void)context;
}

static bool run_until(const bool *condition)
{
    uint64_t end_ns = sys_monotonic_ns() + WAIT_NS;
    while (!*condition && sys_monotonic_ns() < end_ns) {
        (void)event_base_loop(w.base, EVLOOP_ONCE);
    }
    return *condition;
}

static void call(struct rpc_client *client, uint16_t type, const ProtobufCMessage *message,
                 const ProtobufCMessageDescriptor *reply)
{
    memset(&got, 0, sizeof(got));
    CHECK(rpc_client_connection(client) != NULL);
    CHECK(rpc_call(rpc_client_connection(client), type, message, reply, 5000, on_done, NULL) == 0);
    CHECK(run_until(&got.done));
}

#define CALL(client, name, message, reply)                                                         \
    call(client, DILOS__MESSAGE_TYPE__MESSAGE_##name, &(message).base,                             \
         &dilos__##reply##__descriptor)

static void reply_empty(struct rpc_request *request)
{
    Dilos__Empty empty = DILOS__EMPTY__INIT;
    rpc_reply(request, &empty.base);
}

static void on_grant(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    const Dilos__SlabGrant *m = (const Dilos__SlabGrant *)message;
    Dilos__SlabGrantReply reply = DILOS__SLAB_GRANT_REPLY__INIT;
    ProtobufCBinaryData keys[SLABS];
    uint8_t data[SLABS][16];
    for (size_t i = 0; i < m->n_slab_indexes && i < SLABS; i++) {
        memset(data[i], (int)m->slab_indexes[i] + 1, 16);
        keys[i] = (ProtobufCBinaryData){.len = 16, .data = data[i]};
        w.granted[m->slab_indexes[i]] = m->generation;
    }
    w.grants++;
    reply.n_keys = m->n_slab_indexes;
    reply.keys = keys;
    rpc_reply(request, &reply.base);
    (void)context;
    (void)connection;
}

static void on_revoke(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    const Dilos__SlabRevoke *m = (const Dilos__SlabRevoke *)message;
    for (size_t i = 0; i < m->n_slab_indexes; i++) {
        w.granted[m->slab_indexes[i]] = 0;
        w.revokes++;
    }
    reply_empty(request);
    (void)context;
    (void)connection;
}

static void on_start(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    const Dilos__InstanceStart *m = (const Dilos__InstanceStart *)message;
    w.starts++;
    w.far_bytes = m->spec->far_bytes;
    if (strcmp(m->spec->arguments[0], "bad") == 0) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INVALID, "bad is not an ELF file", "name one");
        return;
    }
    (void)snprintf(w.instance_id, sizeof(w.instance_id), "%s", m->instance_id);
    reply_empty(request);
    (void)context;
    (void)connection;
}

static void on_signal(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    w.signals++;
    w.signal = ((const Dilos__InstanceSignal *)message)->signal;
    reply_empty(request);
    (void)context;
    (void)connection;
}

static void on_live(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    Dilos__InstanceLive live = DILOS__INSTANCE_LIVE__INIT;
    Dilos__Counter counter = DILOS__COUNTER__INIT, *counters[1] = {&counter};
    counter.value = 4711;
    live.n_counters = 1;
    live.counters = counters;
    rpc_reply(request, &live.base);
    (void)context;
    (void)connection;
    (void)message;
}

static void on_log(void *context, struct rpc_connection *connection, struct rpc_request *request,
                   const ProtobufCMessage *message)
{
    Dilos__LogChunk chunk = DILOS__LOG_CHUNK__INIT;
    chunk.next_offset = ((const Dilos__LogRead *)message)->offset + 5;
    rpc_reply(request, &chunk.base);
    (void)context;
    (void)connection;
}

static void registered(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    bool *ready = context;
    *ready = error == NULL;
    (void)reply;
}

static void node_opened(void *context, struct rpc_connection *connection)
{
    Dilos__NodeRegister m = DILOS__NODE_REGISTER__INIT;
    Dilos__Endpoint endpoint = DILOS__ENDPOINT__INIT;
    Dilos__HeldGrant grants[SLABS], *held[SLABS];
    for (uint32_t i = 0; i < SLABS; i++) {
        if (w.granted[i] != 0) {
            dilos__held_grant__init(&grants[i]);
            grants[i].slab_index = i;
            grants[i].generation = w.granted[i];
            held[m.n_held++] = &grants[i];
        }
    }
    endpoint.tcp_address = (char *)(uintptr_t) "127.0.0.1:5";
    m.name = m.node_id = m.arena_id = m.host = (char *)(uintptr_t) "mn1";
    m.endpoint = &endpoint;
    m.held = held;
    m.slab_bytes = MIB;
    m.slab_count = SLABS;
    CHECK(rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_NODE_REGISTER, &m.base,
                   &dilos__node_register_reply__descriptor, 5000, registered, &w.node_ready) == 0);
    (void)context;
}

static void agent_opened(void *context, struct rpc_connection *connection)
{
    Dilos__AgentRegister m = DILOS__AGENT_REGISTER__INIT;
    Dilos__InstanceReport report = DILOS__INSTANCE_REPORT__INIT, *reports[1] = {&report};
    m.name = m.agent_id = m.host = (char *)(uintptr_t) "ag";
    if (w.instance_id[0] != '\0') {
        report.instance_id = w.instance_id;
        report.state = DILOS__INSTANCE_STATE__INSTANCE_RUNNING;
        m.n_instances = 1;
        m.instances = reports;
    }
    CHECK(rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_AGENT_REGISTER, &m.base,
                   &dilos__agent_register_reply__descriptor, 5000, registered,
                   &w.agent_ready) == 0);
    (void)context;
}

static void operator_opened(void *context, struct rpc_connection *connection)
{
    (void)context;
    (void)connection;
}

static void closed(void *context, struct rpc_connection *connection, int error, const char *reason)
{
    if (context != NULL) {
        *(bool *)context = false;
    }
    (void)connection;
    (void)error;
    (void)reason;
}

#define FROM_CONTROLLER (1u << DILOS__ROLE__ROLE_CONTROLLER)

static struct rpc_client *client(Dilos__Role role, const struct rpc_method *methods, uint32_t count,
                                 void (*opened)(void *, struct rpc_connection *), bool *ready)
{
    const struct rpc_identity identity = {.role = role, .name = "test"};
    const struct rpc_callbacks callbacks = {.methods = methods,
                                            .method_count = count,
                                            .on_open = opened,
                                            .on_close = closed,
                                            .context = ready};
    struct rpc_client *made;
    CHECK(rpc_client_open(w.base, w.address, 200, &identity, &callbacks, &made) == 0);
    return made;
}

static void broken(void *context, int error)
{
    w.broken = true;
    (void)context;
    (void)error;
}

static void start_controller(void)
{
    static const char *addresses[1];
    const struct controller_config config = {.times = {1000, 20000, 30000, 10000},
                                             .slabs_per_node = SLABS,
                                             .store = w.store,
                                             .addresses = addresses,
                                             .address_count = 1,
                                             .on_broken = broken};
    const char *failed;
    addresses[0] = w.address;
    CHECK(controller_open(w.base, &config, &w.controller, &failed) == 0);
}

static void wait_for_members(void)
{
    bool connected = false;
    CHECK(run_until(&w.node_ready));
    CHECK(run_until(&w.agent_ready));
    while (!connected) {
        (void)event_base_loop(w.base, EVLOOP_ONCE);
        connected = rpc_client_connection(w.operators) != NULL;
    }
}

static void open_world(void)
{
    static const struct rpc_method node[] = {
        {DILOS__MESSAGE_TYPE__MESSAGE_SLAB_GRANT, &dilos__slab_grant__descriptor, on_grant,
         FROM_CONTROLLER},
        {DILOS__MESSAGE_TYPE__MESSAGE_SLAB_REVOKE, &dilos__slab_revoke__descriptor, on_revoke,
         FROM_CONTROLLER}};
    static const struct rpc_method agent[] = {
        {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_START, &dilos__instance_start__descriptor, on_start,
         FROM_CONTROLLER},
        {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_SIGNAL, &dilos__instance_signal__descriptor,
         on_signal, FROM_CONTROLLER},
        {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_LIVE, &dilos__instance_ref__descriptor, on_live,
         FROM_CONTROLLER},
        {DILOS__MESSAGE_TYPE__MESSAGE_LOG_READ, &dilos__log_read__descriptor, on_log,
         FROM_CONTROLLER}};
    (void)snprintf(w.folder, sizeof(w.folder), "/tmp/dilos-sessions.XXXXXX");
    CHECK(mkdtemp(w.folder) != NULL);
    (void)snprintf(w.address, sizeof(w.address), "unix:%s/s", w.folder);
    w.base = event_base_new();
    w.store = store_sim_open();
    start_controller();
    w.node = client(DILOS__ROLE__ROLE_MEMNODE, node, 2, node_opened, &w.node_ready);
    w.agent = client(DILOS__ROLE__ROLE_AGENT, agent, 4, agent_opened, &w.agent_ready);
    w.operators = client(DILOS__ROLE__ROLE_OPERATOR, NULL, 0, operator_opened, NULL);
    wait_for_members();
}

static void launch(const char *name, const char *program, uint64_t far_bytes, uint8_t key)
{
    Dilos__Launch m = DILOS__LAUNCH__INIT;
    Dilos__InstanceSpec spec = DILOS__INSTANCE_SPEC__INIT;
    char *arguments[] = {(char *)(uintptr_t)program};
    uint8_t keys[16] = {key};
    spec.name = (char *)(uintptr_t)name;
    spec.n_arguments = 1;
    spec.arguments = arguments;
    spec.local_bytes = 4 * MIB;
    spec.far_bytes = far_bytes;
    m.spec = &spec;
    m.request_key.len = 16;
    m.request_key.data = keys;
    CALL(w.operators, LAUNCH, m, instance_info);
}

static void report_by(rpc_done *done, uint32_t state, const char *kind)
{
    Dilos__InstanceEvent m = DILOS__INSTANCE_EVENT__INIT;
    Dilos__InstanceReport r = DILOS__INSTANCE_REPORT__INIT;
    r.instance_id = w.instance_id;
    r.state = (Dilos__InstanceState)state;
    r.exit_kind = (char *)(uintptr_t)kind;
    m.report = &r;
    CHECK(rpc_call(rpc_client_connection(w.agent), DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_EVENT,
                   &m.base, &dilos__empty__descriptor, 5000, done, NULL) == 0);
}

static void report(uint32_t state, const char *kind)
{
    memset(&got, 0, sizeof(got));
    report_by(on_done, state, kind);
    CHECK(run_until(&got.done));
    EXPECT_EQ(got.code, -1);
}

static void ignore(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    (void)context;
    (void)reply;
    (void)error;
}

static void acquire(uint32_t count, uint8_t key)
{
    Dilos__SlabAcquire m = DILOS__SLAB_ACQUIRE__INIT;
    uint8_t keys[16] = {key, 9};
    m.instance_id = w.instance_id;
    m.slab_count = count;
    m.request_key.len = 16;
    m.request_key.data = keys;
    CALL(w.agent, SLAB_ACQUIRE, m, slab_acquire_reply);
}

static void test_status(void)
{
    Dilos__Empty m = DILOS__EMPTY__INIT;
    CALL(w.operators, STATUS, m, status);
    EXPECT_EQ(got.count, 11);
    EXPECT_EQ(got.value, SLABS * MIB);
    EXPECT_EQ(got.generation, 1);
}

static void test_launch(void)
{
    launch("idx", "bad", 4 * MIB, 1);
    EXPECT_EQ(got.code, DILOS__ERROR_CODE__ERROR_INVALID);
    EXPECT_STR(got.message, "bad is not an ELF file");
    launch("Not A Name", "p", 4 * MIB, 2);
    EXPECT_EQ(got.code, DILOS__ERROR_CODE__ERROR_INVALID);
    launch("idx", "p", 400 * MIB, 3);
    EXPECT_EQ(got.code, DILOS__ERROR_CODE__ERROR_REFUSED);
    EXPECT(strstr(got.message, "mn1 16M") != NULL);
    EXPECT(got.remedy[0] != '\0');
    launch("idx", "p", 4 * MIB, 4);
    EXPECT_EQ(got.code, -1);
    EXPECT_EQ(got.state, INSTANCE_STARTING);
    EXPECT_EQ(w.starts, 2);
    EXPECT_EQ(w.far_bytes, 4 * MIB);
    report(INSTANCE_RUNNING, "");
}

static void test_slabs(void)
{
    acquire(2, 1);
    EXPECT_EQ(got.code, -1);
    EXPECT_EQ(got.count, 2);
    EXPECT_EQ(got.endpoints, 1);
    EXPECT_STR(got.node, "mn1");
    EXPECT_STR(got.tcp, "127.0.0.1:5");
    EXPECT_EQ(got.key[0], 1);
    EXPECT_EQ(got.key[15], 1);
    uint64_t generation = got.generation;
    acquire(2, 1); /* the same again */
    EXPECT_EQ(got.generation, generation);
    EXPECT_EQ(got.count, 2);
    acquire(100, 2); /* 4 + 3 in all */
    EXPECT_EQ(got.count, 5);
    acquire(1, 3);
    EXPECT_EQ(got.code, DILOS__ERROR_CODE__ERROR_REFUSED);
    Dilos__SlabRelease m = DILOS__SLAB_RELEASE__INIT;
    Dilos__GrantedSlab slab = DILOS__GRANTED_SLAB__INIT, *slabs[1] = {&slab};
    slab.node = (char *)(uintptr_t) "mn1";
    slab.generation = generation;
    m.instance_id = w.instance_id;
    m.n_slabs = 1;
    m.slabs = slabs;
    CALL(w.agent, SLAB_RELEASE, m, empty);
    EXPECT_EQ(got.code, -1);
    acquire(1, 4);
    EXPECT_EQ(got.count, 1);
    EXPECT(w.revokes >= 1);
}

static void test_inspect_and_log(void)
{
    Dilos__NameRef m = DILOS__NAME_REF__INIT;
    m.name = (char *)(uintptr_t) "idx";
    CALL(w.operators, INSTANCE_INSPECT, m, instance_info);
    EXPECT_EQ(got.value, 4711);
    EXPECT_EQ(got.count, 7);
    Dilos__LogRead log = DILOS__LOG_READ__INIT;
    log.name = m.name;
    log.offset = 10;
    CALL(w.operators, LOG_READ, log, log_chunk);
    EXPECT_EQ(got.value, 15);
    m.name = (char *)(uintptr_t) "nobody";
    CALL(w.operators, INSTANCE_INSPECT, m, instance_info);
    EXPECT_EQ(got.code, DILOS__ERROR_CODE__ERROR_NOT_FOUND);
    /* An operator may not speak for an agent. */
    Dilos__InstanceEvent event = DILOS__INSTANCE_EVENT__INIT;
    CALL(w.operators, INSTANCE_EVENT, event, empty);
    EXPECT(got.code != -1);
}

static void test_restart_keeps_all(void)
{
    const struct core *core = controller_core(w.controller);
    uint64_t applied = core->meta.applied_index;
    w.controller = controller_close(w.controller);
    w.node_ready = w.agent_ready = false;
    start_controller();
    core = controller_core(w.controller);
    EXPECT_EQ(core->meta.epoch, 2);
    EXPECT(core->meta.applied_index > applied);
    EXPECT_EQ(core->slabs_of[0].count[SLAB_GRANTED], 7);
    EXPECT_EQ(core->nodes[0].state, NODE_JOINING);
    wait_for_members();
    EXPECT_EQ(core->nodes[0].state, NODE_UP);
    EXPECT_EQ(core->slabs_of[0].count[SLAB_GRANTED], 7);
    EXPECT_EQ(core->held[core_find_instance(core, "idx")], 7);
    EXPECT_EQ(core->instances[core_find_instance(core, "idx")].state, INSTANCE_RUNNING);
}

static void run_for(uint64_t ns)
{
    uint64_t end_ns = sys_monotonic_ns() + ns;
    while (sys_monotonic_ns() < end_ns) {
        (void)event_base_loop(w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    }
}

/* The loop finds the news of the end and the end of the wait's time in one turn: one answer. */
static void test_end_and_timeout_at_once(void)
{
    Dilos__Wait wait = DILOS__WAIT__INIT;
    wait.name = (char *)(uintptr_t) "idx";
    wait.timeout_ms = 100;
    memset(&got, 0, sizeof(got));
    CHECK(rpc_call(rpc_client_connection(w.operators), DILOS__MESSAGE_TYPE__MESSAGE_WAIT,
                   &wait.base, &dilos__instance_info__descriptor, 5000, on_done, NULL) == 0);
    run_for(20000000);
    EXPECT(!got.done);
    report_by(ignore, INSTANCE_EXITED, "signaled");
    (void)event_base_loop(w.base, EVLOOP_ONCE | EVLOOP_NONBLOCK); /* it leaves the agent */
    (void)usleep(150000);
    EXPECT(run_until(&got.done));
    EXPECT_EQ(got.state, INSTANCE_EXITED);
}

static void test_stop_and_wait(void)
{
    Dilos__Stop stop = DILOS__STOP__INIT;
    Dilos__Wait wait = DILOS__WAIT__INIT;
    stop.name = wait.name = (char *)(uintptr_t) "idx";
    stop.grace_ms = 100;
    CALL(w.operators, STOP, stop, instance_info);
    EXPECT_EQ(got.state, INSTANCE_STOPPING);
    wait.timeout_ms = 20;
    CALL(w.operators, WAIT, wait, instance_info); /* ends with the time: still stopping */
    EXPECT_EQ(got.state, INSTANCE_STOPPING);
    EXPECT_EQ(w.signals, 1);
    EXPECT_EQ(w.signal, 15);
    test_end_and_timeout_at_once();
    CALL(w.operators, WAIT, wait, instance_info);
    EXPECT_EQ(got.state, INSTANCE_EXITED);
    const struct core *core = controller_core(w.controller);
    uint64_t end_ns = sys_monotonic_ns() + WAIT_NS;
    while (core->slabs_of[0].count[SLAB_FREE] != SLABS && sys_monotonic_ns() < end_ns) {
        (void)event_base_loop(w.base, EVLOOP_ONCE);
    }
    EXPECT_EQ(core->slabs_of[0].count[SLAB_FREE], SLABS);
    for (uint32_t i = 0; i < SLABS; i++) {
        EXPECT_EQ(w.granted[i], 0);
    }
    Dilos__NameRef name = DILOS__NAME_REF__INIT;
    name.name = stop.name;
    CALL(w.operators, REMOVE, name, empty);
    EXPECT_EQ(got.code, -1);
    CALL(w.operators, WAIT, wait, instance_info);
    EXPECT_EQ(got.code, DILOS__ERROR_CODE__ERROR_NOT_FOUND);
    Dilos__EventFilter filter = DILOS__EVENT_FILTER__INIT;
    CALL(w.operators, EVENT_LIST, filter, event_list);
    EXPECT(got.count >= 10);
    EXPECT(!w.broken);
}

int main(void)
{
    open_world();
    TAP_RUN(test_status);
    TAP_RUN(test_launch);
    TAP_RUN(test_slabs);
    TAP_RUN(test_inspect_and_log);
    TAP_RUN(test_restart_keeps_all);
    TAP_RUN(test_stop_and_wait);
    w.node = rpc_client_close(w.node);
    w.agent = rpc_client_close(w.agent);
    w.operators = rpc_client_close(w.operators);
    w.controller = controller_close(w.controller);
    w.store = w.store->ops->close(w.store);
    event_base_free(w.base);
    (void)rmdir(w.folder);
    return tap_done();
}
