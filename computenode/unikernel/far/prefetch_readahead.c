/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages after the one that faulted. The window follows success: two more than the pages of the
 * last window that were used (their A bit), up to PREFETCH_MAX; a lone miss asks for none.
 */
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/prefetch.h"

static struct {
    uint64_t va[PREFETCH_MAX]; /* the last window */
    uint32_t count;
    uint64_t last_fault;
} history;

static void reset(void)
{
    history.count = 0;
    history.last_fault = 0;
}

static uint32_t count_hits(void)
{
    uint32_t hits = 0;
    for (uint32_t i = 0; i < history.count; i++) {
        pte_t *pte = pt_find(history.va[i]);
        uint64_t entry = pte == NULL ? 0 : pte_load(pte);
        hits += (entry & PTE_P) != 0 && (entry & PTE_A) != 0;
    }
    return hits;
}

static uint32_t observe(uint64_t va, uint64_t *ret_va)
{
    uint32_t hits = count_hits();
    bool sequential = va == history.last_fault + PAGE_BYTES;
    history.last_fault = va;
    history.count = hits > 0 || sequential ? MIN(hits + 2, PREFETCH_MAX) : 0;
    for (uint32_t i = 0; i < history.count; i++) {
        history.va[i] = va + (i + 1) * PAGE_BYTES;
        ret_va[i] = history.va[i];
    }
    return history.count;
}

const struct prefetcher prefetch_readahead = {"readahead", reset, observe};
