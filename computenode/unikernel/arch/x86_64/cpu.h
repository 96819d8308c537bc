/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to one processor, found through GS: descriptor tables, the stack that it enters the
 * kernel on, and switches that depend on what the processor can do.
 */
#ifndef DILOS_UNIKERNEL_ARCH_CPU_H
#define DILOS_UNIKERNEL_ARCH_CPU_H

#include <stdatomic.h>
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

/* What a processor's TLB may hold, as far as others must know (tlb.c). */
enum cpu_tlb {
    CPU_TLB_LIVE,  /* it runs: it has to be asked to forget */
    CPU_TLB_IDLE,  /* it halts: it forgets everything before it goes on, if it is told so */
    CPU_TLB_STALE, /* it was told so */
};

struct thread;

/* tlb_tick()'s own. */
struct tlb_ticks {
    uint64_t due_ns;
    uint64_t fault_count_seen; /* at the last look */
    uint64_t flushed_ns;
    uint32_t grow_count; /* flushes that still follow a burst */
};

struct cpu {
    struct cpu *self;
    uint64_t kernel_rsp;      /* top of the stack of the thread that runs */
    uint64_t user_rsp;        /* scratch of entry_syscall */
    struct thread *thread;    /* that runs */
    struct thread *fpu_owner; /* whose registers the FPU holds, newer than its memory; or NULL */
    uint32_t index;
    bool smap;     /* supervisor access to user pages is fenced */
    bool emulated; /* by QEMU (TCG), which says "TCGTCGTCGTCG" in CPUID (QEMU, target/i386/cpu.c) */
    uint32_t relax_count;
    uint64_t timer_ns; /* when the timer is due; UINT64_MAX: it is not armed */
    uint64_t interrupt_count;
    uint64_t fault_count; /* page faults */
    struct tlb_ticks tlb_ticks;
    _Atomic uint32_t tlb;          /* enum cpu_tlb */
    _Atomic uint32_t tlb_askers;   /* bit i: processor i wants something forgotten */
    _Atomic bool waits_for_device; /* about to halt until a device has done something */
    struct tss tss;
    uint64_t gdt[10];
};

static inline struct cpu *cpu_this(void)
{
    struct cpu *cpu;
    /* volatile: a thread may have moved since the last time. */
    __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

/* Does another processor want it to forget something (tlb_answer())? `cpu` is this one. */
static inline bool cpu_is_asked(const struct cpu *cpu)
{
    return atomic_load_explicit(&cpu->tlb_askers, memory_order_relaxed) != 0;
}

/* That of another processor. */
struct cpu *cpu_of(uint32_t index);

/*
 * Loads descriptor tables, GS, control registers. Once for each processor, interrupts off. The
 * boot processor (0) first. `ist_bottom`: 3 stacks of PAGE_BYTES + IST_STACK_BYTES.
 */
void cpu_init(uint32_t index, struct thread *idle, uint8_t *ist_bottom);

/* Says how many processors run: 0 to count - 1. */
void cpu_count_set(uint32_t count);

/* From now on the processor enters the kernel from ring 3 on this stack. */
static inline void cpu_stack_set(struct cpu *cpu, uint64_t stack_top)
{
    cpu->kernel_rsp = stack_top;
    cpu->tss.rsp[0] = stack_top;
}

/* Lets supervisor code touch user pages, and forbids it again (no nesting). */
void cpu_user_access_begin(void);
void cpu_user_access_end(void);

/*
 * Halts with interrupts open until one has been handled; returns with them off. An interrupt that
 * is pending on entry is taken at once, so: look at the condition first, with interrupts off.
 */
void cpu_halt(void);

/* Lets pending interrupts in, without halting. Where nothing is held. */
void cpu_interrupts_take(void);

/*
 * The same for one that waits for a device, whose interrupt may go to another processor: say so
 * first, then look whether the device has done it, then halt or cancel.
 */
void cpu_halt_prepare(void);
void cpu_halt_cancel(void);

#endif
