/* SPDX-License-Identifier: Apache-2.0 */
/* One client's connection to the TCP export: requests in, replies out. On the export's thread. */
#ifndef DILOS_MEMNODE_TCP_CONNECTION_H
#define DILOS_MEMNODE_TCP_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/list.h"
#include "lib/wire/pageop.h"
#include "memnode/bindings.h"
#include "memnode/export.h"
#include "memnode/worker.h"

#define TCP_CONNECTION_INPUT_BYTES   4096u
#define TCP_CONNECTION_REPLIES_MAX   256u /* not sent yet; then no more requests are read */
#define TCP_CONNECTION_DISCARD_BYTES 65536u

struct tcp_reply {
    uint8_t header[PAGEOP_REPLY_BYTES];
    const uint8_t *data; /* in slab memory, or the bounce */
    uint32_t length;
    uint32_t slab;
};

/* The latest client connection that attached a slab, under its latest grant. */
struct tcp_fence {
    uint64_t generation;
    uint32_t incarnation;
};

/* What the connections of one export share. */
struct tcp_group {
    struct list connections;
    bool closed;                                   /* one of them was, and waits to be freed */
    struct tcp_fence *fences;                      /* by slab */
    uint8_t discard[TCP_CONNECTION_DISCARD_BYTES]; /* that nobody reads */
};

struct tcp_connection {
    struct worker_source source;
    struct list node;
    struct worker *worker;
    const struct export_context *context;
    struct tcp_group *group;
    int fd; /* -1: closed, waits to be freed */
    uint32_t events;
    uint64_t opened_ns;
    struct sockaddr_storage host; /* its owner's; the port is of no interest */
    bool greeted;
    bool drained; /* the last receive took all that there was */
    struct bindings bindings;
    char instance[GRANTS_INSTANCE_BYTES]; /* of the last slab that it attached */

    uint8_t input[TCP_CONNECTION_INPUT_BYTES]; /* headers not parsed yet */
    uint32_t input_start;
    uint32_t input_end;

    /* The data of the WRITE that is arriving. */
    uint32_t write_left;
    uint8_t *write_to; /* NULL: the write was refused, its data is dropped */
    uint32_t write_slab;
    struct pageop_reply write_reply;

    struct tcp_reply replies[TCP_CONNECTION_REPLIES_MAX]; /* a ring */
    uint32_t reply_head;
    uint32_t reply_count;
    size_t head_sent;
    uint8_t *bounce; /* what is left of the first reply, when its slab was revoked */
};

/*
 * Takes the socket over, also on failure, and joins the group until tcp_connection_free. Errors:
 * -ENOMEM and those of worker_add.
 */
int tcp_connection_open(struct worker *worker, const struct export_context *context, int fd,
                        struct tcp_group *group, struct tcp_connection **ret) MUST_CHECK;
/* Closes the socket; `reason` (may be NULL) is a counter. tcp_connection_free follows after the
 * batch.
 */
void tcp_connection_shut(struct tcp_connection *connection, atomic_uint_fast64_t *reason);
void tcp_connection_free(struct tcp_connection *connection);
/* No request touches the slab any more when this returns. */
void tcp_connection_revoke(struct tcp_connection *connection, uint32_t slab);

#endif
