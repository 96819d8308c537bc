/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a page-table entry says about its page. The page table is the only metadata of a page:
 * there is no swap map and no swap cache, and every change of state is one compare-and-swap.
 *
 * Rules that hold at any time, on every CPU (each is CHECKed where it could be broken, and
 * pager_verify() checks those that need a look at everything):
 *
 *  1. At most one request (read, write or discard) is in flight for a far page.
 *  2. A far page is read only if it was written since its page was last empty. A discard that
 *     fails or comes late can therefore never show.
 *  3. A frame belongs to one entry: frame->pte points to it and it holds the frame's address.
 *     Entries with PTE_ALIAS borrow a frame of the kernel window and hold a pin on it.
 *  4. A page leaves its frame (eviction) only with A = 0, D = 0, no pin, no request in flight and
 *     no CPU that may have its translation cached. A CPU caches a translation only after it has
 *     set A (Intel SDM vol. 3, 4.10.2.2), so with A = 0 since the last flush nothing is cached.
 *  5. A write is submitted only after D was cleared by a compare-and-swap that found A = 0 and
 *     nothing cached (as in 4): a store that comes later sets D again, and the page stays dirty.
 *  6. PTE_FAR on a local page: the far page may take room and must be discarded when the page goes.
 *     With D = 0 and no write in flight, it also holds the same bytes.
 */
#ifndef DILOS_UNIKERNEL_FAR_PAGE_H
#define DILOS_UNIKERNEL_FAR_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/port.h"
#include "lib/base/check.h"

typedef _Atomic(uint64_t) pte_t;

/* Bits of the hardware: Intel SDM vol. 3, table 4-19 (4-level paging). */
#define PTE_P       (1ull << 0)
#define PTE_W       (1ull << 1)
#define PTE_U       (1ull << 2)
#define PTE_A       (1ull << 5)
#define PTE_D       (1ull << 6)
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull
#define PTE_RIGHTS  (PTE_W | PTE_U | PTE_NX)

/*
 * With P = 0 the hardware ignores all other bits. Bits 9..11 say what the entry is; the rights
 * stay where the hardware has them, so that publishing a page needs no look at the mapping.
 * HELD is a local page that the program may not access (PROT_NONE): it keeps address, D and the
 * bits below. P = 1 with U = 0 would let the kernel's own copies read it, where Linux says EFAULT.
 */
#define PTE_TAG          (7ull << 9)
#define PTE_TAG_REMOTE   (1ull << 9)
#define PTE_TAG_FETCHING (2ull << 9) /* holds the address of the frame that is being filled */
#define PTE_TAG_HELD     (3ull << 9)

/* Bits 52..58 are free for software (same table). Only on local pages. */
#define PTE_ALIAS   (1ull << 52) /* borrows the frame of a page of the kernel window */
#define PTE_FAR     (1ull << 53) /* the far page takes room */
#define PTE_WRITING (1ull << 54) /* a write of the frame is in flight */
#define PTE_FILE    (1ull << 55) /* while clean, the root file system has the same bytes */
#define PTE_REFUSED (1ull << 56) /* dirty; its last write failed, so FAR may be but a fear */

/* The state of a page: a pure function of its entry. */
enum page_state {
    PAGE_EMPTY,    /* never touched, or given up: zeros, or the contents of the mapped file */
    PAGE_REMOTE,   /* only the far page holds it */
    PAGE_FETCHING, /* a read into a frame is in flight */
    PAGE_CLEAN,    /* local; may be dropped: it can be had again from far, file, or as zeros */
    PAGE_DIRTY,    /* local, and nowhere else */
    PAGE_WRITING,  /* local, a write is in flight; not to be dropped before it has ended */
    PAGE_ALIAS,    /* a second mapping of a page of the kernel window */
    PAGE_STATES,
};

static inline bool pte_is_local(uint64_t entry)
{
    return (entry & PTE_P) != 0 || (entry & PTE_TAG) == PTE_TAG_HELD;
}

static inline enum page_state pte_state(uint64_t entry)
{
    if (pte_is_local(entry)) {
        if ((entry & PTE_ALIAS) != 0) {
            return PAGE_ALIAS;
        }
        if ((entry & PTE_WRITING) != 0) {
            return PAGE_WRITING;
        }
        return (entry & PTE_D) != 0 ? PAGE_DIRTY : PAGE_CLEAN;
    }
    switch (entry & PTE_TAG) {
    case PTE_TAG_REMOTE:
        return PAGE_REMOTE;
    case PTE_TAG_FETCHING:
        return PAGE_FETCHING;
    default:
        return PAGE_EMPTY;
    }
}

/* Is this a legal move? */
bool page_may_move(enum page_state from, enum page_state to);
extern const uint32_t page_moves[PAGE_STATES]; /* bit `to` of page_moves[from] */

/* Keeps the counts of pages in the statistics. */
void page_count(enum page_state from, enum page_state to);

/*
 * The one way to change an entry of a page: *old becomes next if the entry is still *old, else
 * *old is what it is now. CHECKs that the move is legal. Keeps the counts of pages in the
 * statistics.
 */
static ALWAYS_INLINE MUST_CHECK bool page_move(pte_t *pte, uint64_t *old, uint64_t next)
{
    enum page_state from = pte_state(*old);
    enum page_state to = pte_state(next);
    CHECK((page_moves[from] >> to & 1) != 0);
    if (!atomic_compare_exchange_strong_explicit(pte, old, next, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        return false;
    }
    /* Being fetched is still being remote, and being written is still being local. */
    if ((from >= PAGE_CLEAN) != (to >= PAGE_CLEAN) || from == PAGE_EMPTY || to == PAGE_EMPTY) {
        page_count(from, to);
    }
    return true;
}

static inline uint64_t pte_load(pte_t *pte)
{
    return atomic_load_explicit(pte, memory_order_acquire);
}

static inline phys_addr_t pte_frame_address(uint64_t entry)
{
    return (phys_addr_t){entry & PTE_ADDRESS};
}

static inline bool va_is_window(uint64_t va)
{
    return va >= MM_KERNEL_WINDOW && va - MM_KERNEL_WINDOW < MM_KERNEL_WINDOW_BYTES;
}

static inline bool va_is_user(uint64_t va)
{
    return va >= MM_USER_MIN && va < MM_USER_END;
}

/* Byte address of the page on the far device. */
static inline uint64_t far_address(uint64_t va)
{
    return va & ((1ull << 48) - 1);
}

/* The bits of PTE_RIGHTS for a protection (enum mm_protection). */
uint64_t rights_of(uint64_t va, unsigned protection);

/* May anyone access a page with these rights at all (is it not PROT_NONE)? */
static inline bool rights_accessible(uint64_t va, uint64_t entry)
{
    return (entry & PTE_U) != 0 || va_is_window(va);
}

/* `entry` made present, or HELD, as its rights say. `entry` has neither P nor a tag. */
static inline uint64_t pte_present(uint64_t va, uint64_t entry)
{
    return entry | (rights_accessible(va, entry) ? PTE_P : PTE_TAG_HELD);
}

#endif
