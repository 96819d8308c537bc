/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/lapic.h"

#include <stdatomic.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/paging.h"
#include "computenode/unikernel/arch/x86_64/x86.h"

#define ADDRESS          UINT64_C(0xfee00000)
#define REG_EOI          0x0b0u
#define REG_SPURIOUS     0x0f0u
#define REG_COMMAND_LOW  0x300u
#define REG_COMMAND_HIGH 0x310u
#define REG_LVT_TIMER    0x320u
#define REG_LVT_LINT0    0x350u
#define REG_LVT_LINT1    0x360u
#define REG_LVT_ERROR    0x370u
#define REG_INITIAL      0x380u
#define REG_CURRENT      0x390u
#define REG_DIVIDE       0x3e0u

#define ENABLE           0x100u
#define MASKED           0x10000u
#define DIVIDE_BY_16     3u
#define APIC_BASE_ENABLE (UINT64_C(1) << 11)

/* Interrupt command register: Intel SDM vol. 3, 11.6.1 */
#define COMMAND_NMI      0x400u
#define COMMAND_INIT     0x500u
#define COMMAND_STARTUP  0x600u
#define COMMAND_PENDING  0x1000u
#define COMMAND_ASSERT   0x4000u
#define COMMAND_OTHERS   0xc0000u
#define COMMAND_WAIT_MAX 1000000u

#define NS_PER_S     UINT64_C(1000000000)
#define CALIBRATE_NS UINT64_C(1000000)
#define WAIT_NS_MIN  UINT64_C(2000)

static uint64_t timer_hz; /* after the divider */
static atomic_bool stopping;

static volatile uint32_t *lapic(uint32_t offset)
{
    return (volatile uint32_t *)((volatile uint8_t *)paging_device(ADDRESS) + offset);
}

static void timer_calibrate(void)
{
    *lapic(REG_INITIAL) = UINT32_MAX;
    uint64_t start_ns = clock_ns();
    uint64_t now_ns = start_ns;
    while (now_ns - start_ns < CALIBRATE_NS) {
        now_ns = clock_ns();
    }
    uint64_t count = UINT32_MAX - *lapic(REG_CURRENT);
    timer_hz = MAX(count * NS_PER_S / (now_ns - start_ns), UINT64_C(1000));
}

void lapic_init(void)
{
    msr_write(MSR_APIC_BASE,
              (msr_read(MSR_APIC_BASE) & UINT64_C(0xfff)) | ADDRESS | APIC_BASE_ENABLE);
    *lapic(REG_LVT_LINT0) = MASKED;
    *lapic(REG_LVT_LINT1) = MASKED;
    *lapic(REG_LVT_ERROR) = MASKED;
    *lapic(REG_SPURIOUS) = ENABLE | VECTOR_SPURIOUS;
    *lapic(REG_DIVIDE) = DIVIDE_BY_16;
    *lapic(REG_LVT_TIMER) = MASKED | VECTOR_TIMER;
    if (timer_hz == 0) {
        timer_calibrate();
    }
    *lapic(REG_INITIAL) = 0;
    *lapic(REG_LVT_TIMER) = VECTOR_TIMER; /* one shot */
}

void lapic_end(void)
{
    *lapic(REG_EOI) = 0;
}

static uint32_t timer_count(uint64_t ns)
{
    uint64_t count = MIN(ns, NS_PER_S) * timer_hz / NS_PER_S;
    return (uint32_t)MAX(MIN(count, (uint64_t)UINT32_MAX), UINT64_C(1));
}

void lapic_timer(uint64_t deadline_ns)
{
    struct cpu *cpu = cpu_this();
    if (deadline_ns >= cpu->timer_ns) {
        return;
    }
    uint64_t now_ns = clock_ns();
    uint64_t wait_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    cpu->timer_ns = deadline_ns;
    *lapic(REG_INITIAL) = timer_count(MAX(wait_ns, WAIT_NS_MIN));
}

static void command(uint32_t to, uint32_t low)
{
    uint32_t reads = 0;
    *lapic(REG_COMMAND_HIGH) = to << 24;
    *lapic(REG_COMMAND_LOW) = low;
    while ((*lapic(REG_COMMAND_LOW) & COMMAND_PENDING) != 0 && ++reads < COMMAND_WAIT_MAX) {
        __asm__ volatile("pause");
    }
}

void lapic_interrupt(uint32_t to)
{
    command(to, COMMAND_ASSERT | VECTOR_IPI);
}

void lapic_stop_others(void)
{
    atomic_store(&stopping, true);
    if (cpu_count() > 1) {
        command(0, COMMAND_OTHERS | COMMAND_ASSERT | COMMAND_NMI);
    }
}

bool lapic_stopping(void)
{
    return atomic_load(&stopping);
}

void lapic_send_init(uint32_t to)
{
    command(to, COMMAND_ASSERT | COMMAND_INIT);
}

void lapic_send_startup(uint32_t to, uint32_t page)
{
    command(to, COMMAND_ASSERT | COMMAND_STARTUP | page);
}
