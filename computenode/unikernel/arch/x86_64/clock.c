/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/clock.h"

#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/kernel/kernel.h"

#define PIT_HZ            UINT64_C(1193182)
#define PIT_CHANNEL0      0x40
#define PIT_COMMAND       0x43
#define PIT_ONE_SHOT      0x30 /* channel 0, low then high byte, mode 0 */
#define PIT_LATCH         0x00
#define PIT_RUN_COUNTS    11932u /* ten milliseconds */
#define PIT_SAMPLE_COUNT  16
#define PIT_READ_MAX      10000000u
#define PIT_RUN_COUNT_MAX 8
#define PIT_AGREE         1000 /* runs agree when they differ by less than a thousandth */

#define CPUID_HYPERVISOR_BIT (1u << 31)
#define CPUID_HYPERVISOR_TSC 0x40000010u

__extension__ typedef unsigned __int128 uint128_t;

static struct clock_parameters parameters;
static uint64_t tsc_hz;

struct pit_sample {
    uint64_t tsc;
    uint32_t count;
};

static uint32_t pit_read(void)
{
    port_out8(PIT_COMMAND, PIT_LATCH);
    uint32_t low = port_in8(PIT_CHANNEL0);
    return (uint32_t)port_in8(PIT_CHANNEL0) << 8 | low;
}

/* The counter and the time when it was latched: of several tries the one that took least. */
static struct pit_sample pit_sample(void)
{
    struct pit_sample best = {0, 0};
    uint64_t best_width = UINT64_MAX;
    for (int i = 0; i < PIT_SAMPLE_COUNT; i++) {
        uint64_t before = tsc_read();
        port_out8(PIT_COMMAND, PIT_LATCH);
        uint64_t width = tsc_read() - before;
        uint32_t low = port_in8(PIT_CHANNEL0);
        uint32_t count = (uint32_t)port_in8(PIT_CHANNEL0) << 8 | low;
        if (width < best_width) {
            best_width = width;
            best = (struct pit_sample){before + width / 2, count};
        }
    }
    return best;
}

/* Counts between two readings; the counter goes round after 55 ms. */
static uint32_t pit_passed(uint32_t from, uint32_t to)
{
    return (from - to) & 0xffff;
}

/* One measurement; 0: the counter does not move. */
static uint64_t hz_from_pit_run(void)
{
    struct pit_sample start = pit_sample();
    uint32_t reads = 0;
    while (pit_passed(start.count, pit_read()) < PIT_RUN_COUNTS) {
        if (++reads > PIT_READ_MAX) {
            return 0;
        }
    }
    struct pit_sample end = pit_sample();
    uint32_t passed = MAX(pit_passed(start.count, end.count), 1);
    return (end.tsc - start.tsc) * PIT_HZ / passed;
}

/*
 * A VMM that is held up for more than a round of the counter makes a run's result too high, never
 * too low: so the lowest of several counts, and two that agree are enough.
 */
static uint64_t hz_from_pit(void)
{
    port_out8(PIT_COMMAND, PIT_ONE_SHOT);
    port_out8(PIT_CHANNEL0, 0xff);
    port_out8(PIT_CHANNEL0, 0xff);
    /* The count is loaded at the next clock pulse: wait until it has moved. */
    uint32_t first = pit_read();
    for (uint32_t reads = 0; pit_read() == first; reads++) {
        if (reads > PIT_READ_MAX) {
            return 0;
        }
    }
    uint64_t lowest = hz_from_pit_run();
    for (int i = 1; i < PIT_RUN_COUNT_MAX && lowest != 0; i++) {
        uint64_t hz = hz_from_pit_run();
        bool agree = MAX(hz, lowest) - MIN(hz, lowest) < lowest / PIT_AGREE;
        lowest = MIN(hz, lowest);
        if (agree) {
            break;
        }
    }
    return lowest;
}

static uint64_t hz_from_cpuid(void)
{
    if ((cpuid(1, 0).ecx & CPUID_HYPERVISOR_BIT) != 0 &&
        cpuid(CPUID_HYPERVISOR_BASE, 0).eax >= CPUID_HYPERVISOR_TSC) {
        return (uint64_t)cpuid(CPUID_HYPERVISOR_TSC, 0).eax * 1000;
    }
    if (cpuid(0, 0).eax >= 0x15) {
        struct cpuid r = cpuid(0x15, 0);
        if (r.eax != 0 && r.ebx != 0 && r.ecx != 0) {
            return (uint64_t)r.ecx * r.ebx / r.eax;
        }
    }
    return 0;
}

void clock_init(void)
{
    tsc_hz = hz_from_cpuid();
    if (tsc_hz == 0) {
        tsc_hz = hz_from_pit();
    }
    if (tsc_hz < 1000000) {
        panic("the speed of the time stamp counter can't be found out: this machine has neither "
              "CPUID leaf 0x15 or 0x40000010 nor an 8254 timer");
    }
    parameters.tsc_start = tsc_read();
    parameters.ns_multiplier = (uint64_t)(((uint128_t)1000000000 << 32) / tsc_hz);
}

void clock_realtime_set(uint64_t realtime_ns)
{
    parameters.realtime_start_ns = realtime_ns;
}

const struct clock_parameters *clock_parameters(void)
{
    return &parameters;
}

HOT uint64_t clock_ns(void)
{
    uint64_t passed = tsc_read() - parameters.tsc_start;
    return (uint64_t)((uint128_t)passed * parameters.ns_multiplier >> 32);
}

uint64_t clock_realtime_ns(void)
{
    return parameters.realtime_start_ns + clock_ns();
}

uint64_t clock_tsc_hz(void)
{
    return tsc_hz;
}
