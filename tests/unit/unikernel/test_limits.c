/* SPDX-License-Identifier: Apache-2.0 */
/* far/ at its limits: all sent away at once, far memory that is full, local memory that changes. */
#include "tests/tap.h"

#include <errno.h>

#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/host/host.h"
#include "tests/unit/unikernel/pages.h"

static const struct host_config small = {
    .seed = 5, .frame_count = 128, .far = true, .delay_max = 4};

/* More than the queue and the limit of writes in flight hold: all of it goes all the same. */
static void test_one_pageout_sends_all(void)
{
    struct host_config config = small;
    config.frame_count = 2048;
    config.delay_max = 40;
    for (int one_queue = 0; one_queue < 2; one_queue++) {
        config.one_queue = one_queue != 0;
        host_start(&config);
        uint64_t va = map(1500, RW, 0, NULL);
        for (uint64_t i = 0; i < 1500; i++) {
            store(va + i * PAGE_BYTES, i + 1);
        }
        page_out(va, 1500);
        EXPECT_EQ(host_stats()->pages_remote, 1500);
        EXPECT_EQ(host_stats()->far_pages_written, 1500);
        for (uint64_t i = 0; i < 1500; i++) {
            EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
        }
        unmap(va, 1500);
        end();
    }
}

/*
 * A program that needs more than there is ends soon: it is not left to crawl, reading its own text
 * again and again, and the device is not asked for ever.
 */
static void test_end_of_far_memory(void)
{
    struct host_config config = small;
    config.frame_count = 1024;
    config.far_page_limit = 512;
    host_start(&config);
    uint64_t text = map(40, MM_READ | MM_EXEC, 0, &file);
    uint64_t va = map(2048, RW, MM_NORESERVE, NULL);
    uint64_t held = 0;
    int r = 0;
    file_reads = 0;
    while (held < 2048 && r == 0) {
        for (uint64_t i = 0; i < 20 && r == 0; i++) {
            uint64_t value = 0;
            r = host_load(text + i * PAGE_BYTES, true, &value);
            EXPECT(r != 0 || value == 0x4040404040404040ull + i * 0x0101010101010101ull);
        }
        r = r == 0 ? host_store(va + held * PAGE_BYTES, true, held + 1) : r;
        held += r == 0;
    }
    EXPECT_EQ(r, -ENOSPC);
    EXPECT(held > 1300); /* most of what local and far memory hold together */
    EXPECT(host_stats()->far_errors < 200);
    EXPECT(file_reads < 400);
    /* What it has is not harmed. Space comes back: it goes on. */
    unmap(va + 1024 * PAGE_BYTES, 1024);
    for (uint64_t i = 0; i < MIN(held, 1024); i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
    }
    unmap(va, 1024);
    unmap(text, 40);
    end();
}

/* Less local memory, and more again, under a program: its pages stay what they are. */
static void test_resize(void)
{
    struct host_config config = small;
    config.frame_count = 2048;
    config.image_bytes = 64 * PAGE_BYTES;
    host_start(&config);
    uint64_t now = 0;
    uint64_t va = map(1800, RW, 0, NULL);
    for (uint64_t i = 0; i < 1800; i++) {
        store(va + i * PAGE_BYTES, i + 1);
    }
    EXPECT_EQ(pager_resize(100 * MIB, &now), -ERANGE);
    EXPECT_EQ(now, (2048 + 64) * PAGE_BYTES);
    EXPECT_EQ(pager_resize(4096, &now), -ERANGE);
    EXPECT(now > 64 * PAGE_BYTES);
    uint64_t least = now;
    kernel_lock();
    EXPECT_EQ(pager_resize(600 * PAGE_BYTES, &now), 0);
    kernel_unlock();
    EXPECT_EQ(now, 600 * PAGE_BYTES);
    EXPECT(host_stats()->pages_local <= 536);
    EXPECT_EQ(host_stats()->frames_total, 536);
    for (uint64_t i = 0; i < 1800; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
        EXPECT(host_stats()->pages_local <= 536);
    }
    pager_quiesce();
    pager_verify();
    EXPECT_EQ(pager_resize(least, &now), 0); /* the smallest it said is possible */
    EXPECT_EQ(now, least);
    for (uint64_t i = 0; i < 1800; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
    }
    EXPECT_EQ(pager_resize((2048 + 64) * PAGE_BYTES, &now), 0);
    EXPECT_EQ(now, (2048 + 64) * PAGE_BYTES);
    for (uint64_t i = 0; i < 1800; i++) {
        store(va + i * PAGE_BYTES, i + 2);
    }
    EXPECT(host_stats()->pages_local > 1700);
    pager_quiesce();
    pager_verify();
    unmap(va, 1800);
    end();
}

/* What can't be evicted for want of far memory stays: the program goes on. */
static void test_resize_without_room(void)
{
    struct host_config config = small;
    config.frame_count = 2048;
    config.far_page_limit = 100;
    host_start(&config);
    uint64_t now = 0;
    uint64_t va = map(1500, RW, 0, NULL);
    for (uint64_t i = 0; i < 1500; i++) {
        store(va + i * PAGE_BYTES, i + 1);
    }
    EXPECT_EQ(pager_resize(600 * PAGE_BYTES, &now), 0);
    EXPECT(now > 1300 * PAGE_BYTES); /* it says what it has in truth */
    for (uint64_t i = 0; i < 1500; i++) {
        EXPECT_EQ(load(va + i * PAGE_BYTES), i + 1);
    }
    unmap(va, 1500);
    pager_quiesce();
    EXPECT_EQ(pager_resize(600 * PAGE_BYTES, &now), 0);
    EXPECT_EQ(now, 600 * PAGE_BYTES);
    end();
    config.far = false;
    host_start(&config);
    EXPECT_EQ(pager_resize(600 * PAGE_BYTES, &now), -ENOTSUP);
    end();
}

/* With nothing to evict, what runs when nothing else does comes to an end, and begins anew. */
static void test_idle_work_ends(void)
{
    struct host_config config = small;
    config.far = false;
    host_start(&config);
    uint64_t va = map(110, RW, 0, NULL);
    for (uint64_t i = 0; i < 110; i++) {
        store(va + i * PAGE_BYTES, i + 1);
    }
    uint32_t rounds = 0;
    while (pager_idle() && rounds < 1000) {
        rounds++;
    }
    EXPECT(rounds < 1000);
    unmap(va, 110);
    end();
    config.far = true;
    host_start(&config);
    va = map(400, RW, 0, NULL);
    for (uint64_t i = 0; i < 400; i++) {
        store(va + i * PAGE_BYTES, i + 1);
    }
    for (rounds = 0; pager_idle() && rounds < 1000; rounds++) {
    }
    EXPECT(rounds < 1000);
    unmap(va, 400);
    end();
}

int main(void)
{
    TAP_RUN(test_one_pageout_sends_all);
    TAP_RUN(test_end_of_far_memory);
    TAP_RUN(test_idle_work_ends);
    TAP_RUN(test_resize);
    TAP_RUN(test_resize_without_room);
    return tap_done();
}
