/* SPDX-License-Identifier: Apache-2.0 */
/* far/ case by case: what each kind of page costs, and what failures do. */
#include "tests/tap.h"

#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/page.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/host/host.h"
#include "tests/unit/unikernel/pages.h"

static const struct host_config small = {
    .seed = 5, .frame_count = 128, .far = true, .delay_max = 4};
static const struct host_config roomy = {
    .seed = 6, .frame_count = 512, .far = true, .delay_max = 4};

static enum page_state state_of(uint64_t va)
{
    pte_t *pte = pt_find(va);
    return pte == NULL ? PAGE_EMPTY : pte_state(pte_load(pte));
}

static uint64_t window_va;
static int shared_page(struct mm_backing *b, uint64_t index, uint64_t *ret_va)
{
    *ret_va = window_va + index * PAGE_BYTES;
    return 0;
}
static const struct mm_backing_ops tmpfs_ops = {no_ref, no_ref, read_page, shared_page, NULL};
static struct mm_backing tmpfs = {&tmpfs_ops};

static void test_page_states(void)
{
    EXPECT_EQ(pte_state(0), PAGE_EMPTY);
    EXPECT_EQ(pte_state(PTE_TAG_REMOTE | PTE_RIGHTS), PAGE_REMOTE);
    EXPECT_EQ(pte_state(PTE_TAG_FETCHING | 0x5000), PAGE_FETCHING);
    EXPECT_EQ(pte_state(PTE_P | 0x5000 | PTE_A), PAGE_CLEAN);
    EXPECT_EQ(pte_state(PTE_P | 0x5000 | PTE_D), PAGE_DIRTY);
    EXPECT_EQ(pte_state(PTE_TAG_HELD | 0x5000 | PTE_D), PAGE_DIRTY);
    EXPECT_EQ(pte_state(PTE_P | 0x5000 | PTE_D | PTE_WRITING), PAGE_WRITING);
    EXPECT_EQ(pte_state(PTE_P | 0x5000 | PTE_ALIAS), PAGE_ALIAS);
    EXPECT(!page_may_move(PAGE_DIRTY, PAGE_REMOTE));
    EXPECT(!page_may_move(PAGE_WRITING, PAGE_REMOTE));
    EXPECT(!page_may_move(PAGE_WRITING, PAGE_EMPTY));
    EXPECT(!page_may_move(PAGE_EMPTY, PAGE_FETCHING));
    EXPECT(!page_may_move(PAGE_REMOTE, PAGE_CLEAN));
    EXPECT(page_may_move(PAGE_REMOTE, PAGE_FETCHING));
    EXPECT(page_may_move(PAGE_FETCHING, PAGE_REMOTE));
    EXPECT(page_may_move(PAGE_CLEAN, PAGE_REMOTE));
}

static void test_zero_page_costs_no_write(void)
{
    host_start(&small);
    uint64_t va = map(8, RW, 0, NULL);
    for (uint64_t i = 0; i < 8; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), 0);
    }
    page_out(va, 8);
    EXPECT_EQ(state_of(va), PAGE_EMPTY);
    EXPECT_EQ(host_stats()->far_pages_written, 0);
    EXPECT_EQ(host_stats()->faults_zero, 4); /* 1 + 0, 1 + 1, 1 + 3 ahead, 1 */
    unmap(va, 8);
    EXPECT_EQ(host_stats()->far_pages_discarded, 0);
    end();
}

static uint64_t entry_of(uint64_t va)
{
    pte_t *pte = pt_find(va);
    return pte == NULL ? 0 : pte_load(pte);
}

