/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/tlb_batch.h"

#include "computenode/unikernel/far/internal.h"

/*
 * Epoch e of a processor's batch ends with a flush. A frame whose A was cleared in epoch e of that
 * processor is flushed once the epoch is another. After 2^32 flushes an old number could look new:
 * then a flush too many is made. The epoch moves on only after every processor has answered.
 */
static struct batch {
    uint64_t va[TLB_PAGES_MAX]; /* of the first; beyond, all is flushed */
    uint32_t count;
    _Atomic uint32_t epoch;
} __attribute__((aligned(64))) batches[CPU_COUNT_MAX];

static _Atomic uint32_t batch_max = TLB_BATCH_MAX;

static struct batch *batch_here(void)
{
    return &batches[cpu_index()];
}

void tlb_batch_limit(uint64_t frame_count)
{
    batch_max = (uint32_t)MIN(MAX(frame_count / (4ull * cpu_count()), 8), TLB_BATCH_MAX);
}

void tlb_batch_init(void)
{
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        batches[i].count = 0;
        atomic_store(&batches[i].epoch, 0);
    }
}

static void add(struct batch *b, uint64_t va)
{
    if (b->count < TLB_PAGES_MAX) {
        b->va[b->count] = va;
    }
    if (++b->count >= batch_max) {
        tlb_batch_flush();
    }
}

void tlb_batch_add(uint64_t va)
{
    add(batch_here(), va);
}

HOT void tlb_batch_add_frame(struct frame *frame, uint64_t va)
{
    uint32_t cpu = cpu_index();
    struct batch *b = &batches[cpu];
    frame->flush_cpu = (uint8_t)cpu;
    frame->flush_epoch = atomic_load_explicit(&b->epoch, memory_order_relaxed);
    add(b, va);
}

HOT void tlb_batch_flush(void)
{
    struct batch *b = batch_here();
    if (b->count == 0) {
        return;
    }
    if (b->count > TLB_PAGES_MAX) {
        tlb_flush_all();
        stat_add(&stats_here()->tlb_flush_all, 1);
    } else {
        tlb_flush_pages(b->va, b->count);
        stat_add(&stats_here()->tlb_flush_pages, b->count);
    }
    b->count = 0;
    atomic_fetch_add_explicit(&b->epoch, 1, memory_order_release);
}

HOT bool frame_is_flushed(const struct frame *frame)
{
    return atomic_load_explicit(&batches[frame->flush_cpu].epoch, memory_order_acquire) !=
           frame->flush_epoch;
}

HOT void tlb_batch_mark_flushed(struct frame *frame)
{
    uint32_t cpu = cpu_index();
    frame->flush_cpu = (uint8_t)cpu;
    frame->flush_epoch = atomic_load_explicit(&batches[cpu].epoch, memory_order_relaxed) - 1;
}
