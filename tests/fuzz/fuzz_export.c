/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory node's exports (tcp, shm) against clients that break the rules. The input is a script:
 * what clients send, how it is cut, and revokes in between. memnode/worker.c is replaced by a loop
 * that runs here, so that everything happens in one thread and in order. Whatever is sent, slabs
 * that nobody was granted keep reading as zeros, and so does a slab that is granted for reading.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "memnode/export_shm.h"
#include "memnode/tcp_connection.h"
#include "tests/fuzz/input.h"

#define SLAB_COUNT      4u /* 0 for writing, 1 for reading, 2 and 3 nobody's */
#define SLAB_BYTES      (1ull << 20)
#define CLIENTS         3u
#define SOURCES_MAX     16u
#define OPERATIONS_MAX  64u
#define WRITE_BYTES_MAX 512u
#define PROBE_BYTES     4096u
#define SOCKET_BYTES    16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- in place of memnode/worker.c ---- */

struct worker {
    struct worker_callbacks callbacks;
    struct {
        int fd; /* -1: free */
        uint32_t events;
        struct worker_source *source;
    } sources[SOURCES_MAX];
};

static struct worker *the_worker;

int worker_open(const char *name, const struct worker_callbacks *callbacks, struct worker **ret)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    CHECK(worker != NULL);
    worker->callbacks = *callbacks;
    for (unsigned i = 0; i < SOURCES_MAX; i++) {
        worker->sources[i].fd = -1;
    }
    the_worker = worker;
    *ret = worker;
    return 0;
}

struct worker *worker_close(struct worker *worker)
{
    free(worker);
    return NULL;
}

void worker_call(struct worker *worker, void (*function)(void *argument), void *argument)
{
    function(argument);
}

int worker_add(struct worker *worker, int fd, uint32_t events, struct worker_source *source)
{
    for (unsigned i = 0; i < SOURCES_MAX; i++) {
        if (worker->sources[i].fd < 0) {
            worker->sources[i].fd = fd;
            worker->sources[i].events = events;
            worker->sources[i].source = source;
            return 0;
        }
    }
    return -ENOMEM;
}

int worker_modify(struct worker *worker, int fd, uint32_t events, struct worker_source *source)
{
    for (unsigned i = 0; i < SOURCES_MAX; i++) {
        if (worker->sources[i].fd == fd) {
            CHECK(worker->sources[i].source == source);
            worker->sources[i].events = events;
            return 0;
        }
    }
    CHECK(false);
    return -ENOENT;
}

void worker_remove(struct worker *worker, int fd)
{
    for (unsigned i = 0; i < SOURCES_MAX; i++) {
        if (worker->sources[i].fd == fd) {
            worker->sources[i].fd = -1;
        }
    }
}

/* One batch. The bits of poll and epoll that are used here are the same. */
static void turn(void)
{
    struct worker *worker = the_worker;
    for (unsigned i = 0; i < SOURCES_MAX; i++) {
        struct pollfd item = {.fd = worker->sources[i].fd,
                              .events = (short)worker->sources[i].events};
        if (item.fd >= 0 && poll(&item, 1, 0) == 1) {
            worker->sources[i].source->ready(worker->sources[i].source, (uint32_t)item.revents);
        }
    }
    worker->callbacks.after_batch(worker->callbacks.context);
}

/* ---- the node: lives as long as the process ---- */

static struct {
    struct arena *arena;
    struct grants *grants;
    struct export_counters counters;
    struct incidents *incidents;
    struct export_context context;
    struct export_shm *shm;
    uint64_t generation;
    uint8_t keys[2][PAGEOP_KEY_BYTES];
    uint64_t generations[2];
} node;

static void path_of(struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(ret->sun_path, sizeof(ret->sun_path), "/tmp/dilos-fuzz-%d", (int)getpid());
}

static void remove_socket(void)
{
    node.shm = export_shm_close(node.shm);
}

static void grant(uint32_t slab)
{
    node.generations[slab] = ++node.generation;
    CHECK(grants_add(node.grants, slab, "fuzz", node.generation, slab == 1, node.keys[slab]) == 0);
}

static void node_init(void)
{
    char error[MAX(ARENA_ERROR_BYTES, EXPORT_ERROR_BYTES)];
    struct sockaddr_un address;
    const struct arena_config config = {.slab_bytes = SLAB_BYTES, .bytes = SLAB_COUNT * SLAB_BYTES};
    CHECK(arena_open(&config, &node.arena, error) == 0);
    CHECK(grants_open(SLAB_COUNT, &node.grants) == 0);
    CHECK(incidents_open(&node.incidents) == 0);
    for (uint32_t slab = 0; slab < SLAB_COUNT; slab++) {
        CHECK(arena_slab_prepare(node.arena, slab) == 0);
    }
    grant(0);
    grant(1);
    node.context = (struct export_context){.arena = node.arena,
                                           .grants = node.grants,
                                           .counters = &node.counters,
                                           .incidents = node.incidents};
    path_of(&address);
    CHECK(export_shm_open(&node.context, address.sun_path, &node.shm, error) == 0);
    CHECK(atexit(remove_socket) == 0);
}

static void expect_zeros(uint32_t slab)
{
    static const uint8_t zeros[PROBE_BYTES];
    const uint8_t *base = arena_slab_base(node.arena, slab);
    CHECK(memcmp(base, zeros, PROBE_BYTES) == 0);
    CHECK(memcmp(base + SLAB_BYTES - PROBE_BYTES, zeros, PROBE_BYTES) == 0);
}

/* ---- clients ---- */

struct fuzz {
    bool shm;
    struct {
        int fd; /* -1: not connected */
        struct tcp_connection *tcp;
    } clients[CLIENTS];
};

