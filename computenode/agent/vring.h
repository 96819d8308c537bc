/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of one split virtqueue (virtio 1.1, 2.6), over memory that the guest may change
 * at any moment: each field is loaded once, then checked. Owned by the data thread.
 */
#ifndef DILOS_AGENT_VRING_H
#define DILOS_AGENT_VRING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "computenode/agent/guest_memory.h"
#include "lib/base/compiler.h"
#include "lib/wire/virtio.h"

/* Segments of one chain: header, status, and VIRTIO_BLK's seg_max. */
#define VRING_CHAIN_SEGMENTS_MAX 128u
#define VRING_SIZE_MAX           1024u
/* Descriptor, indirect table, first segment. */
#define VRING_RECENT 3u

struct vring {
    uint16_t size; /* entries, a power of two; 0: not set up */
    bool event_idx;
    bool indirect;
    uint16_t available_next; /* index of the next chain to take */
    uint16_t used_next;      /* index of the next entry to give back */
    uint16_t used_told;      /* used_next when the driver was last looked at for notifying */
    const struct virtq_desc *descriptors;
    const struct virtq_avail *available;
    struct virtq_used *used;
    /*
     * Where the chain before was read from: drivers use again first what was given back last. To be
     * prefetched, nothing else: all of it may be stale.
     */
    const void *recent[VRING_RECENT];
};

/* A request as the driver queued it. Segments are host addresses of guest memory. */
struct vring_chain {
    uint16_t head;
    uint32_t out_count; /* the device reads those: segments[0..out_count) */
    uint32_t in_count;  /* the device writes those: segments[out_count..out_count + in_count) */
    struct iovec segments[VRING_CHAIN_SEGMENTS_MAX];
};

/*
 * Points the ring at its three parts, given as addresses of the front end. size must be set.
 * Errors: -EFAULT a part is outside of guest memory or is not aligned as 2.6 asks.
 */
int vring_attach(struct vring *ring, const struct guest_memory *memory,
                 const struct vhost_user_vring_address *address) MUST_CHECK;
/* Forgets the parts; the indexes stay. */
void vring_detach(struct vring *ring);
static inline bool vring_is_attached(const struct vring *ring)
{
    return ring->used != NULL;
}

/* Whether the driver has queued something that was not taken. The ring must be attached. */
static inline bool vring_has_work(const struct vring *ring)
{
    return __atomic_load_n(&ring->available->idx, __ATOMIC_RELAXED) != ring->available_next;
}

/*
 * Takes the next chain. Returns 1 and fills `ret`, or 0 if there is none. Errors, after which the
 * ring can't be used any more: -EPROTO index, descriptor or chain that breaks 2.6; -EFAULT a buffer
 * outside of guest memory; -EMSGSIZE more segments than the device offers.
 */
int vring_take(struct vring *ring, const struct guest_memory *memory,
               struct vring_chain *ret) MUST_CHECK;

/* Gives a chain back; the driver sees it at once. written: bytes that the device wrote into it. */
void vring_give(struct vring *ring, uint16_t head, uint32_t written);

/* Whether the driver wants to be told of what was given since the last call. */
bool vring_must_notify(struct vring *ring);

/*
 * Asks the driver not to notify, while the ring is polled; or to do so. After asking for it the
 * ring must be looked at once more: returns true if there is something in it already.
 */
void vring_notifications_off(struct vring *ring);
bool vring_notifications_on(struct vring *ring);

#endif
