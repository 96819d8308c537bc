/* SPDX-License-Identifier: Apache-2.0 */
/* mprotect(2). */
#include <errno.h>

#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/tlb_batch.h"

static uint64_t with_rights(uint64_t va, uint64_t entry, uint64_t rights)
{
    if (!pte_is_local(entry)) {
        return (entry & ~PTE_RIGHTS) | rights;
    }
    return pte_present(va, (entry & ~(PTE_RIGHTS | PTE_P | PTE_TAG)) | rights);
}

static void protect_page(pte_t *pte, uint64_t va, uint64_t rights)
{
    uint64_t entry = pte_load(pte);
    do {
        if (pte_state(entry) == PAGE_FETCHING) {
            fetch_settle(pte);
            entry = pte_load(pte);
        }
        if (pte_state(entry) == PAGE_EMPTY) {
            return; /* it was evicted: all zeros, or a file's */
        }
        /* Until it works: the hardware sets A or D, others evict and fetch. */
    } while (pte_state(entry) == PAGE_FETCHING ||
             !page_move(pte, &entry, with_rights(va, entry, rights)));
    if ((entry & PTE_P) != 0) {
        tlb_batch_add(va);
    }
}

static void protect_area(const struct area *a)
{
    uint64_t va = a->start;
    uint64_t rights = rights_of(va, a->protection);
    for (pte_t *pte = pt_next(&va, a->end); pte != NULL; pte = pt_next(&va, a->end)) {
        protect_page(pte, va, rights);
        va += PAGE_BYTES;
    }
    tlb_batch_flush();
}

/* No hole in the range, and each area may have this protection. */
static int check_range(const struct mm *mm, uint64_t start, uint64_t end, unsigned protection)
{
    uint64_t at = start;
    while (at < end) {
        const struct area *a = areas_at(&mm->user, at);
        if (a == NULL) {
            return -ENOMEM;
        }
        if ((protection & MM_WRITE) != 0 && (a->flags & MM_SHARED) != 0 && a->backing != NULL &&
            a->backing->ops->shared_page == NULL) {
            return -EACCES;
        }
        at = a->end;
    }
    return 0;
}

int mm_protect(struct mm *mm, uint64_t va, uint64_t length, unsigned protection)
{
    uint64_t end;
    int r = range_of(va, length, &end);
    if (r == 0) {
        r = check_range(mm, va, end, protection);
    }
    if (r == 0) {
        r = areas_reserve(&mm->user, 2);
    }
    if (r < 0 || va == end) {
        return r;
    }
    areas_cut(&mm->user, va, end);
    for (struct area *a = areas_find(&mm->user, va); a != NULL && a->start < end;
         a = areas_next(&mm->user, a)) {
        a->protection = (uint16_t)protection;
        protect_area(a);
    }
    for (uint64_t at = va; at < end;) {
        struct area *a = areas_at(&mm->user, at);
        areas_join(&mm->user, a);
        at = areas_at(&mm->user, at)->end;
    }
    return 0;
}
