/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the verbs provider: fabric_verbs.c connects and attaches, verbs_post.c moves pages. */
#ifndef DILOS_LIB_FABRIC_VERBS_PEER_H
#define DILOS_LIB_FABRIC_VERBS_PEER_H

#include "lib/fabric/provider.h"
#include "lib/fabric/verbs_domain.h"

#define VERBS_SLOTS        256u
#define VERBS_SEND_COUNT   512u /* work requests that a queue pair holds */
#define VERBS_CHAIN_MAX    64u  /* work requests in one doorbell */
#define VERBS_SEGMENTS_MAX 16u  /* of one work request */
#define VERBS_INLINE_BYTES 256u /* of a write that is copied into its work request */
#define VERBS_SIGNAL_EVERY 8u   /* slots */
#define VERBS_TRIES_MAX    3u   /* of one request, each on a new queue pair */
#define VERBS_BOUNCE_BYTES (2u << 20)
/* Writes under way at a time: a demand read that comes behind them waits for no more than this. */
#define VERBS_WRITE_BYTES_MAX (128u << 10)
#define VERBS_REBUILD_MS      5000u
#define VERBS_NO_BOUNCE       UINT32_MAX

enum verbs_slot_state {
    VERBS_SLOT_FREE,
    VERBS_SLOT_QUEUED, /* waits for the queue pair */
    VERBS_SLOT_POSTED, /* the device has it */
    VERBS_SLOT_DONE,   /* has its status, waits to be polled */
};

struct verbs_slot {
    enum verbs_slot_state state;
    bool write;
    bool is_inline;
    uint32_t slab;
    uint64_t offset;
    uint32_t length;
    uint64_t token;
    int status;
    uint32_t tries;
    uint32_t send_count;   /* work requests */
    uint32_t bounce_first; /* page of the bounce buffer, or VERBS_NO_BOUNCE */
    uint32_t segment_count;
    struct iovec segments[FABRIC_SEGMENTS_MAX];
};

/* A ring of slot numbers; none is in two places of one ring. */
struct verbs_ring {
    uint16_t items[VERBS_SLOTS];
    uint32_t head;
    uint32_t count;
};

/* What the provider keeps of each attached slab, by its index. */
struct verbs_slab {
    uint32_t sequence; /* of its ATTACH */
    bool bound;        /* the window below is the queue pair's */
    bool asked;        /* ATTACH is sent */
    bool writable;
    uint32_t remote_key;
    uint64_t address;
    struct fabric_grant grant;
};

enum verbs_queue_state {
    VERBS_QUEUE_NONE,      /* not connected yet, or dead */
    VERBS_QUEUE_ASKED,     /* QUEUE is sent, its answer has not come */
    VERBS_QUEUE_OPENING,   /* answers to the ATTACHes of an earlier queue pair are missing */
    VERBS_QUEUE_CONNECTED, /* requests are posted */
};

struct verbs_peer {
    struct fabric_peer peer;
    struct verbs_domain *domain;
    int fd; /* the control connection */
    int epoll_fd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    bool armed; /* the next completion wakes */
    bool look;  /* at the control connection, with the next poll */
    uint32_t polls;
    uint32_t looks;

    struct ibv_qp *queue;
    enum verbs_queue_state queue_state;
    uint64_t rebuild_deadline_ns;
    uint32_t segments_max;
    uint32_t inline_bytes;
    uint32_t send_max;
    uint32_t send_count;  /* work requests that the device has */
    uint32_t write_bytes; /* of writes that it has */
    uint32_t unsignalled;
    uint64_t posted_first; /* number of the first in `posted`; they are counted through */
    struct verbsop_queue local;
    struct verbsop_nonces nonces;

    struct verbs_slab *slabs;
    uint32_t slab_count;
    uint32_t sequence;
    uint32_t answers_left; /* to ATTACH */
    uint8_t input[VERBSOP_BYTES];
    uint32_t input_bytes;

    struct verbs_slot slots[VERBS_SLOTS];
    struct verbs_ring free;
    struct verbs_ring reads;  /* QUEUED */
    struct verbs_ring writes; /* QUEUED */
    struct verbs_ring posted; /* in the order in which the device works them off */
    struct verbs_ring done;

    uint32_t region_count;
    struct verbs_region *regions[VERBS_REGIONS_MAX];
    uint8_t *bounce;
    struct verbs_region *bounce_region;
    uint32_t bounce_next;
    bool bounce_used[VERBS_BOUNCE_BYTES / PAGE_BYTES];
};

/* ---- verbs_post.c */

/* Makes the slots and the bounce buffer. Errors: -ENOMEM (locked-memory limit). */
int verbs_slots_open(struct verbs_peer *verbs) MUST_CHECK;
void verbs_slots_close(struct verbs_peer *verbs);
int verbs_post(struct fabric_peer *peer, const struct fabric_request *request) MUST_CHECK;
/* Hands queued requests to the device. -EIO: the queue pair is broken. */
int verbs_flush(struct verbs_peer *verbs) MUST_CHECK;
/* Takes completions. -EIO: the queue pair is broken; what it did before is done. */
int verbs_reap(struct verbs_peer *verbs) MUST_CHECK;
/*
 * After the queue pair is destroyed: what it had is queued again, in front and in order. False:
 * something was tried too often, this device gets nothing across.
 */
bool verbs_requeue(struct verbs_peer *verbs);
/* Everything that is not done fails with `status`. The queue pair is destroyed. */
void verbs_fail_all(struct verbs_peer *verbs, int status);
/* Queued requests of slabs that were taken back fail with -EACCES. */
void verbs_fail_revoked(struct verbs_peer *verbs);
void verbs_emit(struct verbs_peer *verbs, struct fabric_sink *sink);

#endif
