/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/tlb.h"

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "lib/base/check.h"

/* Under emulation every so many ticks flush, */
#define TICKS_KEPT 25u
/* and so many ticks after one with as many faults as this: from 256 entries to 65536. */
#define TICKS_GROWING 8u
#define FAULTS_BUSY   16u

#define CPUID_HYPERVISOR_BASE 0x40000000u
#define TCG_EBX               0x54474354u /* "TCGT" */

#define PAGES_MAX 64u /* in one request; more pages are asked for in several */

/* What processor i wants the others to forget. Written by i while `pending` is 0. */
static struct request {
    _Atomic uint32_t pending; /* bit j: processor j has not answered yet */
    uint32_t count;           /* 0: everything but what is global */
    uint64_t va[PAGES_MAX];
} requests[CPU_COUNT_MAX];

static void forget_page(uint64_t va)
{
    __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* Global translations are the kernel's own; they change page by page only. */
static void forget_all(void)
{
    cr3_write(cr3_read());
}

static void forget_global(void)
{
    uint64_t cr4 = cr4_read();
    cr4_write(cr4 & ~CR4_PGE);
    cr4_write(cr4);
}

static void forget(const struct request *r)
{
    if (r->count == 0) {
        forget_all();
    }
    for (uint32_t i = 0; i < r->count; i++) {
        forget_page(r->va[i]);
    }
}

void tlb_answer(void)
{
    struct cpu *cpu = cpu_this();
    uint32_t askers = atomic_exchange(&cpu->tlb_askers, 0);
    for (; askers != 0; askers &= askers - 1) {
        struct request *r = &requests[__builtin_ctz(askers)];
        forget(r);
        atomic_fetch_and(&r->pending, ~(UINT32_C(1) << cpu->index));
    }
}

void tlb_wake(void)
{
    struct cpu *cpu = cpu_this();
    if (atomic_exchange(&cpu->tlb, CPU_TLB_LIVE) == CPU_TLB_STALE) {
        forget_global();
    }
}

/* QEMU's emulator says "TCGTCGTCGTCG" there (QEMU, target/i386/cpu.c). */
static bool is_emulated(void)
{
    return cpuid(CPUID_HYPERVISOR_BASE, 0).ebx == TCG_EBX;
}

/* Is it time? A program that fills its memory faults; when it stops, it begins to work there. */
static bool tick_flushes(struct cpu *cpu)
{
    uint64_t faults = cpu->fault_count - cpu->fault_count_seen;
    cpu->fault_count_seen = cpu->fault_count;
    if (faults >= FAULTS_BUSY) {
        cpu->tlb_growing = TICKS_GROWING;
    } else if (cpu->tlb_growing > 0) {
        cpu->tlb_growing--;
        return true;
    }
    return ++cpu->tick_count % TICKS_KEPT == 0;
}

void tlb_tick(void)
{
    if (tick_flushes(cpu_this()) && is_emulated()) {
        forget_all();
    }
}

/*
 * Has processor `to` no need to be asked? The order matters: it says that it halts before it looks
 * for askers (cpu_halt()).
 */
static bool told_to_forget(struct cpu *to)
{
    uint32_t idle = CPU_TLB_IDLE;
    return atomic_compare_exchange_strong(&to->tlb, &idle, CPU_TLB_STALE) || idle == CPU_TLB_STALE;
}

static void ask_others(struct request *r)
{
    struct cpu *cpu = cpu_this();
    uint32_t count = cpu_count(), asked = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i != cpu->index && !told_to_forget(cpu_of(i))) {
            asked |= UINT32_C(1) << i;
        }
    }
    atomic_store(&r->pending, asked);
    for (uint32_t left = asked; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        atomic_fetch_or(&cpu_of(i)->tlb_askers, UINT32_C(1) << cpu->index);
        lapic_interrupt(i);
    }
    while (atomic_load(&r->pending) != 0) {
        cpu_relax();
    }
}

HOT static void flush(const uint64_t *va, uint32_t count)
{
    struct request *r = &requests[cpu_index()];
    r->count = count;
    for (uint32_t i = 0; i < count; i++) {
        r->va[i] = va[i];
    }
    forget(r);
    if (cpu_count() > 1) {
        ask_others(r);
    }
}

HOT void tlb_flush_pages(const uint64_t *va, uint32_t count)
{
    while (count != 0) {
        uint32_t part = MIN(count, PAGES_MAX);
        flush(va, part);
        va += part;
        count -= part;
    }
}

void tlb_flush_page(uint64_t va)
{
    flush(&va, 1);
}

HOT void tlb_flush_all(void)
{
    flush(NULL, 0);
}
