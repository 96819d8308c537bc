/* SPDX-License-Identifier: Apache-2.0 */
/* Holding pages in their frames while a device uses them. */
#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

#define PIN_ATTEMPTS_MAX 4

/* Faults the page in and pins it. */
static int pin_page(struct mm *mm, uint64_t va, bool write, struct frame **ret)
{
    for (int i = 0; i < PIN_ATTEMPTS_MAX; i++) {
        pte_t *pte = pt_find(va);
        uint64_t entry = 0;
        enum frame_state was;
        struct frame *f = pte == NULL ? NULL : frame_claim_page(pte, &entry, &was);
        bool allowed = (entry & PTE_P) != 0 && (!write || (entry & PTE_W) != 0);
        if (f != NULL && allowed) {
            frame_pin(f);
            /* A device sets no D. Pinned pages are not written, so it stays till the unpin. */
            atomic_fetch_or_explicit(pte, PTE_A | (write ? PTE_D : 0), memory_order_acq_rel);
            frame_move(f, was);
            *ret = f;
            return 0;
        }
        if (f != NULL) {
            frame_move(f, was);
        }
        int r = mm_fault(mm, va, write ? MM_ACCESS_WRITE : MM_ACCESS_READ, false);
        if (r < 0) {
            return r;
        }
    }
    return -ENOMEM;
}

bool pin_allowed(void)
{
    static _Atomic bool told;
    uint64_t pinned_count = atomic_load(&pager.pinned_count);
    if (pinned_count < frame_limit() / 2) {
        return true;
    }
    if (!atomic_exchange(&told, true)) {
        klog(CTL_LEVEL_WARNING,
             "%llu KiB are pinned by shared file mappings and I/O, which is half of local memory: "
             "more is refused (ENOMEM); give the instance more --local-memory (launch or resize)",
             (unsigned long long)(pinned_count * PAGE_BYTES / KIB));
    }
    return false;
}

/* Adds a piece, or makes the last one longer. false: `max` pieces are full. */
static bool piece_add(struct mm_piece *pieces, uint32_t *count, uint32_t max, uint64_t pa,
                      uint32_t length)
{
    struct mm_piece *last = *count == 0 ? NULL : &pieces[*count - 1];
    if (last != NULL && last->pa + last->length == pa && last->length <= MIB) {
        last->length += length;
        return true;
    }
    if (*count == max) {
        return false;
    }
    pieces[(*count)++] = (struct mm_piece){.pa = pa, .length = length};
    return true;
}

int mm_pin(struct mm *mm, uint64_t va, uint64_t length, bool write, struct mm_piece *ret,
           uint32_t max, uint32_t *ret_count, uint64_t *ret_bytes)
{
    uint32_t count = 0;
    uint64_t done = 0;
    int r = length > MM_USER_END || va > MM_USER_END - length ? -EFAULT : 0;
    while (r == 0 && done < length) {
        if (!pin_allowed()) {
            r = -ENOMEM;
            break;
        }
        uint64_t at = va + done;
        uint32_t piece = (uint32_t)MIN(PAGE_BYTES - at % PAGE_BYTES, length - done);
        struct frame *f;
        r = pin_page(mm, ALIGN_DOWN(at, PAGE_BYTES), write, &f);
        if (r < 0) {
            break;
        }
        if (!piece_add(ret, &count, max, frame_address(f).v + at % PAGE_BYTES, piece)) {
            frame_unpin(f);
            break;
        }
        done += piece;
    }
    if (done == 0 && r < 0) {
        return r;
    }
    *ret_count = count;
    *ret_bytes = done;
    return 0;
}

void mm_unpin(struct mm *mm, const struct mm_piece *pieces, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = pieces[i].pa + pieces[i].length;
        for (uint64_t pa = ALIGN_DOWN(pieces[i].pa, PAGE_BYTES); pa < end; pa += PAGE_BYTES) {
            frame_unpin(frame_of((phys_addr_t){pa}));
        }
    }
}
