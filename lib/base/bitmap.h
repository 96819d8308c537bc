/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bits in an array of 64-bit words that the caller owns. Freestanding, not atomic.
 * Every `bit` must be below the bit count of the array; the caller keeps that count.
 */
#ifndef DILOS_LIB_BASE_BITMAP_H
#define DILOS_LIB_BASE_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define BITMAP_WORDS(bit_count) (((uint64_t)(bit_count) + 63) / 64)

static inline bool bitmap_test(const uint64_t *words, uint64_t bit)
{
    return (words[bit / 64] >> (bit % 64) & 1) != 0;
}

static inline void bitmap_set(uint64_t *words, uint64_t bit)
{
    words[bit / 64] |= UINT64_C(1) << (bit % 64);
}

static inline void bitmap_clear(uint64_t *words, uint64_t bit)
{
    words[bit / 64] &= ~(UINT64_C(1) << (bit % 64));
}

/* The first bit at or after `from` that is `value`; bit_count if there is none. */
static inline uint64_t bitmap_find(const uint64_t *words, uint64_t bit_count, uint64_t from,
                                   bool value)
{
    while (from < bit_count) {
        uint64_t word = value ? words[from / 64] : ~words[from / 64];
        word >>= from % 64;
        if (word != 0) {
            from += (uint64_t)__builtin_ctzll(word);
            return from < bit_count ? from : bit_count;
        }
        from = (from / 64 + 1) * 64;
    }
    return bit_count;
}

static inline uint64_t bitmap_count(const uint64_t *words, uint64_t bit_count)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < bit_count / 64; i++) {
        count += (uint64_t)__builtin_popcountll(words[i]);
    }
    if (bit_count % 64 != 0) {
        uint64_t mask = (UINT64_C(1) << (bit_count % 64)) - 1;
        count += (uint64_t)__builtin_popcountll(words[bit_count / 64] & mask);
    }
    return count;
}

#endif
