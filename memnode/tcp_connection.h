/* SPDX-License-Identifier: Apache-2.0 */
/* One client's connection to the TCP export: requests in, replies out. On the export's thread. */
#ifndef DILOS_MEMNODE_TCP_CONNECTION_H
#define DILOS_MEMNODE_TCP_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/list.h"
#include "lib/wire/pageop.h"
#include "memnode/bindings.h"
#include "memnode/export.h"
#include "memnode/worker.h"

#define CONNECTION_INPUT_BYTES   4096u
#define CONNECTION_REPLIES_MAX   256u /* not sent yet; then no more requests are read */
#define CONNECTION_DISCARD_BYTES 65536u

struct connection_reply {
    uint8_t header[PAGEOP_REPLY_BYTES];
    const uint8_t *data; /* in slab memory, or the bounce */
    uint32_t length;
    uint32_t slab;
};

struct connection {
    struct worker_source source;
    struct list node;
    struct worker *worker;
    const struct export_context *context;
    uint8_t *discard; /* CONNECTION_DISCARD_BYTES that nobody reads */
    int fd;           /* -1: closed, waits to be freed */
    uint32_t events;
    uint64_t opened_ns;
    bool greeted;
    struct bindings bindings;

    uint8_t input[CONNECTION_INPUT_BYTES]; /* headers not parsed yet */
    uint32_t input_start;
    uint32_t input_end;

    /* The data of the WRITE that is arriving. */
    uint32_t write_left;
    uint8_t *write_to; /* NULL: the write was refused, its data is dropped */
    uint32_t write_slab;
    struct pageop_reply write_reply;

    struct connection_reply replies[CONNECTION_REPLIES_MAX]; /* a ring */
    uint32_t reply_head;
    uint32_t reply_count;
    size_t head_sent;
    uint8_t *bounce; /* what is left of the first reply, when its slab was revoked */
};

/* Takes the socket over, also on failure. Errors: -ENOMEM and those of worker_add. */
int connection_open(struct worker *worker, const struct export_context *context, int fd,
                    uint8_t *discard, struct connection **ret) MUST_CHECK;
/* Closes the socket; `reason` (may be NULL) is a counter. connection_free follows after the batch.
 */
void connection_shut(struct connection *connection, atomic_uint_fast64_t *reason);
void connection_free(struct connection *connection);
/* No request touches the slab any more when this returns. */
void connection_revoke(struct connection *connection, uint32_t slab);

#endif
