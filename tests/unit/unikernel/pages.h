/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of far/ case by case: pages of the one address space, by number of pages. */
#ifndef DILOS_TESTS_UNIKERNEL_PAGES_H
#define DILOS_TESTS_UNIKERNEL_PAGES_H

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/host/host.h"
#include "tests/tap.h"

#define RW (MM_READ | MM_WRITE)

static int file_reads;

static inline uint64_t map(uint64_t page_count, unsigned protection, unsigned flags,
                           struct mm_backing *backing)
{
    uint64_t va = 0;
    EXPECT_EQ(mm_map(mm_current(), 0, page_count * PAGE_BYTES, protection, flags, backing, 0, &va),
              0);
    return va;
}

static inline uint64_t load(uint64_t va)
{
    uint64_t value = ~0ull;
    EXPECT_EQ(host_load(va, true, &value), 0);
    return value;
}

static inline void store(uint64_t va, uint64_t value)
{
    EXPECT_EQ(host_store(va, true, value), 0);
}

static inline void page_out(uint64_t va, uint64_t page_count)
{
    EXPECT_EQ(mm_advise(mm_current(), va, page_count * PAGE_BYTES, MM_PAGEOUT), 0);
}

static inline void unmap(uint64_t va, uint64_t page_count)
{
    EXPECT_EQ(mm_unmap(mm_current(), va, page_count * PAGE_BYTES), 0);
}

/* At the end of each case. */
static inline void end(void)
{
    pager_verify();
    EXPECT_EQ(host_violations(), 0);
    host_stop();
}

/* ---- a file of 40 pages, each full of its number + 0x40 ---- */

static inline void no_ref(struct mm_backing *b)
{
}

static inline int read_page(struct mm_backing *b, uint64_t index, void *page)
{
    file_reads++;
    if (index >= 40) {
        return -EFAULT;
    }
    memset(page, 0x40 + (int)index, PAGE_BYTES);
    return 0;
}

static const struct mm_backing_ops file_ops = {no_ref, no_ref, read_page, NULL, NULL};
static struct mm_backing file = {&file_ops};

#endif
