/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving far memory back.
 *
 * Order: a discard is submitted when no request for its pages is in flight (fetch_settle), and a
 * page of a range that is being discarded is not written before the discard has ended
 * (discard_covers). It needs no order against reads: a page is read only after it was written
 * again. So neither can overtake the other, whatever order the device works in.
 *
 * A range is noted before its pages can be touched again: both are done under the kernel lock.
 */
#ifndef DILOS_UNIKERNEL_FAR_DISCARD_H
#define DILOS_UNIKERNEL_FAR_DISCARD_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/io.h"

#define DISCARDS_IN_FLIGHT_MAX 32
#define DISCARD_ATTEMPTS_MAX   3

void discard_init(void);

/* Collects neighbouring pages of one operation. Zero-initialised by the caller. */
struct discard_run {
    uint64_t va;
    uint64_t page_count;
};

/* Adds a page; ascending order merges. May wait for room. Kernel lock held. */
void discard_add(struct discard_run *run, uint64_t va);
/* Submits what is left and empties the run. Kernel lock held. */
void discard_end(struct discard_run *run);

/* Is a discard of any of these pages in flight? Any context. */
bool discard_covers(uint64_t va, uint64_t page_count);

/* Called by io_poll(). A discard that keeps failing is given up: the far page stays taken. */
void discard_done(const struct io_request *request);

#endif
