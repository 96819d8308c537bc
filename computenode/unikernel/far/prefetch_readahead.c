/* SPDX-License-Identifier: Apache-2.0 */
/* Reads upwards: the page before the one that faulted was one of the last to fault. */
#include "computenode/unikernel/far/prefetch.h"

#include "lib/base/compiler.h"

static int64_t stride(const struct pager_thread *t)
{
    uint64_t before = t->fault_va[prefetch_place(t, 0)] - PAGE_BYTES;
    for (uint32_t i = 1; i < PAGER_HISTORY; i++) {
        if (t->fault_va[prefetch_place(t, i)] == before) {
            return 1;
        }
    }
    return 0;
}

const struct prefetcher prefetch_readahead = {"readahead", stride};
