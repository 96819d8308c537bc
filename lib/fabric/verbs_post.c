/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs provider's data path. fabric_post only queues; a poll hands everything that is queued
 * to the device with one doorbell, reads first. Reads and writes of one queue pair complete in
 * order, so only some are signalled, and a completion stands for all before it. wr_id counts slots
 * through.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/base/check.h"
#include "lib/fabric/verbs_peer.h"

#define REAP_MAX 32

static void ring_put(struct verbs_ring *ring, uint32_t index)
{
    CHECK(ring->count < VERBS_SLOTS);
    ring->items[(ring->head + ring->count++) % VERBS_SLOTS] = (uint16_t)index;
}

static void ring_put_front(struct verbs_ring *ring, uint32_t index)
{
    CHECK(ring->count < VERBS_SLOTS);
    ring->head = (ring->head + VERBS_SLOTS - 1) % VERBS_SLOTS;
    ring->items[ring->head] = (uint16_t)index;
    ring->count++;
}

static uint32_t ring_take(struct verbs_ring *ring)
{
    CHECK(ring->count != 0);
    uint32_t index = ring->items[ring->head];
    ring->head = (ring->head + 1) % VERBS_SLOTS;
    ring->count--;
    return index;
}

static uint32_t ring_take_last(struct verbs_ring *ring)
{
    CHECK(ring->count != 0);
    return ring->items[(ring->head + --ring->count) % VERBS_SLOTS];
}

static const struct verbs_region *find_region(const struct verbs_peer *verbs,
                                              const struct iovec *segment)
{
    const uint8_t *base = segment->iov_base;
    for (uint32_t i = 0; i < verbs->region_count; i++) {
        const struct verbs_region *region = verbs->regions[i];
        if (base >= region->base && (uint64_t)(base - region->base) <= region->bytes &&
            segment->iov_len <= region->bytes - (uint64_t)(base - region->base)) {
            return region;
        }
    }
    return NULL;
}

