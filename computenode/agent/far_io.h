/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out block requests on far memory: splits them by slab and by what holds data, moves bytes
 * between guest frames and the fabric, waits for slabs when something is written for the first
 * time. A request is answered exactly once. Owned by the data thread; nothing blocks.
 *
 * What is never written, or was discarded, reads as zeros without I/O. A page is marked as holding
 * data when its write is posted; if that write fails the whole slab is lost and every later read of
 * it fails: garbage is never handed out.
 */
#ifndef DILOS_AGENT_FAR_IO_H
#define DILOS_AGENT_FAR_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/far_request.h"
#include "computenode/agent/slab_pool.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

/* Operations of the fabrics in flight, of all requests. */
#define FAR_PIECES_MAX 2048u
/* Pages whose unwritten rest is being zeroed by their first, partial write. */
#define FAR_EXCLUSIVE_MAX 64u

struct far_counters {
    uint64_t reads, writes, discards;   /* requests */
    uint64_t bytes_read, bytes_written; /* asked for by the guest */
    uint64_t bytes_zero;                /* of those read, never written: no I/O */
    uint64_t bytes_discarded;
    uint64_t failed;     /* requests */
    uint64_t no_space;   /* of those, for want of far memory */
    uint64_t slab_waits; /* writes that had to wait for a slab */
    uint64_t repeats;    /* completions of operations that had completed before: ignored */
};

struct far_io_callbacks {
    void (*done)(void *context, struct far_request *request);
    /* The first time that data is lost; `text` names the memory node. */
    void (*lost)(void *context, const char *text);
    void *done_context;
    void *lost_context;
};

struct far_io;

/* Errors: those of slab_pool_init, -ENOMEM. */
int far_io_open(const struct slab_pool_config *config, const struct guest_memory *memory,
                const struct far_io_callbacks *callbacks, struct far_io **ret) MUST_CHECK;
/* Forgets what is in flight: the memory that it names may go after this. */
struct far_io *far_io_close(struct far_io *io);

/* The request's blk, queue and head are set; it stays valid until `done`, which may come at once.*/
void far_io_submit(struct far_io *io, struct far_request *request);
/* Takes completions and goes on with what waits. Returns how many things happened. */
uint32_t far_io_poll(struct far_io *io);
/* Before a far_io_poll and a sleep: what completes from now on wakes (fabric_arm). */
void far_io_arm(struct far_io *io);
/* Requests that are not answered. */
uint32_t far_io_pending(const struct far_io *io);
/* Of those, the operations that a fabric still works on. */
uint32_t far_io_in_flight(const struct far_io *io);
/* Fails all that waits for a slab or for room (the device is being reset). */
void far_io_fail_waiting(struct far_io *io);

/* How many slabs to ask for now; a number above 0 must be followed by one of the next two. */
uint32_t far_io_ask(struct far_io *io);
void far_io_grant(struct far_io *io, const struct slab_grant *grants, uint32_t count);
/*
 * The controller has none: what waits fails with VIRTIO_BLK_S_NOSPC, and what comes too, until a
 * slab comes free here or is granted. far_io_ask goes on to ask for one after each such failure.
 */
void far_io_refuse(struct far_io *io);
/* The limit of what is asked for; a refusal under the old one says nothing any more. */
void far_io_set_far(struct far_io *io, uint64_t far_bytes);

const struct far_counters *far_io_counters(const struct far_io *io);
struct slab_pool *far_io_pool(struct far_io *io);

#endif
