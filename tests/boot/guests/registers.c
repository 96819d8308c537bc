/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers survive page faults, system calls and timer interrupts: SSE registers hold a pattern
 * while memory is touched and time passes, and no general register but rax, rcx, r11 changes.
 */
#include "tests/boot/guests/guest.h"

#define ROUNDS 20000

static int general_registers_kept(void)
{
    uint64_t wrong;
    __asm__ volatile("mov $1, %%rbx\n mov $2, %%r12\n mov $3, %%r13\n mov $4, %%r14\n"
                     "mov $5, %%r15\n mov $6, %%rdx\n mov $7, %%r8\n mov $8, %%r9\n"
                     "mov $9, %%r10\n mov $10, %%rsi\n mov $-1, %%rdi\n mov $39, %%eax\n syscall\n"
                     "sub $1, %%rbx\n sub $2, %%r12\n sub $3, %%r13\n sub $4, %%r14\n"
                     "sub $5, %%r15\n sub $6, %%rdx\n sub $7, %%r8\n sub $8, %%r9\n"
                     "sub $9, %%r10\n sub $10, %%rsi\n add $1, %%rdi\n"
                     "or %%r12, %%rbx\n or %%r13, %%rbx\n or %%r14, %%rbx\n or %%r15, %%rbx\n"
                     "or %%rdx, %%rbx\n or %%r8, %%rbx\n or %%r9, %%rbx\n or %%r10, %%rbx\n"
                     "or %%rsi, %%rbx\n or %%rdi, %%rbx\n mov %%rbx, %%rax\n"
                     : "=a"(wrong)
                     :
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                       "r14", "r15", "memory");
    return wrong == 0;
}

static int vector_registers_kept(volatile uint64_t *page, uint64_t value)
{
    uint64_t low, high;
    __asm__ volatile("movq %2, %%xmm3\n movq %2, %%xmm15\n movq %3, (%4)\n movq %%xmm3, %0\n"
                     "movq %%xmm15, %1\n"
                     : "=&r"(low), "=&r"(high)
                     : "r"(value), "r"(value), "r"(page)
                     : "xmm3", "xmm15", "memory");
    return low == value && high == value;
}

int guest_main(int argc, char **argv)
{
    uint64_t *memory = guest_map((size_t)ROUNDS * 4096);
    if ((long)memory < 0) {
        return 2;
    }
    for (uint64_t i = 0; i < ROUNDS; i++) {
        if (!general_registers_kept() || !vector_registers_kept(memory + i * 512, i * 77 + 1)) {
            guest_say_number("lost in round", i);
            return 1;
        }
    }
    return 0;
}
