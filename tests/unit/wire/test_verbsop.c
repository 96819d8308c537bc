/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/verbsop.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"

static const uint8_t key[VERBSOP_KEY_BYTES] = {1, 2, 3};
static const struct verbsop_nonces nonces = {.client = {4}, .node = {5}};

static struct verbsop_message queue_message(void)
{
    struct verbsop_message message = {.kind = VERBSOP_QUEUE,
                                      .queue = {.number = VERBSOP_NUMBER_MAX,
                                                .packet = 77,
                                                .gid = {0xfe, 0x80, [15] = 1},
                                                .nonce = {9, [15] = 8},
                                                .lid = 0x1234,
                                                .mtu = 5,
                                                .link = VERBSOP_LINK_ETHERNET,
                                                .gid_type = VERBSOP_GID_ROCE_V2,
                                                .reads_in = 128,
                                                .reads_out = 16}};
    return message;
}

static struct verbsop_message attach_message(void)
{
    struct verbsop_message message = {.kind = VERBSOP_ATTACH,
                                      .handle = 3,
                                      .sequence = 4,
                                      .attach = {.slab_index = 5, .generation = UINT64_MAX - 1}};
    verbsop_prove(key, &nonces, &message, message.attach.proof);
    return message;
}

static void test_queue_round_trip(void)
{
    struct verbsop_message message = queue_message();
    for (unsigned to_node = 0; to_node < 2; to_node++) {
        uint8_t data[VERBSOP_BYTES];
        struct verbsop_message back;
        verbsop_encode(&message, to_node != 0, data);
        EXPECT_EQ(verbsop_decode(data, to_node != 0, &back), 0);
        EXPECT(memcmp(&back.queue, &message.queue, sizeof(back.queue)) == 0);
    }
}

static void test_queue_out_of_range(void)
{
    struct verbsop_message cases[7];
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        cases[i] = queue_message();
    }
    cases[0].queue.number = VERBSOP_NUMBER_MAX + 1;
    cases[1].queue.packet = UINT32_MAX;
    cases[2].queue.mtu = 0;
    cases[3].queue.mtu = 6;
    cases[4].queue.link = 3;
    cases[5].queue.gid_type = 3;
    cases[6].handle = VERBSOP_HANDLES_MAX;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t data[VERBSOP_BYTES];
        struct verbsop_message back;
        verbsop_encode(&cases[i], true, data);
        EXPECT_EQ(verbsop_decode(data, true, &back), i == 6 ? -ERANGE : -EPROTO);
    }
}

static void test_directions(void)
{
    uint8_t data[VERBSOP_BYTES];
    struct verbsop_message back;
    struct verbsop_message message = {.kind = VERBSOP_DETACH, .handle = 1, .sequence = 2};
    verbsop_encode(&message, true, data);
    EXPECT_EQ(verbsop_decode(data, true, &back), 0);
    EXPECT_EQ(verbsop_decode(data, false, &back), -EPROTO);
    message.kind = VERBSOP_REVOKE;
    verbsop_encode(&message, false, data);
    EXPECT_EQ(verbsop_decode(data, false, &back), 0);
    EXPECT_EQ(back.sequence, 2);
    EXPECT_EQ(verbsop_decode(data, true, &back), -EPROTO);
    message.kind = VERBSOP_ATTACH;
    message.status = VERBSOP_DENIED;
    verbsop_encode(&message, false, data);
    EXPECT_EQ(verbsop_decode(data, false, &back), 0);
    EXPECT_EQ(back.status, VERBSOP_DENIED);
    /* A question has no status. */
    EXPECT_EQ(verbsop_decode(data, true, &back), -EPROTO);
}

/* Of what isn't used, no bit may be set. */
static void test_padding(void)
{
    struct verbsop_message message = attach_message();
    uint8_t data[VERBSOP_BYTES];
    struct verbsop_message back;
    verbsop_encode(&message, true, data);
    for (unsigned i = 0; i < VERBSOP_BYTES; i++) {
        bool used = (i >= 4 && i < 44) || i == 0 || i == 1;
        data[i] ^= 0x80;
        if (!used) {
            EXPECT_EQ(verbsop_decode(data, true, &back), -EPROTO);
        }
        data[i] ^= 0x80;
    }
    EXPECT_EQ(verbsop_decode(data, true, &back), 0);
}

/* The proof is worth nothing for another slab, handle, key, or connection. */
static void test_proof(void)
{
    struct verbsop_message message = attach_message();
    EXPECT(verbsop_proof_ok(key, &nonces, &message));
    struct verbsop_message other = message;
    other.attach.slab_index++;
    EXPECT(!verbsop_proof_ok(key, &nonces, &other));
    other = message;
    other.attach.incarnation++;
    EXPECT(!verbsop_proof_ok(key, &nonces, &other));
    other = message;
    other.attach.generation--;
    EXPECT(!verbsop_proof_ok(key, &nonces, &other));
    other = message;
    other.handle++;
    EXPECT(!verbsop_proof_ok(key, &nonces, &other));
    other = message;
    other.sequence++;
    EXPECT(!verbsop_proof_ok(key, &nonces, &other));
    other = message;
    other.attach.proof[15] ^= 1;
    EXPECT(!verbsop_proof_ok(key, &nonces, &other));
    uint8_t zero_key[VERBSOP_KEY_BYTES] = {0};
    EXPECT(!verbsop_proof_ok(zero_key, &nonces, &message));
    struct verbsop_nonces later = nonces;
    later.node[15]++;
    EXPECT(!verbsop_proof_ok(key, &later, &message));
}

static void test_seal(void)
{
    const struct verbsop_window window = {
        .remote_key = 0x12345678, .writable = true, .address = 0x7f0000001000};
    struct verbsop_message message = {.kind = VERBSOP_ATTACH, .handle = 3, .sequence = 4};
    struct verbsop_window back;
    verbsop_seal(key, &nonces, &window, &message);
    /* In clear it would begin with the key. */
    EXPECT(le32_load(message.window) != window.remote_key);
    verbsop_unseal(key, &nonces, &message, &back);
    EXPECT_EQ(back.remote_key, window.remote_key);
    EXPECT_EQ(back.address, window.address);
    EXPECT(back.writable);
    uint8_t other_key[VERBSOP_KEY_BYTES] = {1, 2, 4};
    verbsop_unseal(other_key, &nonces, &message, &back);
    EXPECT(back.remote_key != window.remote_key);
}

int main(void)
{
    TAP_RUN(test_queue_round_trip);
    TAP_RUN(test_queue_out_of_range);
    TAP_RUN(test_directions);
    TAP_RUN(test_padding);
    TAP_RUN(test_proof);
    TAP_RUN(test_seal);
    return tap_done();
}
