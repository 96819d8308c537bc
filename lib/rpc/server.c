/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/rpc/address.h"
#include "lib/rpc/connection.h"
#include "lib/rpc/limits.h"
#include "lib/rpc/socket.h"
#include "lib/sys/sys.h"

#define LISTEN_BACKLOG 128

struct rpc_server {
    struct rpc_side side;
    struct evconnlistener *listener;
    struct event *resume; /* accepts again after a pause */
    struct list connections;
    uint32_t connection_count;
    struct address address; /* as bound */
};

static void on_connection_closed(void *owner, struct rpc_connection *connection)
{
    struct rpc_server *server = owner;
    list_remove(&connection->link);
    server->connection_count--;
}

static void describe_peer(const struct rpc_server *server, const struct sockaddr *from, int length,
                          char *to)
{
    struct address address = server->address;
    if (from->sa_family != AF_UNIX && (size_t)length <= sizeof(address.socket)) {
        memcpy(&address.socket, from, (size_t)length);
        address.length = (socklen_t)length;
    }
    address_format(&address, to); /* a unix client has no name: the socket's own path */
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from,
                      int length, void *context)
{
    struct rpc_server *server = context;
    struct rpc_connection *connection;
    char text[ADDRESS_TEXT_BYTES];
    describe_peer(server, from, length, text);
    socket_tune(fd);
    if (server->connection_count >= RPC_CONNECTIONS_MAX ||
        connection_open(evconnlistener_get_base(listener), &server->side, fd, false, text,
                        &connection) != 0) {
        server->side.counters.connections_refused++;
        (void)close(fd);
        return;
    }
    connection->owner = server;
    connection->closed = on_connection_closed;
    server->connection_count++;
    list_append(&server->connections, &connection->link);
}

/* Out of descriptors: accept would fail again and again at once, so it waits. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct rpc_server *server = context;
    struct timeval pause = {.tv_usec = RPC_ACCEPT_PAUSE_MS * 1000};
    server->side.counters.connections_refused++;
    if (evtimer_add(server->resume, &pause) == 0) {
        (void)evconnlistener_disable(listener);
    }
}

static void on_resume(evutil_socket_t fd, short events, void *context)
{
    struct rpc_server *server = context;
    (void)evconnlistener_enable(server->listener);
}

/*
 * A socket file that nobody answers is left over from a process that died. Two servers that start
 * at the same moment are kept apart by the lock file of their state folder (sys_lock_file), not
 * here.
 */
static int remove_stale(const struct address *address)
{
    struct sockaddr_un un;
    struct stat status;
    memcpy(&un, &address->socket, sizeof(un));
    if (lstat(un.sun_path, &status) != 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    if (!S_ISSOCK(status.st_mode)) {
        return -EADDRINUSE;
    }
    CLEANUP(sys_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int error = connect(fd, (const struct sockaddr *)&address->socket, address->length);
    if (error == 0 || errno != ECONNREFUSED) {
        return -EADDRINUSE;
    }
    return unlink(un.sun_path) == 0 ? 0 : -errno;
}

static int bind_socket(int fd, const struct address *address)
{
    int one = 1;
    if (address->socket.ss_family == AF_UNIX) {
        int error = remove_stale(address);
        if (error != 0) {
            return error;
        }
        /* unix(7): on Linux the file gets the mode of the socket. */
        if (fchmod(fd, 0600) != 0) {
            return -errno;
        }
    } else if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0) {
        return -errno;
    }
    if (bind(fd, (const struct sockaddr *)&address->socket, address->length) != 0) {
        return -errno;
    }
    return listen(fd, LISTEN_BACKLOG) == 0 ? 0 : -errno;
}

/* A bound socket, and the address with the port that the system chose. */
static int open_socket(struct address *address, int *ret_fd)
{
    CLEANUP(sys_close)
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int error = bind_socket(fd, address);
    if (error != 0) {
        return error;
    }
    address->length = sizeof(address->socket);
    if (getsockname(fd, (struct sockaddr *)&address->socket, &address->length) != 0) {
        return -errno;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int start(struct rpc_server *server, struct event_base *base, int fd)
{
    server->resume = evtimer_new(base, on_resume, server);
    server->listener = evconnlistener_new(base, on_accept, server,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (server->listener == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    return server->resume == NULL ? -ENOMEM : 0;
}

static int return_address(const struct rpc_server *server, char **ret_address)
{
    char text[ADDRESS_TEXT_BYTES];
    if (ret_address == NULL) {
        return 0;
    }
    address_format(&server->address, text);
    *ret_address = strdup(text);
    return *ret_address == NULL ? -ENOMEM : 0;
}

int rpc_listen(struct event_base *base, const char *address, bool insecure,
               const struct rpc_identity *identity, const struct rpc_callbacks *callbacks,
               struct rpc_server **ret, char **ret_address)
{
    struct rpc_server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        return -ENOMEM;
    }
    int fd = -1;
    list_init(&server->connections);
    int error = address_parse(address, &server->address);
    if (error == 0 && !insecure && !address_is_local(&server->address)) {
        error = -EACCES;
    }
    if (error == 0) {
        error = rpc_side_init(&server->side, identity, callbacks);
    }
    if (error == 0) {
        error = open_socket(&server->address, &fd);
    }
    if (error == 0) {
        error = start(server, base, fd);
    }
    if (error == 0) {
        error = return_address(server, ret_address);
    }
    if (error != 0) {
        (void)rpc_server_close(server);
        return error;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    *ret = server;
    return 0;
}

static void remove_file(const struct rpc_server *server)
{
    struct sockaddr_un un;
    if (server->address.socket.ss_family == AF_UNIX) {
        memcpy(&un, &server->address.socket, sizeof(un));
        (void)unlink(un.sun_path);
    }
}

struct rpc_server *rpc_server_close(struct rpc_server *server)
{
    if (server == NULL) {
        return NULL;
    }
    if (server->listener != NULL) {
        remove_file(server);
        evconnlistener_free(server->listener);
    }
    if (server->resume != NULL) {
        event_free(server->resume);
    }
    while (!list_empty(&server->connections)) {
        connection_finish(list_entry(list_first(&server->connections), struct rpc_connection, link),
                          -ECANCELED, "this side is shutting down");
    }
    rpc_side_fini(&server->side);
    free(server);
    return NULL;
}

void rpc_server_set_epoch(struct rpc_server *server, uint64_t epoch)
{
    server->side.epoch = epoch;
}

void rpc_server_counters(const struct rpc_server *server, struct rpc_counters *ret)
{
    *ret = server->side.counters;
}