/* Only a row of pages is gone on with, not over its end, and what is ahead is neither A nor D. */
static void test_zeros_are_mapped_ahead(void)
{
    host_start(&roomy);
    uint64_t va = map(12, RW, 0, NULL);
    for (uint64_t i = 0; i < 12; i += 2) {
        store(va + i * PAGE_BYTES, i);
        EXPECT_EQ(entry_of(va + (i + 1) * PAGE_BYTES), 0);
    }
    EXPECT_EQ(host_stats()->faults_zero, 6);
    unmap(va, 12);
    va = map(6, RW, 0, NULL);
    uint64_t after = va + 6 * PAGE_BYTES;
    EXPECT_EQ(entry_of(after), 0);
    for (uint64_t i = 0; i < 4; i++) {
        store(va + i * PAGE_BYTES, i);
    }
    for (uint64_t i = 4; i < 6; i++) {
        uint64_t entry = entry_of(va + i * PAGE_BYTES);
        EXPECT_EQ(pte_state(entry), PAGE_CLEAN);
        EXPECT_EQ(entry & (PTE_A | PTE_D | PTE_FAR), 0);
        EXPECT_EQ(entry & PTE_W, PTE_W);
    }
    EXPECT_EQ(entry_of(after), 0);
    page_out(va, 6);
    EXPECT_EQ(host_stats()->far_pages_written, 4); /* not the two that nobody touched */
    for (uint64_t i = 0; i < 6; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i < 4 ? i : 0);
    }
    unmap(va, 6);
    end();
}

/* Nothing is mapped ahead when frames are short: it would drive out what is in use. */
static void test_nothing_ahead_without_frames(void)
{
    host_start(&small);
    uint64_t va = map(2 * small.frame_count, RW, 0, NULL);
    for (uint64_t i = 0; i < 2 * small.frame_count; i += 2) {
        store(va + i * PAGE_BYTES, i);
    }
    va = map(8, RW, 0, NULL);
    for (uint64_t i = 0; i < 7; i++) {
        store(va + i * PAGE_BYTES, i);
        EXPECT_EQ(entry_of(va + (i + 1) * PAGE_BYTES), 0);
    }
    end();
}

static void test_dirty_page_is_written_once(void)
{
    host_start(&small);
    uint64_t va = map(8, RW, 0, NULL);
    store(va, 42);
    page_out(va, 8);
    EXPECT_EQ(state_of(va), PAGE_REMOTE);
    EXPECT_EQ(host_stats()->pages_remote, 1);
    EXPECT_EQ(load(va), 42);
    page_out(va, 8); /* not stored to: the far page is still good */
    EXPECT_EQ(state_of(va), PAGE_REMOTE);
    EXPECT_EQ(host_stats()->far_pages_written, 1);
    EXPECT_EQ(host_stats()->far_pages_read, 1);
    store(va + 8, 43);
    page_out(va, 8);
    EXPECT_EQ(host_stats()->far_pages_written, 2);
    EXPECT_EQ(load(va), 42);
    EXPECT_EQ(load(va + 8), 43);
    EXPECT_EQ(host_far_pages(), 1);
    unmap(va, 8);
    pager_quiesce();
    EXPECT_EQ(host_far_pages(), 0);
    EXPECT_EQ(host_stats()->far_pages_discarded, 1);
    end();
}

static void test_neighbours_share_a_request(void)
{
    host_start(&small);
    uint64_t va = map(16, RW, 0, NULL);
    for (uint64_t i = 0; i < 16; i++) {
        store(va + i * PAGE_BYTES, i);
    }
    host_fail(0, 1000);
    page_out(va, 16);
    pager_quiesce();
    EXPECT(host_stats()->far_errors <= 4); /* 16 pages, each tried twice */
    EXPECT_EQ(host_stats()->far_pages_written, 0);
    EXPECT_EQ(state_of(va), PAGE_DIRTY);
    host_fail(0, 0);
    page_out(va, 16);
    EXPECT_EQ(host_stats()->far_pages_written, 16);
    end();
}

static void test_file_page_is_dropped(void)
{
    host_start(&small);
    file_reads = 0;
    uint64_t va = map(41, RW, 0, &file);
    EXPECT_EQ(load(va + PAGE_BYTES), 0x4141414141414141);
    page_out(va, 41);
    EXPECT_EQ(state_of(va + PAGE_BYTES), PAGE_EMPTY);
    EXPECT_EQ(load(va + PAGE_BYTES), 0x4141414141414141);
    EXPECT_EQ(file_reads, 2);
    EXPECT_EQ(host_stats()->far_pages_written, 0);
    EXPECT_EQ(host_stats()->reclaim_evicted_file, 1);
    store(va + PAGE_BYTES, 7); /* private: from now on as anonymous memory */
    page_out(va, 41);
    EXPECT_EQ(state_of(va + PAGE_BYTES), PAGE_REMOTE);
    EXPECT_EQ(load(va + PAGE_BYTES), 7);
    EXPECT_EQ(load(va + PAGE_BYTES + 8), 0x4141414141414141);
    EXPECT_EQ(host_stats()->faults_cow, 1);
    EXPECT_EQ(mm_advise(mm_current(), va, 41 * PAGE_BYTES, MM_DONTNEED), 0);
    EXPECT_EQ(load(va + PAGE_BYTES), 0x4141414141414141);
    uint64_t value;
    EXPECT_EQ(host_load(va + 40 * PAGE_BYTES, true, &value), -ERANGE);
    end();
}

