/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/irq.h"

#include <errno.h>
#include <stdbool.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/paging.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "lib/base/check.h"

#define LAPIC_ADDRESS       UINT64_C(0xfee00000)
#define LAPIC_EOI           0x0b0u
#define LAPIC_SPURIOUS      0x0f0u
#define LAPIC_LVT_TIMER     0x320u
#define LAPIC_LVT_LINT0     0x350u
#define LAPIC_LVT_LINT1     0x360u
#define LAPIC_LVT_ERROR     0x370u
#define LAPIC_TIMER_INITIAL 0x380u
#define LAPIC_TIMER_CURRENT 0x390u
#define LAPIC_TIMER_DIVIDE  0x3e0u
#define LAPIC_ENABLE        0x100u
#define LVT_MASKED          0x10000u
#define LVT_PERIODIC        0x20000u
#define DIVIDE_BY_16        3u

#define APIC_BASE_ENABLE (UINT64_C(1) << 11)

#define IOAPIC_COUNT_MAX   2
#define IOAPIC_STRIDE      0x10000u
#define IOAPIC_ADDRESS     UINT64_C(0xfec00000)
#define IOAPIC_PINS        24u
#define IOAPIC_VERSION     1u
#define IOAPIC_REDIRECTION 0x10u
#define REDIRECT_LEVEL     0x8000u
#define REDIRECT_MASKED    0x10000u

#define PIC1_DATA 0x21
#define PIC2_DATA 0xa1

#define TICK_NS           UINT64_C(10000000)
#define CALIBRATE_NS      UINT64_C(1000000)
#define ONCE_NS_MIN       UINT64_C(2000)
#define HANDLER_COUNT_MAX 32

static struct {
    irq_handler_fn handler;
    void *context;
    uint32_t gsi;
} handlers[HANDLER_COUNT_MAX];
static uint32_t handler_count;
static uint32_t ioapic_count;
static uint64_t timer_hz; /* after the divider */

static volatile uint32_t *lapic(uint32_t offset)
{
    return (volatile uint32_t *)((volatile uint8_t *)paging_device(LAPIC_ADDRESS) + offset);
}

static volatile uint32_t *ioapic(uint32_t index)
{
    return paging_device(IOAPIC_ADDRESS + (uint64_t)index * IOAPIC_STRIDE);
}

static uint32_t ioapic_read(uint32_t index, uint32_t reg)
{
    volatile uint32_t *io = ioapic(index);
    io[0] = reg;
    return io[4];
}

static void ioapic_write(uint32_t index, uint32_t reg, uint32_t value)
{
    volatile uint32_t *io = ioapic(index);
    io[0] = reg;
    io[4] = value;
}

static void ioapics_init(void)
{
    for (uint32_t i = 0; i < IOAPIC_COUNT_MAX; i++) {
        uint32_t version = ioapic_read(i, IOAPIC_VERSION);
        if ((version >> 16 & 0xff) != IOAPIC_PINS - 1) {
            break;
        }
        for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
            ioapic_write(i, IOAPIC_REDIRECTION + 2 * pin, REDIRECT_MASKED);
        }
        ioapic_count++;
    }
}

static void timer_calibrate(void)
{
    *lapic(LAPIC_TIMER_DIVIDE) = DIVIDE_BY_16;
    *lapic(LAPIC_LVT_TIMER) = LVT_MASKED | VECTOR_TIMER;
    *lapic(LAPIC_TIMER_INITIAL) = UINT32_MAX;
    uint64_t start_ns = clock_ns();
    uint64_t now_ns = start_ns;
    while (now_ns - start_ns < CALIBRATE_NS) {
        now_ns = clock_ns();
    }
    uint64_t count = UINT32_MAX - *lapic(LAPIC_TIMER_CURRENT);
    timer_hz = MAX(count * UINT64_C(1000000000) / (now_ns - start_ns), UINT64_C(1000));
}

static uint32_t timer_count(uint64_t ns)
{
    uint64_t count = MIN(ns, UINT64_C(1000000000)) * timer_hz / UINT64_C(1000000000);
    return (uint32_t)MAX(MIN(count, (uint64_t)UINT32_MAX), UINT64_C(1));
}

void irq_timer_tick(void)
{
    *lapic(LAPIC_LVT_TIMER) = LVT_PERIODIC | VECTOR_TIMER;
    *lapic(LAPIC_TIMER_INITIAL) = timer_count(TICK_NS);
}

void irq_timer_once(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_ns();
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    *lapic(LAPIC_LVT_TIMER) = VECTOR_TIMER;
    *lapic(LAPIC_TIMER_INITIAL) = timer_count(MAX(wait_ns, ONCE_NS_MIN));
}

void irq_init(void)
{
    port_out8(PIC1_DATA, 0xff);
    port_out8(PIC2_DATA, 0xff);
    msr_write(MSR_APIC_BASE,
              (msr_read(MSR_APIC_BASE) & UINT64_C(0xfff)) | LAPIC_ADDRESS | APIC_BASE_ENABLE);
    *lapic(LAPIC_LVT_LINT0) = LVT_MASKED;
    *lapic(LAPIC_LVT_LINT1) = LVT_MASKED;
    *lapic(LAPIC_LVT_ERROR) = LVT_MASKED;
    *lapic(LAPIC_SPURIOUS) = LAPIC_ENABLE | VECTOR_SPURIOUS;
    ioapics_init();
    timer_calibrate();
    irq_timer_tick();
}

uint32_t irq_count(void)
{
    return ioapic_count * IOAPIC_PINS;
}

int irq_register(uint32_t gsi, irq_handler_fn handler, void *context)
{
    if (gsi >= irq_count()) {
        return -EINVAL;
    }
    if (handler_count == HANDLER_COUNT_MAX) {
        return -ENOSPC;
    }
    handlers[handler_count].handler = handler;
    handlers[handler_count].context = context;
    handlers[handler_count].gsi = gsi;
    handler_count++;
    uint32_t reg = IOAPIC_REDIRECTION + 2 * (gsi % IOAPIC_PINS);
    ioapic_write(gsi / IOAPIC_PINS, reg + 1, 0); /* local APIC 0 */
    ioapic_write(gsi / IOAPIC_PINS, reg, (VECTOR_IRQ + gsi) | REDIRECT_LEVEL);
    return 0;
}

void irq_dispatch(unsigned vector)
{
    cpu_this()->interrupt_count++;
    if (vector == VECTOR_SPURIOUS) {
        return;
    }
    for (uint32_t i = 0; i < handler_count; i++) {
        if (VECTOR_IRQ + handlers[i].gsi == vector) {
            handlers[i].handler(handlers[i].context);
        }
    }
    *lapic(LAPIC_EOI) = 0;
}
