/* SPDX-License-Identifier: Apache-2.0 */
/* The list of mappings against one byte a page. */
#include "tests/tap.h"

#include <errno.h>

#include "computenode/unikernel/far/area.h"
#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/host/host.h"

#define PAGES 600
#define BASE  0x7e0000000000ull

static const struct host_config config = {.seed = 3, .frame_count = 256, .delay_max = 1};
static uint8_t model[PAGES]; /* 0: nothing, else 1 + protection */

static uint64_t va_of(uint64_t page)
{
    return BASE + page * PAGE_BYTES;
}

/* Depth of a balanced tree, or -1: unbalanced, or out of order. */
static int depth_of(const struct area *a, uint64_t low, uint64_t high)
{
    if (a == NULL) {
        return 0;
    }
    int left = depth_of(a->left, low, a->start);
    int right = depth_of(a->right, a->end, high);
    bool ok = a->start >= low && a->end <= high && a->start < a->end && left >= 0 && right >= 0 &&
              left - right <= 1 && right - left <= 1 && (int)a->height == 1 + MAX(left, right);
    return ok ? (int)a->height : -1;
}

/* The mappings are the runs of the model, neither split nor joined otherwise. */
static void check_all(void)
{
    EXPECT(depth_of(mm_current()->user.root, 0, MM_USER_END) >= 0);
    uint64_t at = 0;
    uint64_t va = BASE;
    uint32_t count = 0;
    while (at < PAGES) {
        uint64_t end = at;
        while (end < PAGES && model[end] == model[at]) {
            end++;
        }
        if (model[at] != 0) {
            struct mm_area a = {0};
            EXPECT(mm_area_next(mm_current(), va, &a));
            EXPECT_EQ(a.start, va_of(at));
            EXPECT_EQ(a.end, va_of(end));
            EXPECT_EQ(a.protection, model[at] - 1);
            va = a.end;
            count++;
        }
        at = end;
    }
    EXPECT_EQ(mm_current()->user.count, count);
}

static bool any(uint64_t first, uint64_t count, bool mapped)
{
    for (uint64_t i = first; i < first + count; i++) {
        if ((model[i] != 0) == mapped) {
            return true;
        }
    }
    return false;
}

static void step(void)
{
    struct mm *mm = mm_current();
    uint64_t first = host_random_below(PAGES - 20);
    uint64_t count = 1 + host_random_below(19);
    uint64_t bytes = count * PAGE_BYTES - host_random_below(PAGE_BYTES); /* is rounded up */
    unsigned protection = (unsigned)host_random_below(4) | MM_READ;
    uint64_t va = 0;
    int r;
    switch (host_random_below(5)) {
    case 0:
        EXPECT_EQ(mm_map(mm, va_of(first), bytes, protection, MM_FIXED, NULL, 0, &va), 0);
        memset(model + first, 1 + (int)protection, count);
        break;
    case 1:
        r = mm_map(mm, va_of(first), bytes, protection, MM_NOREPLACE, NULL, 0, &va);
        EXPECT_EQ(r, any(first, count, true) ? -EEXIST : 0);
        if (r == 0) {
            memset(model + first, 1 + (int)protection, count);
        }
        break;
    case 2:
        r = mm_protect(mm, va_of(first), bytes, protection);
        EXPECT_EQ(r, any(first, count, false) ? -ENOMEM : 0);
        if (r == 0) {
            memset(model + first, 1 + (int)protection, count);
        }
        break;
    default:
        EXPECT_EQ(mm_unmap(mm, va_of(first), bytes), 0);
        memset(model + first, 0, count);
        break;
    }
    EXPECT_EQ(mm_access_ok(mm, va_of(first), count * PAGE_BYTES, MM_READ),
              !any(first, count, false));
}

static void test_against_byte_map(void)
{
    host_start(&config);
    memset(model, 0, sizeof(model));
    for (int i = 0; i < 20000; i++) {
        step();
        check_all();
    }
    EXPECT_EQ(mm_unmap(mm_current(), BASE, PAGES * PAGE_BYTES), 0);
    EXPECT_EQ(mm_current()->user.count, 0);
    host_stop();
}

static void test_placement(void)
{
    host_start(&config);
    struct mm *mm = mm_current();
    uint64_t a = 0;
    uint64_t b = 0;
    uint64_t c = 0;
    EXPECT_EQ(mm_map(mm, 0, 4 * PAGE_BYTES, MM_READ, 0, NULL, 0, &a), 0);
    EXPECT_EQ(a, MM_MAP_TOP - 4 * PAGE_BYTES);
    EXPECT_EQ(mm_map(mm, 0, 4 * PAGE_BYTES, MM_READ, 0, NULL, 0, &b), 0);
    EXPECT_EQ(b, a - 4 * PAGE_BYTES);
    EXPECT_EQ(mm_unmap(mm, a, 4 * PAGE_BYTES), 0);
    EXPECT_EQ(mm_map(mm, 0, 5 * PAGE_BYTES, MM_READ, 0, NULL, 0, &c), 0);
    EXPECT_EQ(c, b - 5 * PAGE_BYTES); /* the hole is too small */
    EXPECT_EQ(mm_map(mm, 0, 4 * PAGE_BYTES, MM_READ, 0, NULL, 0, &c), 0);
    EXPECT_EQ(c, a); /* and now it fits */
    EXPECT_EQ(mm_map(mm, 0x12345678, PAGE_BYTES, MM_READ, 0, NULL, 0, &c), 0);
    EXPECT_EQ(c, 0x12345000); /* a hint that is free is taken */
    EXPECT_EQ(mm_map(mm, 0x12345678, PAGE_BYTES, MM_READ, 0, NULL, 0, &c), 0);
    EXPECT(c != 0x12345000);
    EXPECT_EQ(mm_map(mm, 0, MM_USER_END - 16 * MIB, 0, 0, NULL, 0, &c), -ENOMEM);
    EXPECT_EQ(mm_map(mm, 0, 16 * TIB, 0, 0, NULL, 0, &c), 0); /* a reservation is free */
    EXPECT_EQ(mm_map(mm, 0, 16 * TIB, MM_READ | MM_WRITE, 0, NULL, 0, &c), -ENOMEM);
    host_stop();
}

static void test_limit(void)
{
    host_start(&(struct host_config){.seed = 1, .frame_count = 4096, .delay_max = 1});
    struct mm *mm = mm_current();
    int r = 0;
    uint64_t count = 0;
    for (; r == 0; count++) { /* every second page: nothing can be joined */
        uint64_t va;
        r = mm_map(mm, 0x100000000 + count * 2 * PAGE_BYTES, PAGE_BYTES, MM_READ, MM_FIXED, NULL, 0,
                   &va);
    }
    EXPECT_EQ(r, -ENOMEM);
    EXPECT(count > AREAS_MAX - 8);
    EXPECT(count <= AREAS_MAX);
    EXPECT_EQ(mm_unmap(mm, 0x100000000, 64 * PAGE_BYTES), 0); /* possible at the limit */
    host_stop();
}

int main(void)
{
    TAP_RUN(test_against_byte_map);
    TAP_RUN(test_placement);
    TAP_RUN(test_limit);
    return tap_done();
}