static void test_failed_read_gives_no_bytes(void)
{
    host_start(&small);
    uint64_t va = map(1, RW, 0, NULL);
    store(va, 42);
    page_out(va, 1);
    host_fail(1000, 0);
    uint64_t value = 1;
    EXPECT_EQ(host_load(va, true, &value), -EIO);
    EXPECT_EQ(value, 1);
    EXPECT_EQ(state_of(va), PAGE_REMOTE);
    EXPECT_EQ(host_stats()->faults_failed, 1);
    host_fail(0, 0);
    EXPECT_EQ(load(va), 42);
    end();
}

/* Stores to pages until one fails; returns how many were stored. */
static uint64_t fill_until_failure(uint64_t va, uint64_t page_count, int *ret)
{
    *ret = 0;
    for (uint64_t i = 0; i < page_count; i++) {
        *ret = host_store(va + i * PAGE_BYTES, true, i + 1);
        if (*ret < 0) {
            return i;
        }
    }
    return page_count;
}

static void test_far_memory_full(void)
{
    struct host_config config = small;
    config.far_page_limit = 50;
    host_start(&config);
    uint64_t va = map(1000, RW, MM_NORESERVE, NULL);
    int r;
    uint64_t count = fill_until_failure(va, 1000, &r);
    EXPECT_EQ(r, -ENOSPC);
    EXPECT(count > 100);
    EXPECT_EQ(host_far_pages(), 50);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t value = 0;
        int e = host_load(va + i * PAGE_BYTES, true, &value);
        EXPECT(e == -ENOSPC || value == i + 1); /* no frame, or the right bytes */
    }
    EXPECT_EQ(mm_advise(mm_current(), va, 60 * PAGE_BYTES, MM_DONTNEED), 0);
    EXPECT_EQ(host_store(va + count * PAGE_BYTES, true, 5), 0);
    for (uint64_t i = 60; i < count; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
    }
    end();
}

static void test_no_far_memory(void)
{
    struct host_config config = small;
    config.far = false;
    host_start(&config);
    uint64_t va = map(100, RW, 0, NULL);
    uint64_t refused;
    EXPECT_EQ(mm_map(mm_current(), 0, 200 * PAGE_BYTES, RW, 0, NULL, 0, &refused), -ENOMEM);
    uint64_t more = map(200, RW, MM_NORESERVE, NULL);
    int r;
    EXPECT_EQ(fill_until_failure(va, 100, &r), 100);
    EXPECT(fill_until_failure(more, 200, &r) < 100);
    EXPECT_EQ(r, -ENOMEM);
    for (uint64_t i = 0; i < 100; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
    }
    end();
}

/* The old discard may be in flight when the address is used and written again. */
static void test_reused_address_waits_for_its_discard(void)
{
    struct host_config config = small;
    config.delay_max = 60;
    for (config.seed = 1; config.seed <= 50; config.seed++) {
        host_start(&config);
        uint64_t va = map(4, RW, 0, NULL);
        for (uint64_t round = 1; round <= 20; round++) {
            store(va, round);
            page_out(va, 4);
            EXPECT_EQ(load(va), round);
            EXPECT_EQ(mm_advise(mm_current(), va, 4 * PAGE_BYTES, MM_DONTNEED), 0);
            EXPECT_EQ(load(va), 0);
            store(va, round + 100);
            page_out(va, 4);
            EXPECT_EQ(load(va), round + 100);
        }
        end();
    }
}

