/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translations that must be forgotten, collected and flushed together. Only clearing A or D, or
 * taking rights or a page away, needs a flush; evicting an unused clean page needs none.
 */
#ifndef DILOS_UNIKERNEL_FAR_TLB_BATCH_H
#define DILOS_UNIKERNEL_FAR_TLB_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/frame_table.h"

#define TLB_BATCH_MAX 512
/* Above this many pages one full flush is cheaper than one by one (2.1 against 0.13 us a page in
 * the emulator, and refills afterwards). */
#define TLB_PAGES_MAX 32

/* The translation of `va` is to be forgotten at the next flush. A full batch flushes itself. */
void tlb_batch_add(uint64_t va);
/* The same; from now until that flush frame_is_flushed() is false. */
void tlb_batch_add_frame(struct frame *frame);
void tlb_batch_flush(void);
/* With A = 0 in its entry: can no CPU have the translation of this frame's page cached? */
bool frame_is_flushed(const struct frame *frame);
/* For a page that was not mapped until now: nothing is cached. */
uint32_t tlb_batch_epoch_before(void);

#endif
