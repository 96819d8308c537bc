/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of lib/rpc: one connection, whichever side made it. Used by the files of this folder only.
 *
 * Memory: a connection is counted. Its owner (server or client) holds one reference until it is
 * closed, each unanswered request holds one, and so does every function that calls back. So a
 * callback may close anything, and what comes back from it checks the state.
 */
#ifndef DILOS_LIB_RPC_CONNECTION_H
#define DILOS_LIB_RPC_CONNECTION_H

#include <event2/bufferevent.h>
#include <stddef.h>

#include "lib/base/list.h"
#include "lib/rpc/rpc.h"
#include "lib/wire/frame.h"

#define RPC_REASON_BYTES 256
#define RPC_BUCKET_COUNT 64 /* of the tables by request id; a power of two */

/* What all connections of one server or client share. */
struct rpc_side {
    Dilos__Role role;
    char *name;
    uint64_t epoch;
    struct rpc_callbacks callbacks;
    struct rpc_counters counters;
};

int rpc_side_init(struct rpc_side *side, const struct rpc_identity *identity,
                  const struct rpc_callbacks *callbacks) MUST_CHECK;
void rpc_side_fini(struct rpc_side *side);

enum connection_state {
    CONNECTION_CONNECTING, /* a client's: the socket isn't connected yet */
    CONNECTION_GREETING,   /* HELLO is awaited; at a client its reply */
    CONNECTION_OPEN,       /* requests flow both ways */
    CONNECTION_CLOSING,    /* nothing is read any more; what was written is still sent */
    CONNECTION_CLOSED,     /* on_close was called; kept for requests that are still owed */
};

struct rpc_connection {
    enum connection_state state;
    uint32_t references;
    struct rpc_side *side;      /* invalid when CLOSED */
    struct bufferevent *stream; /* NULL when CLOSED */
    struct event *timer;        /* deadline for connecting and HELLO; later for lingering */
    void (*closed)(void *owner, struct rpc_connection *connection); /* before on_close */
    void *owner;
    struct list link; /* owner's */
    void *data;

    struct rpc_peer peer; /* its strings are ours */
    bool initiator;       /* we connected, so we say HELLO first */

    struct list requests[RPC_BUCKET_COUNT]; /* the peer's, not yet answered */
    uint32_t request_count;
    struct list calls[RPC_BUCKET_COUNT]; /* ours, waiting for a reply */
    uint32_t call_count;
    uint64_t call_id_next;
    uint64_t frame_count; /* whole ones that came */

    int close_error;
    char close_reason[RPC_REASON_BYTES];
};

/*
 * connection.c. Takes the socket (connected unless `initiator`); the caller's reference is the
 * owner's. -ENOMEM.
 */
int connection_open(struct event_base *base, struct rpc_side *side, int fd, bool initiator,
                    const char *address, struct rpc_connection **ret) MUST_CHECK;
struct event_base *connection_base(const struct rpc_connection *connection);
void connection_hold(struct rpc_connection *connection);
void connection_release(struct rpc_connection *connection);
void connection_move(struct rpc_connection *connection, enum connection_state to);
void connection_set_timer(struct rpc_connection *connection, uint32_t after_ms);
/* Nothing is read any more; what is queued is sent, then on_close comes from the loop. */
PRINTF_LIKE(3, 4)
void connection_fail(struct rpc_connection *connection, int error, const char *format, ...);
/* At once, from inside rpc_server_close or rpc_client_close, or when the socket is gone. */
void connection_finish(struct rpc_connection *connection, int error, const char *reason);
/* Queues a frame. body NULL: empty. Errors: -ENOBUFS, -EMSGSIZE, -ENOTCONN. */
int connection_send(struct rpc_connection *connection, uint16_t type, uint16_t flags, uint64_t id,
                    const ProtobufCMessage *body) MUST_CHECK;
/* Queues an Error reply; a full queue closes the connection. */
void connection_send_error(struct rpc_connection *connection, uint16_t type, uint64_t id,
                           Dilos__ErrorCode code, const char *message, const char *remedy);

/* hello.c: the frames before OPEN. */
void hello_start(struct rpc_connection *connection);
void hello_frame(struct rpc_connection *connection, const struct frame_header *header,
                 const uint8_t *body);

/* request.c: the peer's requests and notices. */
void request_frame(struct rpc_connection *connection, const struct frame_header *header,
                   const uint8_t *body);
/* The connection is CLOSED: its requests may still be answered, into nothing. */
void request_detach_all(struct rpc_connection *connection);

/* call.c: replies to ours. */
void call_frame(struct rpc_connection *connection, const struct frame_header *header,
                const uint8_t *body);
void call_fail_all(struct rpc_connection *connection, Dilos__ErrorCode code, const char *message);

#endif
