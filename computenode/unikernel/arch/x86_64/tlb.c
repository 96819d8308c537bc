/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/tlb.h"

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "lib/base/check.h"

/* Under emulation all is flushed so often, */
#define FLUSH_NS UINT64_C(250000000)
/* and so many times, one GROW_NS after the other, after a burst of page faults: from 256 entries to
 * 65536. A burst is so many since the last look. */
#define GROW_COUNT  8u
#define GROW_NS     UINT64_C(10000000)
#define BURST_COUNT 16u
/* To look for that, while there is nothing to do. */
#define LOOK_NS UINT64_C(20000000)

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

/* Is it time? A program that fills its memory faults; when it stops, it begins to work there. */
static bool flush_is_due(struct cpu *cpu, uint64_t now_ns)
{
    struct tlb_ticks *ticks = &cpu->tlb_ticks;
    uint64_t faults = cpu->fault_count - ticks->fault_count_seen;
    bool bursts = faults >= BURST_COUNT;
    bool grows = !bursts && ticks->grow_count > 0;
    if (bursts) {
        ticks->grow_count = GROW_COUNT;
    } else if (grows) {
        ticks->grow_count--;
    }
    ticks->fault_count_seen = cpu->fault_count;
    ticks->due_ns = now_ns + (grows ? GROW_NS : LOOK_NS);
    return grows || now_ns - ticks->flushed_ns >= FLUSH_NS;
}

uint64_t tlb_tick(uint64_t now_ns)
{
    struct cpu *cpu = cpu_this();
    if (!cpu->emulated) {
        return UINT64_MAX;
    }
    if (now_ns >= cpu->tlb_ticks.due_ns && flush_is_due(cpu, now_ns)) {
        forget_all();
        cpu->tlb_ticks.flushed_ns = now_ns;
    }
    return cpu->tlb_ticks.due_ns;
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
