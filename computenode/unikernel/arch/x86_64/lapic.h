/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local APIC of each processor: its timer, and interrupts from processor to processor (Intel
 * SDM vol. 3, 11). Processor i has the APIC id i.
 */
#ifndef DILOS_UNIKERNEL_ARCH_LAPIC_H
#define DILOS_UNIKERNEL_ARCH_LAPIC_H

#include <stdbool.h>
#include <stdint.h>

/* On each processor; on the first after clock_init(): it finds out how fast the timer runs. */
void lapic_init(void);

/* The interrupt is handled. */
void lapic_end(void);

/* An interrupt at `deadline_ns` of clock_ns(), or sooner if one was asked for that is sooner. */
void lapic_timer(uint64_t deadline_ns);

/* Interrupts processor `to`: it looks at what is wanted of it (irq.c). */
void lapic_interrupt(uint32_t to);

/* Stops all other processors, wherever they are; they do not come back (a panic). */
void lapic_stop_others(void);
/* Has one called it? Then an NMI means that. */
bool lapic_stopping(void);

/* The three interrupts that start a processor at a page below 1 MiB (Intel SDM vol. 3, 9.4.4). */
void lapic_send_init(uint32_t to);
void lapic_send_startup(uint32_t to, uint32_t page);

#endif
