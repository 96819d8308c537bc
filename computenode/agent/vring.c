/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/vring.h"

#include <errno.h>

#include "lib/base/check.h"

/* The ring's trailing fields with VIRTIO_F_EVENT_IDX (2.6.7, 2.6.8). */
static const uint16_t *used_event(const struct vring *ring)
{
    return &ring->available->ring[ring->size];
}

static uint16_t *avail_event(struct vring *ring)
{
    return (uint16_t *)(void *)&ring->used->ring[ring->size];
}

static uint16_t load16(const uint16_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}

int vring_attach(struct vring *ring, const struct guest_memory *memory,
                 const struct vhost_user_vring_address *address)
{
    CHECK(ring->size != 0);
    void *descriptors =
        guest_memory_by_user(memory, address->descriptors, virtq_desc_bytes(ring->size));
    void *available =
        guest_memory_by_user(memory, address->available, virtq_avail_bytes(ring->size));
    void *used = guest_memory_by_user(memory, address->used, virtq_used_bytes(ring->size));
    if (descriptors == NULL || available == NULL || used == NULL ||
        !IS_ALIGNED((uintptr_t)descriptors, VIRTQ_DESC_ALIGN) ||
        !IS_ALIGNED((uintptr_t)available, VIRTQ_AVAIL_ALIGN) ||
        !IS_ALIGNED((uintptr_t)used, VIRTQ_USED_ALIGN)) {
        return -EFAULT;
    }
    ring->descriptors = descriptors;
    ring->available = available;
    ring->used = used;
    /* The driver may have used the ring before: what was given lies in the ring itself. */
    ring->used_next = load16(&ring->used->idx);
    ring->used_told = ring->used_next;
    return 0;
}

void vring_detach(struct vring *ring)
{
    ring->descriptors = NULL;
    ring->available = NULL;
    ring->used = NULL;
}

/* One copy of a descriptor: what is checked is what is used. */
static struct virtq_desc descriptor_load(const struct virtq_desc *from)
{
    return (struct virtq_desc){
        .addr = __atomic_load_n(&from->addr, __ATOMIC_RELAXED),
        .len = __atomic_load_n(&from->len, __ATOMIC_RELAXED),
        .flags = __atomic_load_n(&from->flags, __ATOMIC_RELAXED),
        .next = __atomic_load_n(&from->next, __ATOMIC_RELAXED),
    };
}

static int chain_add(struct vring_chain *chain, const struct guest_memory *memory,
                     const struct virtq_desc *descriptor)
{
    bool writes = (descriptor->flags & VIRTQ_DESC_F_WRITE) != 0;
    uint32_t at = chain->out_count + chain->in_count;
    if (at == VRING_CHAIN_SEGMENTS_MAX) {
        return -EMSGSIZE;
    }
    if (descriptor->len == 0 || (!writes && chain->in_count != 0)) {
        return -EPROTO; /* 2.6.4.2: what the device reads comes first */
    }
    void *host = guest_memory_at(memory, descriptor->addr, descriptor->len);
    if (host == NULL) {
        return -EFAULT;
    }
    chain->segments[at] = (struct iovec){.iov_base = host, .iov_len = descriptor->len};
    chain->out_count += writes ? 0 : 1;
    chain->in_count += writes ? 1 : 0;
    return 0;
}

/* Follows a chain through a table of `count` descriptors, at most `count` steps. */
static int chain_walk(struct vring_chain *chain, const struct guest_memory *memory,
                      const struct virtq_desc *table, uint32_t count, uint16_t first,
                      struct virtq_desc *ret_indirect)
{
    uint32_t at = first;
    for (uint32_t steps = 0; steps < count; steps++) {
        if (at >= count) {
            return -EPROTO;
        }
        struct virtq_desc descriptor = descriptor_load(&table[at]);
        if ((descriptor.flags & VIRTQ_DESC_F_INDIRECT) != 0) {
            /* 2.6.5.3.1: no table within a table, none that goes on. */
            if (ret_indirect == NULL || (descriptor.flags & VIRTQ_DESC_F_NEXT) != 0) {
                return -EPROTO;
            }
            *ret_indirect = descriptor;
            return 1;
        }
        int r = chain_add(chain, memory, &descriptor);
        if (r < 0) {
            return r;
        }
        if ((descriptor.flags & VIRTQ_DESC_F_NEXT) == 0) {
            return 0;
        }
        at = descriptor.next;
    }
    return -EPROTO; /* a loop */
}

