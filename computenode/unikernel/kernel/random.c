/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20 (RFC 8439, 2.3) as a generator: the key is the seed, the counter runs. After each fill
 * the key is replaced by output that nobody gets, so that what was given out can't be recomputed.
 */
#include "computenode/unikernel/kernel/random.h"

#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/bytes.h"

#define BLOCK_BYTES   64u
#define KEY_WORDS     8u
#define DOUBLE_ROUNDS 10

static uint32_t key[KEY_WORDS];
static uint64_t counter;

static uint32_t rotate(uint32_t value, unsigned by)
{
    return value << by | value >> (32 - by);
}

static void quarter(uint32_t *s, unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 7);
}

static void block(uint8_t *out)
{
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    uint32_t s[16];
    memcpy(start + 4, key, sizeof(key));
    start[12] = (uint32_t)counter;
    start[13] = (uint32_t)(counter >> 32);
    counter++;
    memcpy(s, start, sizeof(s));
    for (int i = 0; i < DOUBLE_ROUNDS; i++) {
        quarter(s, 0, 4, 8, 12);
        quarter(s, 1, 5, 9, 13);
        quarter(s, 2, 6, 10, 14);
        quarter(s, 3, 7, 11, 15);
        quarter(s, 0, 5, 10, 15);
        quarter(s, 1, 6, 11, 12);
        quarter(s, 2, 7, 8, 13);
        quarter(s, 3, 4, 9, 14);
    }
    for (int i = 0; i < 16; i++) {
        le32_store(out + 4 * i, s[i] + start[i]);
    }
}

void random_init(const uint8_t *seed, uint64_t extra)
{
    for (unsigned i = 0; i < KEY_WORDS; i++) {
        key[i] = le32_load(seed + 4 * (size_t)i);
    }
    counter = extra;
}

void random_fill(void *to, size_t bytes)
{
    uint8_t out[BLOCK_BYTES];
    uint8_t *at = to;
    while (bytes != 0) {
        size_t part = MIN(bytes, sizeof(out));
        block(out);
        memcpy(at, out, part);
        at += part;
        bytes -= part;
    }
    block(out);
    memcpy(key, out, sizeof(key));
    memset(out, 0, sizeof(out));
}
