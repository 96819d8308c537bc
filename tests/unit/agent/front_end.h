/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plays the VMM and the guest's driver of a vhost-user block device: guest memory in a memfd, two
 * queues in it, requests over them. All of it may be broken on purpose by the test.
 */
#ifndef DILOS_TESTS_AGENT_FRONT_END_H
#define DILOS_TESTS_AGENT_FRONT_END_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/wire/vhost_user.h"
#include "lib/wire/virtio.h"

#define FRONT_QUEUES       2u
#define FRONT_QUEUE_SIZE   64u
#define FRONT_MEMORY_BYTES (8u << 20)
#define FRONT_GUEST_BASE   0x100000u         /* guest-physical address of the memory */
#define FRONT_USER_BASE    0x7f0000000000ull /* what the "VMM" calls it */
#define FRONT_DATA_OFFSET  (1u << 20)        /* the test's own memory starts here */

struct front_queue {
    struct virtq_desc *descriptors;
    struct virtq_avail *available;
    struct virtq_used *used;
    uint16_t used_seen;
    uint16_t told; /* available->idx at the last look for a kick */
    uint16_t free[FRONT_QUEUE_SIZE];
    uint16_t free_count;
    int kick_fd;
    int call_fd;
    uint32_t kicks;
    struct {
        uint64_t token;
        uint16_t taken[FRONT_QUEUE_SIZE];
        uint16_t taken_count;
    } heads[FRONT_QUEUE_SIZE];
};

struct front_end {
    int fd;
    int memory_fd;
    uint8_t *memory;
    uint64_t features;
    bool event_idx;
    struct front_queue queues[FRONT_QUEUES];
    struct virtio_blk_config config;
};

struct front_segment {
    uint32_t offset; /* in the memory */
    uint32_t bytes;
};

struct front_done {
    uint64_t token;
    uint8_t status;
    uint32_t written;
};

/* Connects, negotiates `features` (masked by what is offered) and starts the queues. */
bool front_open(struct front_end *front, const char *path, uint64_t features, uint16_t ring_start);
void front_close(struct front_end *front);

/*
 * One message and its answer. reply_length 0: an acknowledgement is asked for; reply FRONT_SILENT:
 * nothing is, and nothing read.
 */
#define FRONT_SILENT ((void *)1)
bool front_message(struct front_end *front, uint32_t request, const void *body, size_t length,
                   const int *fds, uint32_t fd_count, void *reply, size_t reply_length);

/*
 * Queues a request of header, `count` data segments and status. Returns its head, or -1 without
 * room. indirect: by a table. front_kick() makes the device see it.
 */
int front_submit(struct front_end *front, uint32_t queue, uint32_t type, uint64_t sector,
                 const struct front_segment *segments, uint32_t count, bool indirect,
                 uint64_t token);
/* Puts a chain of raw descriptors into the queue, as they are. */
void front_submit_raw(struct front_end *front, uint32_t queue, const struct virtq_desc *descriptors,
                      uint16_t count);
void front_kick(struct front_end *front, uint32_t queue);
/* Takes one answer; waits at most timeout_ms. */
bool front_wait(struct front_end *front, uint32_t queue, uint32_t timeout_ms,
                struct front_done *ret);
/* The same, without ever sleeping or asking to be told. */
bool front_spin(struct front_end *front, uint32_t queue, uint32_t timeout_ms,
                struct front_done *ret);
/* Stops the queue as GET_VRING_BASE does; returns the index, or -1. */
int front_stop(struct front_end *front, uint32_t queue);

#endif
