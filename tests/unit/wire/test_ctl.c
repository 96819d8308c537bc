/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/ctl.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"

static void test_header_round_trip(void)
{
    static const uint16_t types[] = {CTL_HELLO,   CTL_LOG,   CTL_OUTPUT,  CTL_EXIT,
                                     CTL_SYSCALL, CTL_TUNED, CTL_RESIZED, CTL_SIGNAL,
                                     CTL_INPUT,   CTL_TUNE,  CTL_RESIZE,  CTL_FAR};
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        uint8_t data[CTL_HEADER_BYTES];
        struct ctl_header header = {types[i], CTL_BODY_BYTES_MAX}, back;
        ctl_header_encode(&header, data);
        EXPECT_EQ(ctl_header_decode(data, &back), 0);
        EXPECT_EQ(back.type, types[i]);
        EXPECT_EQ(back.length, CTL_BODY_BYTES_MAX);
    }
}

static int decode(uint16_t magic, uint16_t type, uint32_t length)
{
    uint8_t data[CTL_HEADER_BYTES];
    struct ctl_header back;
    le16_store(data, magic);
    le16_store(data + 2, type);
    le32_store(data + 4, length);
    return ctl_header_decode(data, &back);
}

static void test_bad_headers(void)
{
    EXPECT_EQ(decode(CTL_MAGIC, CTL_LOG, 0), 0);
    EXPECT_EQ(decode(CTL_MAGIC ^ 1, CTL_LOG, 0), -EPROTO);
    EXPECT_EQ(decode(CTL_MAGIC, 0, 0), -EPROTO);
    EXPECT_EQ(decode(CTL_MAGIC, CTL_RESIZED + 1, 0), -EPROTO);
    EXPECT_EQ(decode(CTL_MAGIC, CTL_SIGNAL - 1, 0), -EPROTO);
    EXPECT_EQ(decode(CTL_MAGIC, CTL_FAR + 1, 0), -EPROTO);
    EXPECT_EQ(decode(CTL_MAGIC, CTL_LOG, CTL_BODY_BYTES_MAX + 1), -EMSGSIZE);
}

static void test_exit_round_trip(void)
{
    uint8_t data[64];
    size_t length;
    struct ctl_exit back, exit = {CTL_SIGNALED, -11, "why", 3};
    EXPECT_EQ(ctl_exit_encode(&exit, data, sizeof(data), &length), 0);
    EXPECT_EQ(length, 11);
    EXPECT_EQ(ctl_exit_decode(data, length, &back), 0);
    EXPECT_EQ(back.kind, CTL_SIGNALED);
    EXPECT_EQ(back.code, -11);
    EXPECT_EQ(back.reason_length, 3);
    EXPECT(memcmp(back.reason, "why", 3) == 0);
}

static void test_bad_exits(void)
{
    uint8_t data[64] = {CTL_PANIC};
    size_t length;
    struct ctl_exit back, exit = {CTL_EXITED, 0, "0123456789", 10};
    EXPECT_EQ(ctl_exit_encode(&exit, data, 17, &length), -EMSGSIZE);
    exit.reason_length = CTL_BODY_BYTES_MAX;
    EXPECT_EQ(ctl_exit_encode(&exit, data, sizeof(data), &length), -EMSGSIZE);
    memset(data, 0, sizeof(data));
    EXPECT_EQ(ctl_exit_decode(data, 8, &back), 0);
    EXPECT_EQ(back.reason_length, 0);
    EXPECT_EQ(ctl_exit_decode(data, 7, &back), -EPROTO);
    data[1] = 1;
    EXPECT_EQ(ctl_exit_decode(data, 8, &back), -EPROTO);
    data[1] = 0;
    data[0] = CTL_PANIC + 1;
    EXPECT_EQ(ctl_exit_decode(data, 8, &back), -EPROTO);
}

static void test_tuned(void)
{
    uint8_t data[64];
    size_t length = 0;
    struct ctl_tuned back, tuned = {-EINVAL, "no such", 7};
    EXPECT_EQ(ctl_tuned_encode(&tuned, data, sizeof(data), &length), 0);
    EXPECT_EQ(length, 11);
    EXPECT_EQ(ctl_tuned_decode(data, length, &back), 0);
    EXPECT_EQ(back.status, -EINVAL);
    EXPECT_EQ(back.text_length, 7);
    EXPECT(memcmp(back.text, "no such", 7) == 0);
    EXPECT_EQ(ctl_tuned_encode(&tuned, data, 10, &length), -EMSGSIZE);
    EXPECT_EQ(ctl_tuned_decode(data, 3, &back), -EPROTO);
    EXPECT_EQ(ctl_tuned_decode(data, 4, &back), 0);
    EXPECT_EQ(back.text_length, 0);
    data[3] = 0; /* a status above 0 */
    EXPECT_EQ(ctl_tuned_decode(data, length, &back), -EPROTO);
    tuned.text_length = CTL_BODY_BYTES_MAX;
    EXPECT_EQ(ctl_tuned_encode(&tuned, data, sizeof(data), &length), -EMSGSIZE);
}

static void test_resized(void)
{
    uint8_t data[CTL_RESIZED_BYTES];
    struct ctl_resized back, resized = {-ERANGE, 0x123456789abcull};
    ctl_resized_encode(&resized, data);
    EXPECT_EQ(ctl_resized_decode(data, sizeof(data), &back), 0);
    EXPECT_EQ(back.status, -ERANGE);
    EXPECT_EQ(back.bytes, 0x123456789abcull);
    EXPECT_EQ(ctl_resized_decode(data, sizeof(data) - 1, &back), -EPROTO);
    data[3] = 0;
    EXPECT_EQ(ctl_resized_decode(data, sizeof(data), &back), -EPROTO);
}

int main(void)
{
    TAP_RUN(test_header_round_trip);
    TAP_RUN(test_bad_headers);
    TAP_RUN(test_exit_round_trip);
    TAP_RUN(test_bad_exits);
    TAP_RUN(test_tuned);
    TAP_RUN(test_resized);
    return tap_done();
}
