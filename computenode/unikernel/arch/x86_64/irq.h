/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: local APIC (its timer too) and I/O APICs (Intel SDM vol. 3, 11; 82093AA data sheet).
 * Handlers run with interrupts off, at any place where the kernel halts or the program runs; they
 * acknowledge the device and count, nothing else.
 */
#ifndef DILOS_UNIKERNEL_ARCH_IRQ_H
#define DILOS_UNIKERNEL_ARCH_IRQ_H

#include <stdint.h>

#include "lib/base/compiler.h"

#define IRQ_COUNT_MAX 48 /* global system interrupts: two I/O APICs of 24 */

typedef void (*irq_handler_fn)(void *context);

/* Masks the 8259s, enables the local APIC, starts the tick. After clock_init(). */
void irq_init(void);

/* How many interrupts the I/O APICs have: 24 or 48 (0: there is none). */
uint32_t irq_count(void);

/*
 * Level triggered, active high. Handlers of one interrupt that several devices share are all
 * called. Errors: -EINVAL no such interrupt, -ENOSPC too many handlers.
 */
int irq_register(uint32_t gsi, irq_handler_fn handler, void *context) MUST_CHECK;

/* From trap.c. */
void irq_dispatch(unsigned vector);

/* One interrupt at `deadline_ns` of clock_ns() in place of the tick; then the tick again. */
void irq_timer_once(uint64_t deadline_ns);
void irq_timer_tick(void);

#endif