static void put(struct fuzz *fuzz, unsigned client, const void *data, size_t bytes)
{
    (void)!send(fuzz->clients[client].fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int connect_shm(void)
{
    struct sockaddr_un address;
    path_of(&address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

/* A stream is a stream: the connection does not know that its socket is no TCP socket. */
static int connect_tcp(struct tcp_connection **ret)
{
    static struct tcp_fence fences[SLAB_COUNT];
    static struct tcp_group group = {.fences = fences};
    int fds[2];
    int bytes = SOCKET_BYTES;
    if (group.connections.next == NULL) {
        list_init(&group.connections);
    }
    if (list_empty(&group.connections)) { /* an input does not depend on those before it */
        memset(fences, 0, sizeof(fences));
    }
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    /* Small, so that replies get stuck half sent. */
    (void)setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    CHECK(tcp_connection_open(the_worker, &node.context, fds[0], &group, ret) == 0);
    return fds[1];
}

static void client_open(struct fuzz *fuzz, unsigned client, bool greet)
{
    uint8_t hello[PAGEOP_HELLO_BYTES];
    fuzz->clients[client].fd = fuzz->shm ? connect_shm() : connect_tcp(&fuzz->clients[client].tcp);
    if (greet) {
        pageop_hello_encode(hello);
        put(fuzz, client, hello, sizeof(hello));
    }
}

static void client_close(struct fuzz *fuzz, unsigned client)
{
    if (fuzz->clients[client].fd < 0) {
        return;
    }
    (void)close(fuzz->clients[client].fd);
    fuzz->clients[client].fd = -1;
    turn();
    if (!fuzz->shm) {
        tcp_connection_shut(fuzz->clients[client].tcp, NULL);
        tcp_connection_free(fuzz->clients[client].tcp);
    }
}

static void send_request(struct fuzz *fuzz, unsigned client, struct input *input)
{
    uint8_t data[PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES + WRITE_BYTES_MAX] = {0};
    size_t bytes = PAGEOP_REQUEST_BYTES;
    uint32_t choice = input_u8(input);
    struct pageop_request request = {
        .kind = (uint8_t)(choice % 7), .handle = input_u8(input), .token = choice};
    if (request.kind == PAGEOP_READ || request.kind == PAGEOP_WRITE) {
        uint64_t place = input_u16(input);
        request.offset = (choice & 0x80) != 0 ? SLAB_BYTES - place : place << 4;
        request.length = input_u16(input) << ((choice & 0x40) != 0 ? 5 : 0);
    }
    if (request.kind == PAGEOP_ATTACH) {
        uint8_t number = input_u8(input);
        uint32_t slab = number % (SLAB_COUNT + 1);
        struct pageop_attach attach = {.slab_index = slab,
                                       .incarnation = number >> 6,
                                       .generation = node.generations[slab & 1]};
        memcpy(attach.key, node.keys[slab & 1], sizeof(attach.key));
        request.length = PAGEOP_ATTACH_BYTES;
        pageop_attach_encode(&attach, data + bytes);
        bytes += PAGEOP_ATTACH_BYTES;
    }
    pageop_request_encode(&request, data);
    if (request.kind == PAGEOP_WRITE) {
        memset(data + bytes, 0xee, WRITE_BYTES_MAX);
        bytes += MIN(request.length, WRITE_BYTES_MAX); /* the rest follows raw, or never */
    }
    put(fuzz, client, data, bytes);
}

static void take_back(struct fuzz *fuzz, uint32_t slab)
{
    CHECK(grants_revoke(node.grants, slab, node.generations[slab]));
    for (unsigned i = 0; i < CLIENTS; i++) {
        if (fuzz->clients[i].fd >= 0) {
            tcp_connection_revoke(fuzz->clients[i].tcp, slab);
        }
    }
    grants_freed(node.grants, slab);
    grant(slab);
}

static void drain(struct fuzz *fuzz, unsigned client, size_t bytes)
{
    static uint8_t data[65536];
    (void)!recv(fuzz->clients[client].fd, data, MIN(bytes, sizeof(data)), MSG_DONTWAIT);
}

static void operate(struct fuzz *fuzz, struct input *input)
{
    const uint8_t *raw;
    uint32_t operation = input_u8(input);
    unsigned client = (operation >> 3) % CLIENTS;
    if (fuzz->clients[client].fd < 0) {
        client_open(fuzz, client, (operation & 0x80) == 0);
    }
    switch (operation & 7) {
    case 0: {
        size_t bytes = input_take(input, input_u8(input), &raw);
        put(fuzz, client, raw, bytes);
        break;
    }
    case 1:
    case 2:
    case 3:
        send_request(fuzz, client, input);
        break;
    case 4:
        client_close(fuzz, client);
        break;
    case 5:
        /* With shm this waits for the clients' answers, which the tests of memnode/ do. */
        if (!fuzz->shm) {
            take_back(fuzz, operation >> 7);
        }
        break;
    case 6:
        drain(fuzz, client, input_u16(input));
        break;
    default:
        turn();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    if (node.arena == NULL) {
        node_init();
    }
    struct fuzz fuzz = {.shm = (input_u8(&input) & 1) != 0, .clients = {{-1}, {-1}, {-1}}};
    for (unsigned i = 0; i < OPERATIONS_MAX && input.size > 0; i++) {
        operate(&fuzz, &input);
    }
    turn();
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_close(&fuzz, i);
    }
    for (uint32_t slab = 1; slab < SLAB_COUNT; slab++) {
        expect_zeros(slab);
    }
    CHECK(export_counter(&node.counters.connections_open) == 0);
    return 0;
}
