/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of the control protocol in one process and on one loop: a server on a unix socket with
 * a few methods, any number of clients, and raw peers that write bytes of their own.
 */
#ifndef DILOS_TESTS_UNIT_RPC_HARNESS_H
#define DILOS_TESTS_UNIT_RPC_HARNESS_H

#include <event2/event.h>

#include "lib/rpc/rpc.h"
#include "lib/wire/frame.h"

#define HARNESS_HELD_MAX 1100

/* What one side saw through its callbacks. */
struct seen {
    unsigned open_count;
    unsigned close_count;
    int close_error;
    char close_reason[256];
    struct rpc_connection *connection; /* open */
    Dilos__Role peer_role;
    char peer_name[64];
    uint64_t peer_epoch;
};

/* What completions saw. */
struct outcome {
    unsigned reply_count;
    unsigned error_count;
    Dilos__ErrorCode code; /* of the last error */
    char message[256];
    uint64_t value; /* Status.epoch of the last reply */
};

struct harness {
    struct event_base *base;
    struct rpc_server *server;
    char folder[32];
    char address[64];
    struct seen server_seen;
    struct seen client_seen;
    unsigned handled_count;
    unsigned notice_count;
    struct rpc_request *held[HARNESS_HELD_MAX]; /* of the method that doesn't answer by itself */
    unsigned held_count;
    unsigned closes_expected; /* of raw peers, so far */
    bool close_in_handler;    /* the echoing method closes its connection before it answers */
};

void harness_init(struct harness *h);
void harness_fini(struct harness *h);
void harness_listen(struct harness *h);
void harness_stop(struct harness *h);

/* A client of the harness's server; waits until it is open unless `retry_ms_max` is 0. */
struct rpc_client *harness_client(struct harness *h, Dilos__Role role, uint32_t retry_ms_max);

/* Runs the loop until *counter reaches `count`; false after 20 s, so that nothing hangs. */
bool harness_until(struct harness *h, const unsigned *counter, unsigned count);
/* Runs the loop for a short while. */
void harness_settle(struct harness *h);

/* Methods of the server: EventFilter in, Status out, whose epoch is `after`. */
#define METHOD_ECHO    DILOS__MESSAGE_TYPE__MESSAGE_STATUS
#define METHOD_HOLD    DILOS__MESSAGE_TYPE__MESSAGE_WAIT
#define METHOD_FAIL    DILOS__MESSAGE_TYPE__MESSAGE_STOP
#define METHOD_AGENT   DILOS__MESSAGE_TYPE__MESSAGE_SLAB_ACQUIRE /* agents only */
#define METHOD_NOTICE  DILOS__MESSAGE_TYPE__MESSAGE_NODE_HEARTBEAT
#define METHOD_NAME    DILOS__MESSAGE_TYPE__MESSAGE_NODE_INSPECT /* NameRef in, Status out */
#define METHOD_UNKNOWN 999
#define STATUS_REPLY   (&dilos__status__descriptor)

/* Asks the echoing kind of method; the outcome counts it. */
int ask(struct rpc_connection *connection, uint16_t type, uint64_t value, uint32_t timeout_ms,
        struct outcome *outcome);
void release_held(struct harness *h, unsigned index, uint64_t value);

/* A peer without lib/rpc: a blocking socket. */
int raw_connect(struct harness *h);
void raw_send(int fd, const void *data, size_t bytes);
void raw_send_frame(int fd, uint16_t type, uint16_t flags, uint64_t id,
                    const ProtobufCMessage *body);
void raw_hello(int fd, Dilos__Role role, const char *name, uint32_t version_min,
               uint32_t version_max);
/*
 * The next frame that the server sends, while the loop runs. Returns its body's length, -1 at the
 * end of the stream. `body` holds 4096 bytes.
 */
int raw_receive(struct harness *h, int fd, struct frame_header *ret, uint8_t *body);
/* The next frame is an Error reply with this code. */
bool raw_receives_error(struct harness *h, int fd, Dilos__ErrorCode code);
bool raw_receives_end(struct harness *h, int fd);

#endif