static void test_pinned_frame_stays(void)
{
    host_start(&small);
    uint64_t va = map(300, RW, 0, NULL);
    struct mm_piece pieces[8];
    uint32_t count;
    uint64_t bytes;
    EXPECT_EQ(mm_pin(mm_current(), va + 4000, 200, true, pieces, 8, &count, &bytes), 0);
    EXPECT_EQ(bytes, 200);
    uint64_t pa = pieces[0].pa;
    for (uint64_t i = 2; i < 300; i++) {
        store(va + i * PAGE_BYTES, i);
    }
    EXPECT_EQ(state_of(va), PAGE_DIRTY);
    memset(phys_to_virt((phys_addr_t){pa}), 0x77, 8); /* the device writes: no D bit */
    mm_unpin(mm_current(), pieces, count);
    page_out(va, 1);
    EXPECT_EQ(state_of(va), PAGE_REMOTE);
    EXPECT_EQ(load(va + 4000), 0x7777777777777777);
    /* Unmapped while pinned: the device keeps the frame. */
    uint64_t free_before = host_stats()->frames_free;
    EXPECT_EQ(mm_pin(mm_current(), va, 8, true, pieces, 8, &count, &bytes), 0);
    unmap(va, 1);
    store(va + 5 * PAGE_BYTES, 5);
    EXPECT_EQ(frame_of((phys_addr_t){pieces[0].pa})->state, FRAME_ORPHAN);
    mm_unpin(mm_current(), pieces, count);
    EXPECT_EQ(frame_of((phys_addr_t){pieces[0].pa})->state, FRAME_FREE);
    EXPECT(host_stats()->frames_free + 2 >= free_before);
    end();
}

static void test_pin_refuses(void)
{
    host_start(&small);
    uint64_t va = map(4, MM_READ, 0, NULL);
    struct mm_piece pieces[2];
    uint32_t count = 9;
    uint64_t bytes;
    EXPECT_EQ(mm_pin(mm_current(), va, 8, true, pieces, 2, &count, &bytes), -EFAULT);
    EXPECT_EQ(mm_pin(mm_current(), ~7ull, 64, false, pieces, 2, &count, &bytes), -EFAULT);
    EXPECT_EQ(count, 9);
    EXPECT_EQ(mm_pin(mm_current(), va, 4 * PAGE_BYTES + 1, false, pieces, 2, &count, &bytes), 0);
    EXPECT(bytes <= 4 * PAGE_BYTES);
    mm_unpin(mm_current(), pieces, count);
    end();
}

static void test_shared_mapping_is_one_page(void)
{
    host_start(&small);
    EXPECT_EQ(kwin_alloc(4, &window_va), 0);
    uint64_t va = map(4, RW, MM_SHARED, &tmpfs);
    store(va, 11);
    uint64_t value = 0;
    EXPECT_EQ(host_load(window_va, false, &value), 0);
    EXPECT_EQ(value, 11);
    EXPECT_EQ(host_store(window_va + 8, false, 12), 0);
    EXPECT_EQ(load(va + 8), 12);
    EXPECT_EQ(host_load(window_va, true, &value), -EFAULT);
    unmap(va, 4); /* what was stored through the mapping is dirty in the window */
    uint64_t other = map(400, RW, 0, NULL);
    for (uint64_t i = 0; i < 400; i++) {
        store(other + i * PAGE_BYTES, i);
    }
    EXPECT_EQ(state_of(window_va), PAGE_REMOTE);
    EXPECT_EQ(host_load(window_va, false, &value), 0);
    EXPECT_EQ(value, 11);
    kwin_discard(window_va, 4);
    EXPECT_EQ(host_load(window_va, false, &value), 0);
    EXPECT_EQ(value, 0);
    kwin_free(window_va, 4);
    EXPECT_EQ(host_load(window_va, false, &value), -EFAULT);
    end();
}

