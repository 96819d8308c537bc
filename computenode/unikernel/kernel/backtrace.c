/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/backtrace.h"

#include <stdbool.h>

#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/symbols.h"

#define FRAME_COUNT_MAX 32

extern uint8_t image_start[], image_text_end[], image_rodata_end[], image_end[];

static uint64_t start_rip;
static uint64_t start_rbp;

void backtrace_start_at(uint64_t rip, uint64_t rbp)
{
    start_rip = rip;
    start_rbp = rbp;
}

static bool is_text(uint64_t address)
{
    return address >= (uint64_t)(uintptr_t)image_start &&
           address < (uint64_t)(uintptr_t)image_text_end;
}

static bool is_in(uint64_t address, uint64_t start, uint64_t end)
{
    return address >= start && address <= end - 16;
}

/*
 * A frame is a saved rbp and a return address, on a stack of the image or on a thread's. That one
 * starts at a frame that exists and only goes up, so it does not meet the guard.
 */
static bool is_frame(uint64_t rbp)
{
    return IS_ALIGNED(rbp, 8) &&
           (is_in(rbp, (uint64_t)(uintptr_t)image_rodata_end, (uint64_t)(uintptr_t)image_end) ||
            is_in(rbp, THREADS_BASE, THREADS_END));
}

/* `call_bytes`: 0, or what of the instruction before `address` tells the function: a call that
 * never returns may be the last one of it, and `address` the begin of another. */
static size_t format_line(char *to, size_t capacity, uint64_t address, uint64_t call_bytes)
{
    uint64_t offset = 0;
    const char *name = symbol_find(address - call_bytes, &offset);
    offset += call_bytes;
    int length = name != NULL
                     ? ksnprintf(to, capacity, "  at 0x%llx %s+0x%llx\n",
                                 (unsigned long long)address, name, (unsigned long long)offset)
                     : ksnprintf(to, capacity, "  at 0x%llx\n", (unsigned long long)address);
    return MIN((size_t)length, capacity - 1);
}

size_t backtrace_format(char *to, size_t capacity)
{
    size_t length = 0;
    uint64_t rbp = start_rbp;
    to[0] = '\0';
    if (start_rip != 0) {
        length += format_line(to, capacity, start_rip, 0);
    } else {
        rbp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    }
    for (int i = 0; i < FRAME_COUNT_MAX && is_frame(rbp) && capacity - length > 1; i++) {
        const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp;
        if (!is_text(frame[1])) {
            break;
        }
        length += format_line(to + length, capacity - length, frame[1], 1);
        if (frame[0] <= rbp) {
            break;
        }
        rbp = frame[0];
    }
    return length;
}
