/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/rpc/address.h"
#include "lib/rpc/connection.h"
#include "lib/rpc/limits.h"
#include "lib/rpc/socket.h"
#include "lib/sys/sys.h"

struct rpc_client {
    struct rpc_side side;
    char *address;
    uint32_t retry_ms_max;             /* 0: one attempt */
    uint32_t pause_ms;                 /* before the next attempt, without jitter */
    struct event *attempt;             /* timer of the next attempt */
    struct rpc_connection *connection; /* NULL between attempts */
};

/* Half of the pause is random, so that the clients of a restarted server come back spread out. */
static uint32_t jittered(uint32_t pause_ms)
{
    uint32_t random;
    sys_random(&random, sizeof(random));
    return pause_ms / 2 + random % (pause_ms / 2 + 1);
}

static void schedule_attempt(struct rpc_client *client, uint32_t after_ms)
{
    struct timeval after = {.tv_sec = after_ms / 1000, .tv_usec = after_ms % 1000 * 1000};
    int error = evtimer_add(client->attempt, &after);
    CHECK(error == 0);
}

static void on_connection_closed(void *owner, struct rpc_connection *connection)
{
    struct rpc_client *client = owner;
    client->connection = NULL;
    if (client->retry_ms_max == 0) {
        return;
    }
    if (connection->peer.version != 0) {
        client->pause_ms = MIN(RPC_RETRY_MS_MIN, client->retry_ms_max); /* it had been open */
    }
    schedule_attempt(client, jittered(client->pause_ms));
    client->pause_ms = MIN(client->pause_ms * 2, client->retry_ms_max);
}

static int connect_socket(struct rpc_client *client, const struct address *address)
{
    CLEANUP(sys_close)
    int fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    socket_tune(fd);
    int error = connection_open(event_get_base(client->attempt), &client->side, fd, true,
                                client->address, &client->connection);
    if (error != 0) {
        return error;
    }
    fd = -1;
    client->connection->owner = client;
    client->connection->closed = on_connection_closed;
    return 0;
}

/* Nothing could even be tried: on_close tells, with a connection that was never open. */
static void give_up(struct rpc_client *client, int error)
{
    char reason[RPC_REASON_BYTES];
    (void)snprintf(reason, sizeof(reason), "can't connect to %s: %s", client->address,
                   error == -EHOSTUNREACH ? "the name can't be resolved" : strerror(-error));
    connection_finish(client->connection, error, reason);
}

static void on_attempt(evutil_socket_t fd, short events, void *context)
{
    struct rpc_client *client = context;
    struct address address = {.length = 0};
    int unresolved = address_parse(client->address, &address);
    if (unresolved != 0) {
        address.socket.ss_family = AF_UNIX; /* any socket: it carries the error to on_close */
    }
    int error = connect_socket(client, &address);
    if (error != 0) {
        /* Out of descriptors or memory: there is no connection to report it with; try later. */
        schedule_attempt(client, MAX(client->retry_ms_max, RPC_RETRY_MS_MIN));
        return;
    }
    if (unresolved != 0) {
        give_up(client, unresolved);
        return;
    }
    struct rpc_connection *connection = client->connection;
    if (bufferevent_socket_connect(connection->stream, (struct sockaddr *)&address.socket,
                                   (int)address.length) != 0 &&
        client->connection == connection) {
        give_up(client, errno == 0 ? -EIO : -errno);
    }
}

int rpc_client_open(struct event_base *base, const char *address, uint32_t retry_ms_max,
                    const struct rpc_identity *identity, const struct rpc_callbacks *callbacks,
                    struct rpc_client **ret)
{
    if (!address_is_valid(address)) {
        return -EINVAL;
    }
    struct rpc_client *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return -ENOMEM;
    }
    int error = rpc_side_init(&client->side, identity, callbacks);
    client->retry_ms_max = retry_ms_max;
    client->pause_ms = MIN(RPC_RETRY_MS_MIN, retry_ms_max);
    client->address = strdup(address);
    client->attempt = evtimer_new(base, on_attempt, client);
    if (error != 0 || client->address == NULL || client->attempt == NULL) {
        (void)rpc_client_close(client);
        return -ENOMEM;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    schedule_attempt(client, 0);
    *ret = client;
    return 0;
}

struct rpc_connection *rpc_client_connection(const struct rpc_client *client)
{
    struct rpc_connection *connection = client->connection;
    return connection != NULL && connection->state == CONNECTION_OPEN ? connection : NULL;
}

struct rpc_client *rpc_client_close(struct rpc_client *client)
{
    if (client == NULL) {
        return NULL;
    }
    client->retry_ms_max = 0;
    if (client->connection != NULL) {
        connection_finish(client->connection, -ECANCELED, "this side is shutting down");
    }
    if (client->attempt != NULL) {
        event_free(client->attempt);
    }
    rpc_side_fini(&client->side);
    free(client->address);
    free(client);
    return NULL;
}

void rpc_client_counters(const struct rpc_client *client, struct rpc_counters *ret)
{
    *ret = client->side.counters;
}
