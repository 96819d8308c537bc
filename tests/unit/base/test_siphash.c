/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/siphash.h"

#include "tests/tap.h"

/* Key 00..0f over 00, 01, ... of each length: the first vectors of the reference's 128-bit table,
 * and one of more than a word (openssl mac SIPHASH agrees). */
static void test_vectors(void)
{
    static const struct {
        unsigned length;
        uint8_t wanted[SIPHASH_BYTES];
    } cases[] = {
        {0,
         {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02,
          0x93}},
        {1,
         {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc,
          0x45}},
        {47,
         {0xe6, 0x1c, 0x43, 0x2b, 0x72, 0x0b, 0x19, 0xd1, 0x8e, 0xc8, 0xd8, 0x4b, 0xdc, 0x63, 0x15,
          0x1b}},
    };
    uint8_t key[SIPHASH_BYTES];
    uint8_t data[64];
    for (unsigned i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)i;
    }
    for (unsigned i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)i;
    }
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t got[SIPHASH_BYTES];
        siphash(key, data, cases[i].length, got);
        EXPECT(memcmp(got, cases[i].wanted, sizeof(got)) == 0);
    }
}

/* Every bit of key and data matters. */
static void test_every_bit_counts(void)
{
    uint8_t key[SIPHASH_BYTES] = {1};
    uint8_t data[19] = {2};
    uint8_t base[SIPHASH_BYTES];
    uint8_t got[SIPHASH_BYTES];
    siphash(key, data, sizeof(data), base);
    for (unsigned bit = 0; bit < 8 * sizeof(key); bit++) {
        key[bit / 8] ^= (uint8_t)(1u << bit % 8);
        siphash(key, data, sizeof(data), got);
        EXPECT(memcmp(got, base, sizeof(got)) != 0);
        key[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (unsigned bit = 0; bit < 8 * sizeof(data); bit++) {
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        siphash(key, data, sizeof(data), got);
        EXPECT(memcmp(got, base, sizeof(got)) != 0);
        data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    siphash(key, data, sizeof(data) - 1, got);
    EXPECT(memcmp(got, base, sizeof(got)) != 0);
}

int main(void)
{
    TAP_RUN(test_vectors);
    TAP_RUN(test_every_bit_counts);
    return tap_done();
}