static bool all_registered(const struct verbs_peer *verbs, const struct fabric_request *request)
{
    for (uint32_t i = 0; i < request->segment_count; i++) {
        if (find_region(verbs, &request->segments[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* ---- memory that nobody registered goes through the bounce buffer */

int verbs_slots_open(struct verbs_peer *verbs)
{
    for (uint32_t i = 0; i < VERBS_SLOTS; i++) {
        ring_put(&verbs->free, i);
    }
    void *base =
        mmap(NULL, VERBS_BOUNCE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return -ENOMEM;
    }
    int error =
        verbs_domain_register(verbs->domain, base, VERBS_BOUNCE_BYTES, &verbs->bounce_region);
    if (error != 0) {
        (void)munmap(base, VERBS_BOUNCE_BYTES);
        return error;
    }
    verbs->bounce = base;
    return 0;
}

void verbs_slots_close(struct verbs_peer *verbs)
{
    if (verbs->bounce != NULL) {
        verbs_domain_release(verbs->domain, verbs->bounce_region);
        (void)munmap(verbs->bounce, VERBS_BOUNCE_BYTES);
        verbs->bounce = NULL;
    }
}

static bool bounce_is_free(const struct verbs_peer *verbs, uint32_t first, uint32_t count)
{
    if (first + count > ARRAY_LEN(verbs->bounce_used)) {
        return false;
    }
    for (uint32_t i = first; i < first + count; i++) {
        if (verbs->bounce_used[i]) {
            return false;
        }
    }
    return true;
}

static int bounce_take(struct verbs_peer *verbs, uint32_t bytes, uint32_t *ret_first)
{
    uint32_t page_count = ARRAY_LEN(verbs->bounce_used);
    uint32_t count = (uint32_t)(ALIGN_UP(bytes, PAGE_BYTES) / PAGE_BYTES);
    for (uint32_t i = 0; i < page_count; i++) {
        uint32_t first = (verbs->bounce_next + i) % page_count;
        if (bounce_is_free(verbs, first, count)) {
            memset(&verbs->bounce_used[first], true, count);
            verbs->bounce_next = (first + count) % page_count;
            *ret_first = first;
            return 0;
        }
    }
    return -EAGAIN;
}

static void bounce_copy(struct verbs_peer *verbs, const struct verbs_slot *slot, bool to_segments)
{
    uint8_t *at = verbs->bounce + slot->bounce_first * PAGE_BYTES;
    for (uint32_t i = 0; i < slot->segment_count; i++) {
        const struct iovec *segment = &slot->segments[i];
        memcpy(to_segments ? segment->iov_base : at, to_segments ? at : segment->iov_base,
               segment->iov_len);
        at += segment->iov_len;
    }
}

static void bounce_release(struct verbs_peer *verbs, struct verbs_slot *slot)
{
    if (slot->bounce_first != VERBS_NO_BOUNCE) {
        uint32_t count = (uint32_t)(ALIGN_UP(slot->length, PAGE_BYTES) / PAGE_BYTES);
        memset(&verbs->bounce_used[slot->bounce_first], false, count);
        slot->bounce_first = VERBS_NO_BOUNCE;
    }
}

/* ---- posting */

int verbs_post(struct fabric_peer *peer, const struct fabric_request *request)
{
    struct verbs_peer *verbs = container_of(peer, struct verbs_peer, peer);
    if (request->write && !verbs->slabs[request->slab].writable) {
        return fabric_post_denied(peer, request->token);
    }
    if (verbs->free.count == 0) {
        return -EAGAIN;
    }
    uint32_t bounce_first = VERBS_NO_BOUNCE;
    bool is_inline = request->write && request->length <= verbs->inline_bytes &&
                     request->segment_count <= verbs->segments_max;
    if (!is_inline && !all_registered(verbs, request)) {
        int error = bounce_take(verbs, request->length, &bounce_first);
        if (error != 0) {
            return error;
        }
    }
    uint32_t index = ring_take(&verbs->free);
    struct verbs_slot *slot = &verbs->slots[index];
    slot->state = VERBS_SLOT_QUEUED;
    slot->write = request->write;
    slot->is_inline = is_inline;
    slot->slab = request->slab;
    slot->offset = request->offset;
    slot->length = request->length;
    slot->token = request->token;
    slot->tries = 0;
    slot->bounce_first = bounce_first;
    slot->segment_count = request->segment_count;
    memcpy(slot->segments, request->segments, request->segment_count * sizeof(struct iovec));
    if (bounce_first != VERBS_NO_BOUNCE && request->write) {
        bounce_copy(verbs, slot, false);
    }
    slot->send_count =
        bounce_first != VERBS_NO_BOUNCE
            ? 1
            : (request->segment_count + verbs->segments_max - 1) / verbs->segments_max;
    ring_put(request->write ? &verbs->writes : &verbs->reads, index);
    return 0;
}

/* The work requests of one doorbell. */
struct chain {
    struct ibv_send_wr sends[VERBS_CHAIN_MAX];
    struct ibv_sge segments[VERBS_CHAIN_MAX][VERBS_SEGMENTS_MAX];
    uint32_t count;
    struct ibv_send_wr *last_of_slot;
};

static uint32_t fill_segments(const struct verbs_peer *verbs, const struct verbs_slot *slot,
                              uint32_t first, struct ibv_sge *segments, uint32_t *ret_bytes)
{
    uint32_t count = MIN(slot->segment_count - first, verbs->segments_max);
    uint32_t bytes = 0;
    if (slot->bounce_first != VERBS_NO_BOUNCE) {
        segments[0] =
            (struct ibv_sge){.addr = (uintptr_t)(verbs->bounce + slot->bounce_first * PAGE_BYTES),
                             .length = slot->length,
                             .lkey = verbs->bounce_region->mr->lkey};
        *ret_bytes = slot->length;
        return 1;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct iovec *from = &slot->segments[first + i];
        const struct verbs_region *region = slot->is_inline ? NULL : find_region(verbs, from);
        CHECK(slot->is_inline || region != NULL);
        segments[i] = (struct ibv_sge){.addr = (uintptr_t)from->iov_base,
                                       .length = (uint32_t)from->iov_len,
                                       .lkey = region == NULL ? 0 : region->mr->lkey};
        bytes += (uint32_t)from->iov_len;
    }
    *ret_bytes = bytes;
    return count;
}

static void chain_add(struct verbs_peer *verbs, struct chain *chain, const struct verbs_slot *slot,
                      uint64_t number)
{
    const struct verbs_slab *slab = &verbs->slabs[slot->slab];
    uint64_t address = slab->address + slot->offset;
    for (uint32_t i = 0; i < slot->send_count; i++) {
        struct ibv_send_wr *send = &chain->sends[chain->count];
        uint32_t bytes;
        uint32_t count = fill_segments(verbs, slot, i * verbs->segments_max,
                                       chain->segments[chain->count], &bytes);
        *send = (struct ibv_send_wr){
            .wr_id = number,
            .sg_list = chain->segments[chain->count],
            .num_sge = (int)count,
            .opcode = slot->write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
            .send_flags = slot->is_inline ? IBV_SEND_INLINE : 0,
            .wr.rdma = {.remote_addr = address, .rkey = slab->remote_key},
        };
        if (chain->count != 0) {
            chain->sends[chain->count - 1].next = send;
        }
        chain->count++;
        address += bytes;
        chain->last_of_slot = send;
    }
}

static bool may_send(const struct verbs_peer *verbs, const struct chain *chain,
                     const struct verbs_slot *slot)
{
    return chain->count + slot->send_count <= VERBS_CHAIN_MAX &&
           verbs->send_count + slot->send_count <= verbs->send_max &&
           (!slot->write || verbs->write_bytes == 0 ||
            verbs->write_bytes + slot->length <= VERBS_WRITE_BYTES_MAX);
}

static void send_slot(struct verbs_peer *verbs, struct chain *chain, struct verbs_ring *from)
{
    uint32_t index = ring_take(from);
    struct verbs_slot *slot = &verbs->slots[index];
    chain_add(verbs, chain, slot, verbs->posted_first + verbs->posted.count);
    slot->state = VERBS_SLOT_POSTED;
    verbs->send_count += slot->send_count;
    verbs->write_bytes += slot->write ? slot->length : 0;
    ring_put(&verbs->posted, index);
    if (++verbs->unsignalled == VERBS_SIGNAL_EVERY) {
        chain->last_of_slot->send_flags |= IBV_SEND_SIGNALED;
        verbs->unsignalled = 0;
    }
}

/* The first of the ring may be sent. */
static bool is_ready(const struct verbs_peer *verbs, const struct chain *chain,
                     const struct verbs_ring *ring)
{
    if (ring->count == 0) {
        return false;
    }
    const struct verbs_slot *slot = &verbs->slots[ring->items[ring->head]];
    return verbs->slabs[slot->slab].bound && may_send(verbs, chain, slot);
}

int verbs_flush(struct verbs_peer *verbs)
{
    struct ibv_send_wr *bad = NULL;
    struct chain chain;
    chain.count = 0;
    chain.last_of_slot = NULL;
    while (is_ready(verbs, &chain, &verbs->reads)) {
        send_slot(verbs, &chain, &verbs->reads);
    }
    while (is_ready(verbs, &chain, &verbs->writes)) {
        send_slot(verbs, &chain, &verbs->writes);
    }
    if (chain.count == 0) {
        return 0;
    }
    /* Nothing may stay behind without a completion that stands for it. */
    chain.last_of_slot->send_flags |= IBV_SEND_SIGNALED;
    verbs->unsignalled = 0;
    return ibv_post_send(verbs->queue, chain.sends, &bad) == 0 ? 0 : -EIO;
}

/* ---- completions */

static void slot_done(struct verbs_peer *verbs, uint32_t index, int status)
{
    struct verbs_slot *slot = &verbs->slots[index];
    if (status == 0 && !slot->write && slot->bounce_first != VERBS_NO_BOUNCE) {
        bounce_copy(verbs, slot, true);
    }
    if (status == 0) {
        verbs->peer.counters.bytes_read += slot->write ? 0 : slot->length;
        verbs->peer.counters.bytes_written += slot->write ? slot->length : 0;
    }
    bounce_release(verbs, slot);
    slot->state = VERBS_SLOT_DONE;
    slot->status = status;
    ring_put(&verbs->done, index);
}

static uint32_t posted_take(struct verbs_peer *verbs)
{
    uint32_t index = ring_take(&verbs->posted);
    const struct verbs_slot *slot = &verbs->slots[index];
    verbs->posted_first++;
    verbs->send_count -= slot->send_count;
    verbs->write_bytes -= slot->write ? slot->length : 0;
    return index;
}

/* A status that says something about the request, and not about the way there. */
static int final_status(enum ibv_wc_status status)
{
    switch (status) {
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
        return -EACCES;
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_LOC_PROT_ERR:
        return -EIO;
    default: /* retries exceeded, flushed, fatal, no way out of the port: tried again */
        return 0;
    }
}

/* All before it were done; the failed one too, if trying again can't help. */
static void take_error(struct verbs_peer *verbs, const struct ibv_wc *wc)
{
    while (verbs->posted.count != 0 && verbs->posted_first < wc->wr_id) {
        slot_done(verbs, posted_take(verbs), 0);
    }
    int status = final_status(wc->status);
    if (status != 0 && verbs->posted.count != 0 && verbs->posted_first == wc->wr_id) {
        slot_done(verbs, posted_take(verbs), status);
    }
}

int verbs_reap(struct verbs_peer *verbs)
{
    struct ibv_wc completions[REAP_MAX];
    int count = REAP_MAX;
    while (count == REAP_MAX) {
        count = ibv_poll_cq(verbs->cq, REAP_MAX, completions);
        for (int i = 0; i < count; i++) {
            const struct ibv_wc *wc = &completions[i];
            if (wc->status != IBV_WC_SUCCESS) {
                take_error(verbs, wc);
                return -EIO;
            }
            while (verbs->posted.count != 0 && verbs->posted_first <= wc->wr_id) {
                slot_done(verbs, posted_take(verbs), 0);
            }
        }
    }
    return count < 0 ? -EIO : 0;
}

bool verbs_requeue(struct verbs_peer *verbs)
{
    bool hopeful = true;
    while (verbs->posted.count != 0) {
        uint32_t index = ring_take_last(&verbs->posted);
        struct verbs_slot *slot = &verbs->slots[index];
        hopeful = hopeful && ++slot->tries < VERBS_TRIES_MAX;
        slot->state = VERBS_SLOT_QUEUED;
        ring_put_front(slot->write ? &verbs->writes : &verbs->reads, index);
    }
    verbs->send_count = 0;
    verbs->write_bytes = 0;
    verbs->unsignalled = 0;
    verbs->posted_first = 0;
    return hopeful;
}

static void fail_ring(struct verbs_peer *verbs, struct verbs_ring *ring, int status)
{
    while (ring->count != 0) {
        slot_done(verbs, ring_take(ring), status);
    }
}

void verbs_fail_all(struct verbs_peer *verbs, int status)
{
    CHECK(verbs->queue == NULL);
    fail_ring(verbs, &verbs->posted, status);
    fail_ring(verbs, &verbs->reads, status);
    fail_ring(verbs, &verbs->writes, status);
}

static void fail_revoked(struct verbs_peer *verbs, struct verbs_ring *ring)
{
    for (uint32_t left = ring->count; left != 0; left--) {
        uint32_t index = ring_take(ring);
        uint32_t slab = verbs->slots[index].slab;
        if (fabric_slabs_get(&verbs->peer.slabs, slab)->state == FABRIC_SLAB_REVOKED) {
            slot_done(verbs, index, -EACCES);
        } else {
            ring_put(ring, index);
        }
    }
}

void verbs_fail_revoked(struct verbs_peer *verbs)
{
    fail_revoked(verbs, &verbs->reads);
    fail_revoked(verbs, &verbs->writes);
}

void verbs_emit(struct verbs_peer *verbs, struct fabric_sink *sink)
{
    while (verbs->done.count != 0 && !fabric_sink_full(sink)) {
        uint32_t index = ring_take(&verbs->done);
        struct verbs_slot *slot = &verbs->slots[index];
        fabric_sink_put(sink, slot->token, slot->status);
        slot->state = VERBS_SLOT_FREE;
        ring_put(&verbs->free, index);
    }
}
