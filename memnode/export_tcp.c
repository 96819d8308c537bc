/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/sys/sys.h"
#include "memnode/tcp_connection.h"
#include "memnode/worker.h"

#define BACKLOG     128
#define ACCEPTS_MAX 64u /* in one go */
#define NS_PER_MS   1000000ull
#define SWEEP_NS    (WORKER_TICK_MS * NS_PER_MS / 2) /* between looks at all connections */

struct export_tcp {
    struct export_context context;
    struct worker *worker;
    struct worker_source listener;
    int listen_fd;
    bool paused; /* no descriptor left for accept: until the next tick */
    struct tcp_group group;
    uint64_t swept_ns;
    uint32_t connection_count;
    char address[FABRIC_ADDRESS_BYTES];
};

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET6) {
        return memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                      &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
    }
    return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
           ((const struct sockaddr_in *)b)->sin_addr.s_addr;
}

static bool host_is_full(const struct export_tcp *export, const struct sockaddr_storage *host)
{
    uint32_t count = 0;
    list_for_each (node, &export->group.connections) {
        count += same_host(&list_entry(node, struct tcp_connection, node)->host, host) ? 1 : 0;
    }
    return count >= EXPORT_HOST_CONNECTIONS_MAX;
}

static void accept_one(struct export_tcp *export, int fd, const struct sockaddr_storage *host)
{
    int one = 1;
    struct tcp_connection *connection;
    if (export->connection_count == EXPORT_CONNECTIONS_MAX || host_is_full(export, host) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0) {
        export_count(&export->context.counters->closed_limit, 1);
        (void)close(fd);
        return;
    }
    if (tcp_connection_open(export->worker, &export->context, fd, &export->group, &connection) !=
        0) {
        export_count(&export->context.counters->closed_limit, 1);
        return;
    }
    connection->host = *host;
    export->connection_count++;
}

static void listener_ready(struct worker_source *source, uint32_t events)
{
    struct export_tcp *export = container_of(source, struct export_tcp, listener);
    (void)events;
    for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
        struct sockaddr_storage host = {0};
        socklen_t length = sizeof(host);
        int fd = accept4(export->listen_fd, (struct sockaddr *)&host, &length,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(export, fd, &host);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            export_count(&export->context.counters->closed_limit, 1);
            worker_remove(export->worker, export->listen_fd);
            export->paused = true;
        }
        return;
    }
}

static bool is_idle(const struct tcp_connection *connection, uint64_t now_ns)
{
    return connection->fd >= 0 && connection->greeted && connection->instance[0] == '\0' &&
           now_ns - connection->opened_ns > EXPORT_IDLE_TIMEOUT_MS * NS_PER_MS;
}

/* The oldest go first. */
static void close_idle(struct export_tcp *export, uint64_t now_ns)
{
    uint32_t count = 0;
    list_for_each (node, &export->group.connections) {
        count += is_idle(list_entry(node, struct tcp_connection, node), now_ns) ? 1 : 0;
    }
    list_for_each (node, &export->group.connections) {
        struct tcp_connection *connection = list_entry(node, struct tcp_connection, node);
        if (count > EXPORT_IDLE_MAX && is_idle(connection, now_ns)) {
            tcp_connection_shut(connection, &export->context.counters->closed_idle);
            count--;
        }
    }
}

/* Frees what was closed, closes who is too slow, and listens again after a pause. */
static void after_batch(void *context)
{
    struct export_tcp *export = context;
    uint64_t now_ns = sys_monotonic_ns();
    if (!export->group.closed && now_ns - export->swept_ns < SWEEP_NS) {
        return;
    }
    export->group.closed = false;
    export->swept_ns = now_ns;
    close_idle(export, now_ns);
    list_for_each_safe (node, &export->group.connections) {
        struct tcp_connection *connection = list_entry(node, struct tcp_connection, node);
        if (!connection->greeted &&
            now_ns - connection->opened_ns > EXPORT_HELLO_TIMEOUT_MS * NS_PER_MS) {
            tcp_connection_shut(connection, &export->context.counters->closed_hello);
        }
        if (connection->fd < 0) {
            /* Not sooner: events of this batch may have named it again after it was shut. */
            worker_cool(export->worker, &connection->source);
            tcp_connection_free(connection);
            export->connection_count--;
        }
    }
    if (export->paused &&
        worker_add(export->worker, export->listen_fd, EPOLLIN, &export->listener) == 0) {
        export->paused = false;
    }
}