static void test_mremap_moves_remote_pages(void)
{
    host_start(&small);
    uint64_t va = map(20, RW, 0, NULL);
    for (uint64_t i = 0; i < 20; i++) {
        store(va + i * PAGE_BYTES, i + 1);
    }
    page_out(va, 10);
    uint64_t to = 0;
    EXPECT_EQ(mm_remap(mm_current(), va, 20 * PAGE_BYTES, 40 * PAGE_BYTES, false, 0, &to), -ENOMEM);
    EXPECT_EQ(mm_remap(mm_current(), va, 20 * PAGE_BYTES, 40 * PAGE_BYTES, true, 0, &to), 0);
    EXPECT(to != va);
    page_out(to, 40);
    for (uint64_t i = 0; i < 40; i++) {
        EXPECT_EQ(load(to + i * PAGE_BYTES), i < 20 ? i + 1 : 0);
    }
    uint64_t value;
    EXPECT_EQ(host_load(va, true, &value), -EFAULT);
    pager_quiesce();
    EXPECT_EQ(host_far_pages(), 20); /* the old far pages were given back */
    uint64_t same = 0;
    EXPECT_EQ(mm_remap(mm_current(), to, 40 * PAGE_BYTES, 10 * PAGE_BYTES, false, 0, &same), 0);
    EXPECT_EQ(same, to);
    EXPECT_EQ(mm_remap(mm_current(), to, 10 * PAGE_BYTES, 15 * PAGE_BYTES, false, 0, &same), 0);
    EXPECT_EQ(load(to + 12 * PAGE_BYTES), 0);
    end();
}

static void test_failed_mremap_loses_nothing(void)
{
    host_start(&small);
    uint64_t va = map(4, RW, 0, NULL);
    for (uint64_t i = 0; i < 4; i++) {
        store(va + i * PAGE_BYTES, i + 1);
    }
    page_out(va + 2 * PAGE_BYTES, 2);
    host_fail(1000, 0);
    uint64_t to = MM_USER_MIN;
    int r = mm_remap(mm_current(), va, 4 * PAGE_BYTES, 4 * PAGE_BYTES, true, 0x40000000, &to);
    EXPECT_EQ(r, -EIO);
    host_fail(0, 0);
    EXPECT_EQ(load(0x40000000), 1);
    EXPECT_EQ(load(0x40000000 + PAGE_BYTES), 2);
    EXPECT_EQ(load(va + 2 * PAGE_BYTES), 3);
    EXPECT_EQ(load(va + 3 * PAGE_BYTES), 4);
    end();
}

static void test_protection(void)
{
    host_start(&small);
    struct mm *mm = mm_current();
    uint64_t va = map(4, RW, 0, NULL);
    uint64_t value;
    store(va, 1);
    store(va + PAGE_BYTES, 2);
    page_out(va + PAGE_BYTES, 1);
    EXPECT_EQ(mm_protect(mm, va, 4 * PAGE_BYTES, 0), 0);
    EXPECT_EQ(host_load(va, true, &value), -EFAULT);
    EXPECT_EQ(host_load(va, false, &value), -EFAULT); /* nor may the kernel for it: EFAULT */
    EXPECT_EQ(host_load(va + PAGE_BYTES, true, &value), -EFAULT);
    page_out(va, 4); /* an inaccessible dirty page is written all the same */
    EXPECT_EQ(state_of(va), PAGE_REMOTE);
    EXPECT_EQ(mm_protect(mm, va, 4 * PAGE_BYTES, MM_READ), 0);
    EXPECT_EQ(load(va), 1);
    EXPECT_EQ(load(va + PAGE_BYTES), 2);
    EXPECT_EQ(host_store(va, true, 9), -EFAULT);
    EXPECT_EQ(host_execute(va), -EFAULT);
    EXPECT_EQ(mm_protect(mm, va, PAGE_BYTES, MM_READ | MM_EXEC), 0);
    EXPECT_EQ(host_execute(va), 0);
    EXPECT_EQ(mm_protect(mm, va, 5 * PAGE_BYTES + 64 * KIB, RW), -ENOMEM);
    uint64_t shared = map(4, MM_READ, MM_SHARED, &file);
    EXPECT_EQ(mm_protect(mm, shared, PAGE_BYTES, RW), -EACCES);
    EXPECT_EQ(mm_map(mm, 0, PAGE_BYTES, RW, MM_SHARED, &file, 0, &value), -ENODEV);
    end();
}

