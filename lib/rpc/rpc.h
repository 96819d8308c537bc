/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and replies over stream sockets: frames (lib/wire/frame.h) with protobuf bodies, on one
 * libevent loop. Both sides of a connection may send requests. All functions and all callbacks run
 * on the thread of the loop.
 *
 * Addresses are text: "unix:/path", or "host:port" ("[::1]:7000" for IPv6). There is no TLS yet:
 * rpc_listen refuses anything that is neither a unix socket nor a loopback address, unless
 * `insecure` says that the operator accepts that.
 *
 * Limits (lib/rpc/limits.h): frame size, connections, requests in flight per connection, bytes
 * waiting to be sent, idle time before HELLO. Whoever breaks one, or sends what can't be parsed,
 * loses the connection; the reason is logged once by the owner through `on_close`.
 */
#ifndef DILOS_LIB_RPC_RPC_H
#define DILOS_LIB_RPC_RPC_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "proto/dilos.pb-c.h"

struct event_base;
struct rpc_connection;
struct rpc_server;
struct rpc_client;

#define RPC_VERSION_MIN 1u
#define RPC_VERSION_MAX 1u

/* Who we are: goes into HELLO. Strings are copied. */
struct rpc_identity {
    Dilos__Role role;
    const char *name;
};

/* Who the peer says that it is. Valid while the connection is. */
struct rpc_peer {
    Dilos__Role role;
    const char *name;
    const char *build;
    uint64_t epoch; /* of a controller; else 0 */
    uint32_t version;
    const char *address;
};

/*
 * A request that waits for its reply. The handler answers now or later with rpc_reply() or
 * rpc_fail(), exactly once. If the connection closes first, answering does nothing (but is still
 * owed, since it frees the request).
 */
struct rpc_request;

const struct rpc_peer *rpc_request_peer(const struct rpc_request *request);
/* NULL once the connection is closed. */
struct rpc_connection *rpc_request_connection(const struct rpc_request *request);

/* body NULL: empty. A body that breaks a limit is our bug: the peer gets Error INTERNAL. */
void rpc_reply(struct rpc_request *request, const ProtobufCMessage *body);
void rpc_fail(struct rpc_request *request, Dilos__ErrorCode code, const char *message,
              const char *remedy);

/* One row of a table of the messages that this side accepts. */
struct rpc_method {
    uint16_t type;
    const ProtobufCMessageDescriptor *body;
    /* `message` is freed after the handler returns; copy what is kept. request is NULL for a
     * notice, and never for another. */
    void (*handle)(void *context, struct rpc_connection *connection, struct rpc_request *request,
                   const ProtobufCMessage *message);
    /* Bit (1 << role) for each role that may call it. */
    uint32_t roles;
    /* It comes as a notice, and only so; others come as requests, and only so. */
    bool notice;
};

/* `methods` must outlive the server or client; the rest is copied. */
struct rpc_callbacks {
    const struct rpc_method *methods;
    uint32_t method_count;
    /* HELLO was exchanged: requests may be sent. */
    void (*on_open)(void *context, struct rpc_connection *connection);
    /* error 0: the peer closed in order; -ECANCELED: this side did; else negative errno; and text
     * for a human. The connection is invalid when this returns; calls in flight have been failed
     * before. May come without on_open: a failed attempt of a client, a peer that never said
     * HELLO. */
    void (*on_close)(void *context, struct rpc_connection *connection, int error,
                     const char *reason);
    void *context;
};

/* What was refused or dropped, for metrics. */
struct rpc_counters {
    uint64_t connections_refused; /* above the limit of connections */
    uint64_t connections_broken;  /* closed because the peer broke the protocol or a limit */
    uint64_t requests_refused;    /* unknown, not for this role, a notice's type, or too many */
    uint64_t notices_dropped;     /* unknown, not for this role, or a request's type */
    uint64_t replies_late;        /* came after their call had timed out */
};

/* A completed call: exactly one of reply and error is not NULL. Both are freed afterwards. */
typedef void rpc_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error);

/*
 * Sends a request; `done` is called exactly once: with the reply, with the peer's error, or with
 * one made here (TIMEOUT; UNAVAILABLE when the connection closes; INTERNAL for a reply that can't
 * be parsed). Never calls `done` before returning. timeout_ms 0: no limit. Errors (then `done` is
 * not called): -ENOBUFS too many in flight, -EMSGSIZE, -ENOTCONN.
 */
int rpc_call(struct rpc_connection *connection, uint16_t type, const ProtobufCMessage *body,
             const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms, rpc_done *done,
             void *context) MUST_CHECK;
/* A request without a reply. Errors: as rpc_call. */
int rpc_notify(struct rpc_connection *connection, uint16_t type,
               const ProtobufCMessage *body) MUST_CHECK;

const struct rpc_peer *rpc_connection_peer(const struct rpc_connection *connection);
/* Whole frames that have come from the peer: has it said anything since? */
uint64_t rpc_connection_frames(const struct rpc_connection *connection);
/* For the owner's own state of this connection. */
void rpc_connection_set_data(struct rpc_connection *connection, void *data);
void *rpc_connection_data(const struct rpc_connection *connection);
/* Closes soon (on_close is called from the loop). */
void rpc_connection_close(struct rpc_connection *connection, const char *reason);

/* Shown in HelloReply from now on (controllers only). */
void rpc_server_set_epoch(struct rpc_server *server, uint64_t epoch);

void rpc_server_counters(const struct rpc_server *server, struct rpc_counters *ret);

/*
 * Listens on `address`. A stale unix socket file (nobody answers) is replaced, a live one gives
 * -EADDRINUSE. Errors: -EINVAL address, -EACCES not loopback without `insecure`, other errno of
 * the system. ret_address (may be NULL) gets the address with the real port, to be freed.
 * A unix socket has mode 0600. SIGPIPE is ignored from now on in the whole process.
 */
int rpc_listen(struct event_base *base, const char *address, bool insecure,
               const struct rpc_identity *identity, const struct rpc_callbacks *callbacks,
               struct rpc_server **ret, char **ret_address) MUST_CHECK;
/* Closes its connections too: on_close (-ECANCELED) has come for each when this returns. */
struct rpc_server *rpc_server_close(struct rpc_server *server);

/*
 * Keeps a connection to `address`: connects, exchanges HELLO, and after a failure tries again with
 * growing pauses (up to retry_ms_max, jittered; 0: never again, on_close tells). on_close comes for
 * each attempt that failed. A host name (not a number) is resolved on the loop's thread: give
 * numbers where that may not block. SIGPIPE is ignored from now on in the whole process.
 * Errors: -EINVAL address, -ENOMEM.
 */
int rpc_client_open(struct event_base *base, const char *address, uint32_t retry_ms_max,
                    const struct rpc_identity *identity, const struct rpc_callbacks *callbacks,
                    struct rpc_client **ret) MUST_CHECK;
/* The connection while it is open (after on_open), else NULL. */
struct rpc_connection *rpc_client_connection(const struct rpc_client *client);
/* on_close (-ECANCELED) has come when this returns, if there was a connection. */
struct rpc_client *rpc_client_close(struct rpc_client *client);
void rpc_client_counters(const struct rpc_client *client, struct rpc_counters *ret);

#endif