static int chain_walk_indirect(struct vring_chain *chain, const struct guest_memory *memory,
                               const struct virtq_desc *indirect, const void **ret_table)
{
    uint32_t count = indirect->len / (uint32_t)sizeof(struct virtq_desc);
    if (count == 0 || indirect->len % sizeof(struct virtq_desc) != 0) {
        return -EPROTO;
    }
    const struct virtq_desc *table = guest_memory_at(memory, indirect->addr, indirect->len);
    *ret_table = table;
    if (table == NULL || !IS_ALIGNED((uintptr_t)table, _Alignof(struct virtq_desc))) {
        return -EFAULT;
    }
    /* More entries than segments may exist, but not in one chain. */
    return chain_walk(chain, memory, table, count, 0, NULL);
}

/* The lines come from the driver's processor, one after the other if each is waited for. */
static void fetch_recent(const struct vring *ring)
{
    for (uint32_t i = 0; i < VRING_RECENT; i++) {
        __builtin_prefetch(ring->recent[i]);
    }
}

int vring_take(struct vring *ring, const struct guest_memory *memory, struct vring_chain *ret)
{
    CHECK(vring_is_attached(ring));
    /* Acquire: the driver wrote descriptors and ring entry before the index. */
    uint16_t index = __atomic_load_n(&ring->available->idx, __ATOMIC_ACQUIRE);
    uint16_t waiting = (uint16_t)(index - ring->available_next);
    if (waiting == 0) {
        return 0;
    }
    if (waiting > ring->size) {
        return -EPROTO;
    }
    fetch_recent(ring);
    uint16_t head = load16(&ring->available->ring[ring->available_next % ring->size]);
    if (head >= ring->size) {
        return -EPROTO;
    }
    ret->head = head;
    ret->out_count = 0;
    ret->in_count = 0;
    struct virtq_desc indirect;
    const void *table = NULL;
    int r = chain_walk(ret, memory, ring->descriptors, ring->size, head,
                       ring->indirect ? &indirect : NULL);
    if (r > 0) {
        r = chain_walk_indirect(ret, memory, &indirect, &table);
    }
    if (r < 0) {
        return r;
    }
    ring->available_next++;
    ring->recent[0] = &ring->descriptors[head];
    ring->recent[1] = table;
    ring->recent[2] = ret->segments[0].iov_base;
    return 1;
}

void vring_give(struct vring *ring, uint16_t head, uint32_t written)
{
    CHECK(vring_is_attached(ring));
    struct virtq_used_elem *element = &ring->used->ring[ring->used_next % ring->size];
    __atomic_store_n(&element->id, head, __ATOMIC_RELAXED);
    __atomic_store_n(&element->len, written, __ATOMIC_RELAXED);
    ring->used_next++;
    /* Release: data, status and element are there before the index says so. */
    __atomic_store_n(&ring->used->idx, ring->used_next, __ATOMIC_RELEASE);
}

bool vring_must_notify(struct vring *ring)
{
    uint16_t before = ring->used_told;
    if (before == ring->used_next) {
        return false;
    }
    ring->used_told = ring->used_next;
    /* The index must be visible before the driver's wish is read, else both could sleep. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->event_idx) {
        return virtq_need_event(load16(used_event(ring)), ring->used_next, before) != 0;
    }
    return (load16(&ring->available->flags) & VIRTQ_AVAIL_F_NO_INTERRUPT) == 0;
}

void vring_notifications_off(struct vring *ring)
{
    /* With EVENT_IDX the old event index stays behind: the driver kicks once at most. */
    if (!ring->event_idx) {
        __atomic_store_n(&ring->used->flags, (uint16_t)VIRTQ_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
    }
}

bool vring_notifications_on(struct vring *ring)
{
    if (ring->event_idx) {
        __atomic_store_n(avail_event(ring), ring->available_next, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&ring->used->flags, (uint16_t)0, __ATOMIC_RELAXED);
    }
    /* The wish must be visible before the index is read, else both could sleep. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(&ring->available->idx, __ATOMIC_ACQUIRE) != ring->available_next;
}