static int listen_on(struct export_tcp *export, struct fabric_address *address)
{
    int one = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    export->listen_fd = fd;
    address->length = sizeof(address->storage);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)&address->storage, address->length) != 0 ||
        listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address->storage, &address->length) != 0) {
        return -errno;
    }
    fabric_address_format(address, export->address);
    return 0;
}

static int check_address(const char *text, bool insecure, struct fabric_address *ret,
                         char *ret_error)
{
    if (fabric_address_parse(text, ret) != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES,
                       "\"%.64s\" is not ADDRESS:PORT with a numeric address: change --listen-tcp",
                       text);
        return -EINVAL;
    }
    if (!insecure && !fabric_address_is_loopback(ret)) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES,
                       "%.64s can be reached from other machines and there is no TLS yet: use "
                       "127.0.0.1, or accept that with --insecure",
                       text);
        return -EACCES;
    }
    return 0;
}

static void start_listening(void *argument)
{
    struct export_tcp *export = argument;
    export->paused = worker_add(export->worker, export->listen_fd, EPOLLIN, &export->listener) != 0;
}

int export_tcp_open(const struct export_context *context, const char *address_text, bool insecure,
                    struct export_tcp **ret, char *ret_error)
{
    struct fabric_address address;
    int error = check_address(address_text, insecure, &address, ret_error);
    if (error != 0) {
        return error;
    }
    struct export_tcp *export = calloc(1, sizeof(*export));
    struct tcp_fence *fences = calloc(arena_slab_count(context->arena), sizeof(*fences));
    if (export == NULL || fences == NULL) {
        free(export);
        free(fences);
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    export->context = *context;
    export->listener.ready = listener_ready;
    export->listen_fd = -1;
    list_init(&export->group.connections);
    export->group.fences = fences;
    error = listen_on(export, &address);
    if (error != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "can't listen on %.64s: %s%s", address_text,
                       strerror(-error),
                       error == -EADDRINUSE ? ": stop who has it or change --listen-tcp" : "");
        goto err_export;
    }
    const struct worker_callbacks callbacks = {.after_batch = after_batch, .context = export};
    error = worker_open("export-tcp", &callbacks, &export->worker);
    if (error != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "can't start a thread: %s", strerror(-error));
        goto err_export;
    }
    worker_call(export->worker, start_listening, export);
    *ret = export;
    return 0;

err_export:
    if (export->listen_fd >= 0) {
        (void)close(export->listen_fd);
    }
    free(fences);
    free(export);
    return error;
}

static void stop(void *argument)
{
    struct export_tcp *export = argument;
    list_for_each (node, &export->group.connections) {
        tcp_connection_shut(list_entry(node, struct tcp_connection, node), NULL);
    }
    if (!export->paused) {
        worker_remove(export->worker, export->listen_fd);
    }
    /* Or after_batch would listen again. */
    export->paused = false;
}

struct export_tcp *export_tcp_close(struct export_tcp *export)
{
    if (export == NULL) {
        return NULL;
    }
    worker_call(export->worker, stop, export);
    export->worker = worker_close(export->worker);
    list_for_each_safe (node, &export->group.connections) {
        tcp_connection_free(list_entry(node, struct tcp_connection, node));
    }
    (void)close(export->listen_fd);
    free(export->group.fences);
    free(export);
    return NULL;
}

const char *export_tcp_address(const struct export_tcp *export)
{
    return export->address;
}

struct revoke {
    struct export_tcp *export;
    const uint32_t *slabs;
    uint32_t count;
};

static void revoke_all(void *argument)
{
    const struct revoke *revoke = argument;
    list_for_each (node, &revoke->export->group.connections) {
        struct tcp_connection *connection = list_entry(node, struct tcp_connection, node);
        for (uint32_t i = 0; i < revoke->count && connection->fd >= 0; i++) {
            tcp_connection_revoke(connection, revoke->slabs[i]);
        }
    }
}

void export_tcp_revoke(struct export_tcp *export, const uint32_t *slabs, uint32_t count)
{
    struct revoke argument = {.export = export, .slabs = slabs, .count = count};
    worker_call(export->worker, revoke_all, &argument);
}
