/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For targets whose input is a script: small numbers, then bytes, taken from the front. What is
 * asked for beyond the end reads as zeros, so that every input is a whole script.
 */
#ifndef DILOS_TESTS_FUZZ_INPUT_H
#define DILOS_TESTS_FUZZ_INPUT_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/compiler.h"

struct input {
    const uint8_t *data;
    size_t size;
};

static inline uint32_t input_u8(struct input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

static inline uint32_t input_u16(struct input *input)
{
    uint32_t low = input_u8(input);
    return low | input_u8(input) << 8;
}

static inline uint64_t input_u64(struct input *input)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        value |= (uint64_t)input_u16(input) << (16 * i);
    }
    return value;
}

/* Up to `bytes` that stay in the input. Returns how many there were. */
static inline size_t input_take(struct input *input, size_t bytes, const uint8_t **ret)
{
    size_t taken = MIN(bytes, input->size);
    *ret = input->data;
    input->data += taken;
    input->size -= taken;
    return taken;
}

/* Which of the first descriptors are open, as bits: the same before and after a script. */
static inline uint64_t input_descriptors(void)
{
    uint64_t open = 0;
    for (int fd = 0; fd < 64; fd++) {
        open |= fcntl(fd, F_GETFD) >= 0 ? UINT64_C(1) << fd : 0;
    }
    return open;
}

#endif
