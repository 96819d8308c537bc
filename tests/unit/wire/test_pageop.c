/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/pageop.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"

static void test_hello(void)
{
    uint8_t data[PAGEOP_HELLO_BYTES];
    pageop_hello_encode(data);
    EXPECT_EQ(pageop_hello_decode(data), 0);
    data[4] ^= 2;
    EXPECT_EQ(pageop_hello_decode(data), -EPROTONOSUPPORT);
    data[4] ^= 2;
    data[15] = 1;
    EXPECT_EQ(pageop_hello_decode(data), -EPROTO);
    data[15] = 0;
    data[0] ^= 1;
    EXPECT_EQ(pageop_hello_decode(data), -EPROTO);
}

static void test_request_round_trip(void)
{
    const struct pageop_request cases[] = {
        {.kind = PAGEOP_ATTACH, .handle = 7, .token = 1, .length = PAGEOP_ATTACH_BYTES},
        {.kind = PAGEOP_DETACH, .handle = PAGEOP_HANDLES_MAX - 1},
        {.kind = PAGEOP_READ, .token = UINT64_MAX, .offset = UINT64_MAX, .length = 1},
        {.kind = PAGEOP_WRITE, .handle = 3, .offset = 4096, .length = PAGEOP_LENGTH_MAX},
        {.kind = PAGEOP_UNMAPPED, .handle = 9},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t data[PAGEOP_REQUEST_BYTES];
        struct pageop_request back;
        pageop_request_encode(&cases[i], data);
        EXPECT_EQ(pageop_request_decode(data, &back), 0);
        EXPECT_EQ(back.kind, cases[i].kind);
        EXPECT_EQ(back.handle, cases[i].handle);
        EXPECT_EQ(back.token, cases[i].token);
        EXPECT_EQ(back.offset, cases[i].offset);
        EXPECT_EQ(back.length, cases[i].length);
    }
}

static int decode_of(struct pageop_request request)
{
    uint8_t data[PAGEOP_REQUEST_BYTES];
    pageop_request_encode(&request, data);
    return pageop_request_decode(data, &request);
}

static void test_request_refusals(void)
{
    EXPECT_EQ(decode_of((struct pageop_request){.kind = 0}), -EPROTO);
    EXPECT_EQ(decode_of((struct pageop_request){.kind = PAGEOP_REVOKE}), -EPROTO);
    EXPECT_EQ(decode_of((struct pageop_request){.kind = 255}), -EPROTO);
    EXPECT_EQ(decode_of((struct pageop_request){.kind = PAGEOP_READ}), -EMSGSIZE);
    EXPECT_EQ(
        decode_of((struct pageop_request){.kind = PAGEOP_WRITE, .length = PAGEOP_LENGTH_MAX + 1}),
        -EMSGSIZE);
    EXPECT_EQ(decode_of((struct pageop_request){.kind = PAGEOP_ATTACH, .length = 31}), -EMSGSIZE);
    EXPECT_EQ(decode_of((struct pageop_request){.kind = PAGEOP_DETACH, .length = 1}), -EMSGSIZE);
    EXPECT_EQ(decode_of((struct pageop_request){.kind = PAGEOP_DETACH, .offset = 1}), -EPROTO);
    EXPECT_EQ(
        decode_of((struct pageop_request){.kind = PAGEOP_DETACH, .handle = PAGEOP_HANDLES_MAX}),
        -ERANGE);
}

static void test_request_padding(void)
{
    const struct pageop_request request = {.kind = PAGEOP_READ, .length = 1};
    const unsigned padding[] = {1, 2, 3, 28, 29, 30, 31};
    for (unsigned i = 0; i < ARRAY_LEN(padding); i++) {
        uint8_t data[PAGEOP_REQUEST_BYTES];
        struct pageop_request back;
        pageop_request_encode(&request, data);
        data[padding[i]] = 1;
        EXPECT_EQ(pageop_request_decode(data, &back), -EPROTO);
    }
}

static void test_reply(void)
{
    uint8_t data[PAGEOP_REPLY_BYTES];
    struct pageop_reply back;
    struct pageop_reply reply = {
        .kind = PAGEOP_READ, .handle = 5, .token = 0x0102030405060708, .length = 4096};
    pageop_reply_encode(&reply, data);
    EXPECT_EQ(pageop_reply_decode(data, &back), 0);
    EXPECT_EQ(back.token, reply.token);
    EXPECT_EQ(back.length, 4096);
    le16_store(data + 2, PAGEOP_DENIED); /* a refusal has no data */
    EXPECT_EQ(pageop_reply_decode(data, &back), -EMSGSIZE);
    le16_store(data + 2, PAGEOP_EXHAUSTED + 1);
    EXPECT_EQ(pageop_reply_decode(data, &back), -EPROTO);
    reply.length = 0;
    pageop_reply_encode(&reply, data); /* a good read has some */
    EXPECT_EQ(pageop_reply_decode(data, &back), -EMSGSIZE);
    reply.kind = PAGEOP_DETACH;
    pageop_reply_encode(&reply, data);
    EXPECT_EQ(pageop_reply_decode(data, &back), -EPROTO);
}

static void test_attach(void)
{
    uint8_t data[PAGEOP_ATTACH_BYTES];
    struct pageop_attach back;
    struct pageop_attach attach = {
        .slab_index = 0x01020304, .incarnation = 0x05060708, .generation = UINT64_MAX};
    memset(attach.key, 0xab, sizeof(attach.key));
    pageop_attach_encode(&attach, data);
    pageop_attach_decode(data, &back);
    EXPECT_EQ(back.slab_index, attach.slab_index);
    EXPECT_EQ(back.incarnation, attach.incarnation);
    EXPECT_EQ(back.generation, attach.generation);
    EXPECT(memcmp(back.key, attach.key, sizeof(back.key)) == 0);
}

int main(void)
{
    TAP_RUN(test_hello);
    TAP_RUN(test_request_round_trip);
    TAP_RUN(test_request_refusals);
    TAP_RUN(test_request_padding);
    TAP_RUN(test_reply);
    TAP_RUN(test_attach);
    return tap_done();
}
