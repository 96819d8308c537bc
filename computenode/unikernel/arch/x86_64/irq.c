/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/irq.h"

#include <errno.h>
#include <stdbool.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/paging.h"
#include "computenode/unikernel/arch/x86_64/tlb.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/kernel/control.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/check.h"

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

#define HANDLER_COUNT_MAX 32

static struct {
    irq_handler_fn handler;
    void *context;
    uint32_t gsi;
} handlers[HANDLER_COUNT_MAX];
static uint32_t handler_count;
static uint32_t ioapic_count;

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

void irq_init(void)
{
    port_out8(PIC1_DATA, 0xff);
    port_out8(PIC2_DATA, 0xff);
    ioapics_init();
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

/* Device interrupts come to processor 0, but another may be the one that waits. */
static void wake_waiting_processors(void)
{
    uint32_t count = cpu_count();
    for (uint32_t i = 0; i < count; i++) {
        if (i != cpu_index() && atomic_exchange(&cpu_of(i)->waits_for_device, false)) {
            lapic_interrupt(i);
        }
    }
}

static void dispatch_device(unsigned vector)
{
    for (uint32_t i = 0; i < handler_count; i++) {
        if (VECTOR_IRQ + handlers[i].gsi == vector) {
            handlers[i].handler(handlers[i].context);
        }
    }
    wake_waiting_processors();
    control_interrupt();
}

void irq_dispatch(unsigned vector)
{
    cpu_this()->interrupt_count++;
    switch (vector) {
    case VECTOR_SPURIOUS:
        return;
    case VECTOR_TIMER:
        lapic_end();
        cpu_this()->timer_ns = UINT64_MAX;
        thread_timer(tlb_tick(clock_ns()));
        control_interrupt(); /* in case one of the device's was lost */
        return;
    case VECTOR_IPI:
        lapic_end();
        tlb_answer();
        thread_poked();
        return;
    default:
        dispatch_device(vector);
        lapic_end();
    }
}
