/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/bitmap.h"

#include "tests/tap.h"

static void test_find_against_a_plain_scan(void)
{
    bool model[200] = {false};
    uint64_t words[BITMAP_WORDS(200)] = {0};
    uint32_t seed = 7;
    for (int i = 0; i < 60; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t bit = (seed >> 8) % 200;
        model[bit] = !model[bit];
        if (model[bit]) {
            bitmap_set(words, bit);
        } else {
            bitmap_clear(words, bit);
        }
        for (uint64_t from = 0; from <= 200; from++) {
            uint64_t set = from, clear = from;
            while (set < 200 && !model[set]) {
                set++;
            }
            while (clear < 200 && model[clear]) {
                clear++;
            }
            EXPECT_EQ(bitmap_find(words, 200, from, true), set);
            EXPECT_EQ(bitmap_find(words, 200, from, false), clear);
        }
    }
    uint64_t count = 0;
    for (int i = 0; i < 200; i++) {
        count += model[i] ? 1 : 0;
        EXPECT_EQ(bitmap_test(words, (uint64_t)i), model[i]);
    }
    EXPECT_EQ(bitmap_count(words, 200), count);
}

static void test_bits_past_the_count_do_not_show(void)
{
    uint64_t words[1] = {~UINT64_C(0)};
    EXPECT_EQ(bitmap_count(words, 3), 3);
    EXPECT_EQ(bitmap_find(words, 3, 0, false), 3);
    words[0] = UINT64_C(1) << 5;
    EXPECT_EQ(bitmap_find(words, 3, 0, true), 3);
}

int main(void)
{
    TAP_RUN(test_find_against_a_plain_scan);
    TAP_RUN(test_bits_past_the_count_do_not_show);
    return tap_done();
}
