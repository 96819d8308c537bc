/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/bytes.h"

#include "tests/tap.h"

static void test_round_trip(void)
{
    uint8_t data[32];
    struct bytes_writer w;
    bytes_writer_init(&w, data, sizeof(data));
    bytes_put_u8(&w, 0x12);
    bytes_put_u16(&w, 0x3456);
    bytes_put_u32(&w, 0x789abcde);
    bytes_put_u64(&w, 0x1122334455667788);
    bytes_put(&w, "abc", 3);
    bytes_put_padding(&w, 8);
    EXPECT(w.ok);
    EXPECT_EQ(w.offset, 24);

    struct bytes_reader r;
    bytes_reader_init(&r, data, w.offset);
    EXPECT_EQ(bytes_get_u8(&r), 0x12);
    EXPECT_EQ(bytes_get_u16(&r), 0x3456);
    EXPECT_EQ(bytes_get_u32(&r), 0x789abcde);
    EXPECT_EQ(bytes_get_u64(&r), 0x1122334455667788);
    EXPECT(memcmp(bytes_get(&r, 3), "abc", 3) == 0);
    EXPECT_EQ(bytes_left(&r), 6);
    EXPECT(r.ok);
}

static void test_reading_past_the_end_is_sticky(void)
{
    const uint8_t data[3] = {1, 2, 3};
    struct bytes_reader r;
    bytes_reader_init(&r, data, sizeof(data));
    EXPECT_EQ(bytes_get_u32(&r), 0);
    EXPECT(!r.ok);
    EXPECT_EQ(bytes_get_u8(&r), 0);
    EXPECT(bytes_get(&r, 0) == NULL);
}

static void test_length_that_would_wrap(void)
{
    const uint8_t data[3] = {1, 2, 3};
    struct bytes_reader r;
    bytes_reader_init(&r, data, sizeof(data));
    EXPECT_EQ(bytes_get_u8(&r), 1);
    EXPECT(bytes_get(&r, SIZE_MAX) == NULL);
    EXPECT(!r.ok);
}

static void test_writing_past_the_end_is_sticky(void)
{
    uint8_t data[4] = {0, 0, 0, 9};
    struct bytes_writer w;
    bytes_writer_init(&w, data, 3);
    bytes_put_u32(&w, 0xffffffff);
    EXPECT(!w.ok);
    bytes_put_u8(&w, 1);
    EXPECT_EQ(w.offset, 0);
    EXPECT_EQ(data[0], 0);
    EXPECT_EQ(data[3], 9);
}

int main(void)
{
    TAP_RUN(test_round_trip);
    TAP_RUN(test_reading_past_the_end_is_sticky);
    TAP_RUN(test_length_that_would_wrap);
    TAP_RUN(test_writing_past_the_end_is_sticky);
    return tap_done();
}
