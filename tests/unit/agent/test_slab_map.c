/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "computenode/agent/slab_map.h"
#include "tests/tap.h"

#define SLABS  64u
#define ROUNDS 20000u
#define PAGES  256u

static uint64_t seed = 7;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (seed >> 20) % below;
}

static void test_sizes(void)
{
    struct slab_map *map;
    EXPECT_EQ(slab_map_open(3 * MIB, &map), -EINVAL);
    EXPECT_EQ(slab_map_open(MIB / 2, &map), -EINVAL);
    EXPECT_EQ(slab_map_open(2 * GIB, &map), -EINVAL);
    for (uint64_t bytes = SLAB_BYTES_MIN; bytes <= SLAB_BYTES_MAX; bytes *= 2) {
        EXPECT_EQ(slab_map_open(bytes, &map), 0);
        EXPECT_EQ(UINT64_C(1) << slab_map_shift(map), bytes);
        EXPECT(slab_map_get(map, FAR_BYTES / bytes - 1) == NULL);
        map = slab_map_close(map);
        EXPECT(map == NULL);
    }
}

/* Numbers at both ends and between, put and removed at random, against an array. */
static void test_against_model(void)
{
    static const uint64_t bases[] = {0, 1, 16383, 16384, 1 << 20, (UINT64_C(1) << 28) - 1};
    struct slab *model[SLABS] = {NULL};
    uint64_t numbers[SLABS];
    struct slab_map *map;
    uint64_t count = 0;
    EXPECT_EQ(slab_map_open(MIB, &map), 0);
    for (uint32_t i = 0; i < SLABS; i++) {
        numbers[i] = i < 6 ? bases[i] : 1000 + i * i * 977;
    }
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t i = draw(SLABS);
        if (model[i] == NULL) {
            model[i] = slab_open(MIB);
            EXPECT_EQ(slab_map_put(map, numbers[i], model[i]), 0);
            count++;
        } else {
            slab_map_remove(map, model[i]);
            EXPECT_EQ(model[i]->number, SLAB_NUMBER_NONE);
            model[i] = slab_close(model[i]);
            count--;
        }
        uint64_t other = draw(SLABS);
        EXPECT(slab_map_get(map, numbers[other]) == model[other]);
        EXPECT_EQ(slab_map_count(map), count);
    }
    uint64_t walked = 0;
    uint64_t last = 0;
    for (struct slab *slab = slab_map_next(map, 0); slab != NULL;
         slab = slab_map_next(map, slab->number + 1)) {
        EXPECT(walked == 0 || slab->number > last);
        last = slab->number;
        walked++;
        if (slab->number == (UINT64_C(1) << 28) - 1) {
            break;
        }
    }
    EXPECT_EQ(walked, count);
    for (uint32_t i = 0; i < SLABS; i++) {
        if (model[i] != NULL) {
            slab_map_remove(map, model[i]);
            (void)slab_close(model[i]);
        }
    }
    EXPECT(slab_map_next(map, 0) == NULL);
    (void)slab_map_close(map);
}

static void test_pages(void)
{
    struct slab *slab = slab_open(MIB);
    bool model[PAGES] = {false};
    EXPECT_EQ(slab->page_count, PAGES);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t first = draw(PAGES);
        uint64_t count = draw(PAGES - first + 1);
        bool set = draw(2) == 0;
        if (set) {
            slab_pages_set(slab, first, count);
        } else {
            slab_pages_clear(slab, first, count);
        }
        uint64_t total = 0;
        for (uint64_t page = 0; page < PAGES; page++) {
            model[page] = page >= first && page < first + count ? set : model[page];
            total += model[page] ? 1 : 0;
        }
        uint64_t page = draw(PAGES);
        EXPECT_EQ(slab_page_is_set(slab, page), model[page]);
        EXPECT_EQ(slab->pages_set, total);
    }
    (void)slab_close(slab);
}

int main(void)
{
    TAP_RUN(test_sizes);
    TAP_RUN(test_against_model);
    TAP_RUN(test_pages);
    return tap_done();
}
