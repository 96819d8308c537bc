/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/tlb_batch.h"

#include "computenode/unikernel/far/internal.h"

/*
 * Epoch e ends with a flush. A frame whose A was cleared in epoch e is flushed once the epoch is
 * another. After 2^32 flushes an old number could look new: then a flush too many is made.
 */
static struct {
    uint64_t va[TLB_BATCH_MAX];
    uint32_t count;
    uint32_t epoch;
} batch;

void tlb_batch_add(uint64_t va)
{
    batch.va[batch.count++] = va;
    if (batch.count == TLB_BATCH_MAX) {
        tlb_batch_flush();
    }
}

void tlb_batch_add_frame(struct frame *frame)
{
    frame->flush_epoch = batch.epoch;
    tlb_batch_add(frame->va);
}

void tlb_batch_flush(void)
{
    if (batch.count == 0) {
        return;
    }
    if (batch.count > TLB_PAGES_MAX) {
        tlb_flush_all();
        stat_add(&pager.stats->tlb_flush_all, 1);
    } else {
        for (uint32_t i = 0; i < batch.count; i++) {
            tlb_flush_page(batch.va[i]);
        }
        stat_add(&pager.stats->tlb_flush_pages, batch.count);
    }
    batch.count = 0;
    batch.epoch++;
}

bool frame_is_flushed(const struct frame *frame)
{
    return batch.count == 0 || frame->flush_epoch != batch.epoch;
}

uint32_t tlb_batch_epoch_before(void)
{
    return batch.epoch - 1;
}
