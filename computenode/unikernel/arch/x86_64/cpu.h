/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to one processor, found through GS: descriptor tables, the stack that it enters the
 * kernel on, and switches that depend on what the processor can do.
 */
#ifndef DILOS_UNIKERNEL_ARCH_CPU_H
#define DILOS_UNIKERNEL_ARCH_CPU_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/port.h"
#include "lib/base/compiler.h"

/* Intel SDM vol. 3, 8.7 */
struct __attribute__((packed)) tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_map_offset;
};

struct cpu {
    struct cpu *self;
    uint64_t kernel_rsp; /* top of the stack of the thread that runs */
    uint64_t user_rsp;   /* scratch of entry_syscall */
    uint32_t index;
    int uaccess_failure; /* see uaccess_failure() */
    bool smap;           /* supervisor access to user pages is fenced */
    uint64_t interrupt_count;
    struct tss tss;
    uint64_t gdt[10];
};

static inline struct cpu *cpu_this(void)
{
    struct cpu *cpu;
    __asm__("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

/* Loads descriptor tables, GS, control registers. Once for each processor, interrupts off. */
void cpu_init(uint32_t index);

/* Puts x87, SSE, AVX registers into the state in which a program starts. */
void cpu_fpu_reset(void);

/* Lets supervisor code touch user pages, and forbids it again (no nesting). */
void cpu_user_access_begin(void);
void cpu_user_access_end(void);

/*
 * Halts with interrupts open until one has been handled; returns with them off. An interrupt that
 * is pending on entry is taken at once, so: look at the condition first, with interrupts off.
 */
void cpu_halt(void);

#endif
