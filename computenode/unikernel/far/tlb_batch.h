/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Translations that must be forgotten, collected and flushed together, by processor. Only clearing
 * A, or taking rights or a page away, needs a flush; evicting an unused clean page needs none.
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

void tlb_batch_init(void);
/*
 * Of so many frames: a batch is flushed when the clock's hand has gone a part of its turn, so that
 * the program has the rest of the turn to show which pages it uses (a translation that is still
 * cached sets no A).
 */
void tlb_batch_limit(uint64_t frame_count);

/* The translation of `va` is to be forgotten at the next flush. A full batch flushes itself. */
void tlb_batch_add(uint64_t va);
/* The same for the page of a claimed frame; until that flush frame_is_flushed() is false. */
void tlb_batch_add_frame(struct frame *frame, uint64_t va);
/* Flushes this processor's batch, on all processors. Spins meanwhile, answering others. */
void tlb_batch_flush(void);

/* With A = 0 in its entry: can no processor have the translation of the page cached? Claimed. */
bool frame_is_flushed(const struct frame *frame);
/* For a page that was not mapped until now: nothing is cached. */
void tlb_batch_mark_flushed(struct frame *frame);

#endif
