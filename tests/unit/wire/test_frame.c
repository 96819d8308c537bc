/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/frame.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"

static const struct frame_header sample = {
    .type = 0x1234, .flags = FRAME_REPLY | FRAME_ERROR, .length = 0x5678, .request_id = 0x9a0b0c0d};

static void test_layout(void)
{
    static const uint8_t expected[FRAME_HEADER_BYTES] = {
        'D', 'L', 'P', 'F', 1, 0, 0x34, 0x12, 3, 0, 0, 0, 0x78, 0x56, 0, 0, 0x0d, 0x0c, 0x0b, 0x9a,
    };
    uint8_t data[FRAME_HEADER_BYTES];
    frame_encode(&sample, data);
    EXPECT_EQ(memcmp(data, expected, sizeof(data)), 0);
}

static void test_round_trip(void)
{
    static const uint16_t flags[] = {0, FRAME_REPLY, FRAME_REPLY | FRAME_ERROR, FRAME_NOTICE};
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        uint8_t data[FRAME_HEADER_BYTES];
        struct frame_header header = {.type = UINT16_MAX,
                                      .flags = flags[i],
                                      .length = FRAME_BODY_BYTES_MAX,
                                      .request_id = flags[i] == FRAME_NOTICE ? 0 : UINT64_MAX};
        struct frame_header decoded;
        frame_encode(&header, data);
        EXPECT_EQ(frame_decode(data, &decoded), 0);
        EXPECT_EQ(decoded.type, header.type);
        EXPECT_EQ(decoded.flags, header.flags);
        EXPECT_EQ(decoded.length, header.length);
        EXPECT_EQ(decoded.request_id, header.request_id);
    }
}

/* The sample with one field changed. */
static int decode_with(size_t offset, uint16_t value, struct frame_header *ret)
{
    uint8_t data[FRAME_HEADER_BYTES];
    frame_encode(&sample, data);
    le16_store(data + offset, value);
    return frame_decode(data, ret);
}

static void test_refusals(void)
{
    struct frame_header header = {.type = 7};
    EXPECT_EQ(decode_with(0, 0, &header), -EPROTO);
    EXPECT_EQ(decode_with(4, 2, &header), -EPROTONOSUPPORT);
    EXPECT_EQ(decode_with(4, 0, &header), -EPROTONOSUPPORT);
    EXPECT_EQ(decode_with(6, 0, &header), -EPROTO);
    EXPECT_EQ(decode_with(10, 1, &header), -EPROTO);
    EXPECT_EQ(decode_with(14, 0x20, &header), -EMSGSIZE);
    EXPECT_EQ(decode_with(14, 0xffff, &header), -EMSGSIZE);
    EXPECT_EQ(header.type, 7);
    EXPECT_EQ(header.length, 0);
}

static void test_flags(void)
{
    struct frame_header header;
    for (uint32_t flags = 0; flags <= UINT16_MAX; flags++) {
        bool legal = flags == 0 || flags == 1 || flags == 3;
        EXPECT_EQ(decode_with(8, (uint16_t)flags, &header), legal ? 0 : -EPROTO);
    }
    uint8_t data[FRAME_HEADER_BYTES];
    frame_encode(&sample, data);
    le64_store(data + 16, 0); /* only notices go without an id */
    EXPECT_EQ(frame_decode(data, &header), -EPROTO);
    le16_store(data + 8, FRAME_NOTICE);
    EXPECT_EQ(frame_decode(data, &header), 0);
}

int main(void)
{
    TAP_RUN(test_layout);
    TAP_RUN(test_round_trip);
    TAP_RUN(test_refusals);
    TAP_RUN(test_flags);
    return tap_done();
}
