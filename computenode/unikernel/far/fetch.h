/* SPDX-License-Identifier: Apache-2.0 */
/* Reading pages back from far memory: by demand, and ahead of need. */
#ifndef DILOS_UNIKERNEL_FAR_FETCH_H
#define DILOS_UNIKERNEL_FAR_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/io.h"
#include "computenode/unikernel/far/page.h"

/*
 * Brings in a page that was found remote; takes no lock. 0 when it is local, and also if its state
 * has changed meanwhile or memory had to be reclaimed first: the caller looks again, from the root
 * of the page tables. Errors: -EIO the page can't be read (it stays remote), else as frame_take().
 * entry_ns: when the fault began; 0: not known. Fault context.
 */
int fetch_page(pte_t *pte, uint64_t va, bool for_write, uint64_t entry_ns) MUST_CHECK;

/* Is the next fault that comes to fetch_page() on this processor, `cpu`, to be timed? */
static inline bool fetch_is_timed(const struct pager_cpu *cpu)
{
    return cpu->fault_count % GUESTSTATS_SAMPLE == 0;
}

/*
 * Starts reading those of `count` pages, `stride` pages apart, that are remote and that nobody
 * waits for; as many as free frames and the queue allow: *ret_covered of the `count` were
 * looked at. Touching `marker_va` when it has come costs a fault, which tells the prefetcher.
 * Returns how many are on their way. Never waits.
 */
uint32_t fetch_ahead(uint64_t va, int64_t stride, uint32_t count, uint64_t marker_va,
                     uint32_t *ret_covered);

/* A read ahead has completed. Called by io_poll(). */
void fetch_prefetched(const struct io_request *request);

/* Waits until no read or write of the page is in flight. The entry stays (internal.h). */
void fetch_settle(pte_t *pte);
/* The same for who does not hold the kernel lock: looks the entry up each time. Reads only. */
void fetch_settle_read(uint64_t va);

#endif
