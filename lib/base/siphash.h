/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SipHash-2-4 with 128 bits of output (Aumasson, Bernstein: "SipHash: a fast short-input PRF"): a
 * keyed function of short messages. Freestanding.
 */
#ifndef DILOS_LIB_BASE_SIPHASH_H
#define DILOS_LIB_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

#define SIPHASH_BYTES 16u

/* `key` and `ret` have SIPHASH_BYTES each. */
void siphash(const uint8_t *key, const void *data, size_t length, uint8_t *ret);

#endif
