/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/siphash.h"

#include "lib/base/bytes.h"

#define FINAL_ROUNDS 4

struct state {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void mix(struct state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 = rotate(s->v2, 32);
}

static void absorb(struct state *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    mix(s);
    s->v0 ^= word;
}

static uint64_t finish(struct state *s)
{
    for (unsigned i = 0; i < FINAL_ROUNDS; i++) {
        mix(s);
    }
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

void siphash(const uint8_t *key, const void *data, size_t length, uint8_t *ret)
{
    const uint8_t *at = data;
    uint64_t k0 = le64_load(key);
    uint64_t k1 = le64_load(key + 8);
    struct state s = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
                      k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)length << 56;
    s.v1 ^= 0xee;
    for (; length >= 8; length -= 8, at += 8) {
        absorb(&s, le64_load(at));
    }
    for (size_t i = 0; i < length; i++) {
        last |= (uint64_t)at[i] << (8 * i);
    }
    absorb(&s, last);
    s.v2 ^= 0xee;
    le64_store(ret, finish(&s));
    s.v1 ^= 0xdd;
    le64_store(ret + 8, finish(&s));
}