static void test_ranges_that_wrap(void)
{
    host_start(&small);
    struct mm *mm = mm_current();
    uint64_t va = 77;
    EXPECT_EQ(mm_map(mm, 0, ~0ull, RW, 0, NULL, 0, &va), -ENOMEM);
    EXPECT_EQ(mm_map(mm, 0, 0, RW, 0, NULL, 0, &va), -EINVAL);
    EXPECT_EQ(mm_map(mm, 1, 1, RW, MM_FIXED, NULL, 0, &va), -EINVAL);
    EXPECT_EQ(mm_map(mm, MM_USER_END - PAGE_BYTES, 2 * PAGE_BYTES, RW, MM_FIXED, NULL, 0, &va),
              -ENOMEM);
    EXPECT_EQ(mm_map(mm, 0, 2 * PAGE_BYTES, MM_READ, 0, &file, ~0ull - 4095, &va), -EINVAL);
    EXPECT_EQ(mm_map(mm, MM_KERNEL_WINDOW, PAGE_BYTES, RW, MM_FIXED, NULL, 0, &va), -ENOMEM);
    EXPECT_EQ(mm_unmap(mm, PAGE_BYTES, ~0ull), -EINVAL);
    EXPECT_EQ(mm_unmap(mm, MM_KERNEL_WINDOW, PAGE_BYTES), -EINVAL);
    EXPECT_EQ(mm_protect(mm, 0x10000, ~0ull - 8191, RW), -EINVAL);
    EXPECT_EQ(mm_advise(mm, 0x10000, ~0ull, MM_DONTNEED), -EINVAL);
    EXPECT_EQ(mm_remap(mm, 0x10000, PAGE_BYTES, ~0ull, true, 0, &va), -EINVAL);
    EXPECT_EQ(mm_resident(mm, 0x10000, ~0ull / PAGE_BYTES, NULL), -EINVAL);
    EXPECT(!mm_access_ok(mm, ~0ull - 100, 200, MM_READ));
    uint64_t stack;
    EXPECT_EQ(mm_map(mm, MM_STACK_START, MM_STACK_BYTES, RW, MM_FIXED | MM_STACK | MM_NORESERVE,
                     NULL, 0, &stack),
              0);
    EXPECT(mm_access_ok(mm, MM_USER_END - 8, 8, RW));
    EXPECT(!mm_access_ok(mm, MM_USER_END - 8, 9, RW));
    store(MM_USER_END - 8, 3);
    EXPECT_EQ(va, 77);
    EXPECT_EQ(map(1, RW, 0, NULL), MM_MAP_TOP - PAGE_BYTES);
    end();
}

static void test_heap(void)
{
    host_start(&small);
    struct mm *mm = mm_current();
    EXPECT_EQ(mm_brk(mm, 0x500000), 0);
    mm_brk_start(mm, 0x400010);
    EXPECT_EQ(mm_brk(mm, 0), 0x401000);
    EXPECT_EQ(mm_brk(mm, 0x401010), 0x401010);
    store(0x401008, 5);
    EXPECT_EQ(mm_brk(mm, 0x405000), 0x405000);
    store(0x404ff8, 6);
    EXPECT_EQ(mm_brk(mm, 0x401800), 0x401800);
    uint64_t value;
    EXPECT_EQ(host_load(0x404ff8, true, &value), -EFAULT);
    EXPECT_EQ(mm_brk(mm, 0x405000), 0x405000);
    EXPECT_EQ(load(0x404ff8), 0); /* given up and had again: zeros */
    EXPECT_EQ(load(0x401008), 5);
    EXPECT_EQ(mm_brk(mm, 0x405000 + 2 * GIB), 0x405000); /* more than there can be */
    uint64_t va;
    EXPECT_EQ(mm_map(mm, 0x406000, PAGE_BYTES, RW, MM_FIXED, NULL, 0, &va), 0);
    EXPECT_EQ(mm_brk(mm, 0x408000), 0x405000); /* something is in the way */
    struct mm_area area;
    EXPECT(mm_area_next(mm, 0, &area));
    EXPECT_EQ(area.start, 0x401000);
    EXPECT_EQ(area.end, 0x405000);
    EXPECT((area.flags & MM_HEAP) != 0);
    end();
}

/* Pages that are used all the time are hardly ever evicted, whatever streams past them. */
static void test_hot_pages_stay(void)
{
    host_start(&small);
    uint64_t hot = map(16, RW, 0, NULL);
    uint64_t cold = map(1000, RW, 0, NULL);
    for (uint64_t i = 0; i < 16; i++) {
        store(hot + i * PAGE_BYTES, i);
    }
    uint64_t lost = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        store(cold + i % 1000 * PAGE_BYTES, i);
        uint64_t va = hot + i % 16 * PAGE_BYTES;
        lost += state_of(va) == PAGE_REMOTE;
        EXPECT_EQ(load(va), i % 16);
    }
    EXPECT(lost < 40); /* one in a hundred */
    EXPECT(host_stats()->faults_remote > 2900);
    end();
}

/* The more of the work is done ahead, the fewer faults have to wait for a write. */
static void test_direct_reclaim_is_rare(void)
{
    host_start(&small);
    uint64_t va = map(1000, RW, 0, NULL);
    for (uint64_t i = 0; i < 1000; i++) {
        store(va + i * PAGE_BYTES, i);
    }
    uint64_t before = host_stats()->reclaim_direct;
    for (uint64_t i = 0; i < 5000; i++) {
        EXPECT(load(va + i * 7 % 1000 * PAGE_BYTES) < 1000);
    }
    EXPECT(host_stats()->reclaim_direct - before < 250); /* one in twenty */
    end();
}

static void test_kernel_frames(void)
{
    host_start(&small);
    uint64_t va = map(300, RW, 0, NULL);
    for (uint64_t i = 0; i < 300; i++) {
        store(va + i * PAGE_BYTES, i);
    }
    phys_addr_t frames[128];
    uint32_t count = 0;
    uint64_t kernel_before = host_stats()->frames_kernel;
    while (count < 60) {
        EXPECT_EQ(frame_alloc_kernel(&frames[count]), 0); /* program pages make room */
        EXPECT_EQ(*(uint64_t *)phys_to_virt(frames[count]), 0);
        count++;
    }
    EXPECT_EQ(host_stats()->frames_kernel, kernel_before + 60);
    for (uint64_t i = 0; i < 300; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i);
    }
    while (count > 0) {
        frame_free_kernel(frames[--count]);
    }
    end();
}

static void test_page_tables_are_freed(void)
{
    host_start(&small);
    uint64_t before = host_stats()->frames_kernel;
    for (uint64_t i = 1; i <= 200; i++) {
        uint64_t va;
        EXPECT_EQ(mm_map(mm_current(), i * GIB, PAGE_BYTES, RW, MM_FIXED, NULL, 0, &va), 0);
        store(va, i);
        EXPECT_EQ(load(va), i);
        unmap(va, 1);
    }
    EXPECT(host_stats()->frames_kernel <= before + 4); /* the upper tables and the area nodes */
    end();
}

int main(void)
{
    TAP_RUN(test_page_states);
    TAP_RUN(test_zero_page_costs_no_write);
    TAP_RUN(test_zeros_are_mapped_ahead);
    TAP_RUN(test_nothing_ahead_without_frames);
    TAP_RUN(test_dirty_page_is_written_once);
    TAP_RUN(test_neighbours_share_a_request);
    TAP_RUN(test_file_page_is_dropped);
    TAP_RUN(test_failed_read_gives_no_bytes);
    TAP_RUN(test_far_memory_full);
    TAP_RUN(test_no_far_memory);
    TAP_RUN(test_reused_address_waits_for_its_discard);
    TAP_RUN(test_pinned_frame_stays);
    TAP_RUN(test_pin_refuses);
    TAP_RUN(test_shared_mapping_is_one_page);
    TAP_RUN(test_mremap_moves_remote_pages);
    TAP_RUN(test_failed_mremap_loses_nothing);
    TAP_RUN(test_protection);
    TAP_RUN(test_ranges_that_wrap);
    TAP_RUN(test_heap);
    TAP_RUN(test_hot_pages_stay);
    TAP_RUN(test_direct_reclaim_is_rare);
    TAP_RUN(test_kernel_frames);
    TAP_RUN(test_page_tables_are_freed);
    return tap_done();
}
