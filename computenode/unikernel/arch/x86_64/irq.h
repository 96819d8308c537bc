/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts of devices, through the I/O APICs (82093AA data sheet), and what every interrupt leads
 * to. Handlers run with interrupts off, at any place where the kernel halts or the program runs;
 * they acknowledge the device and count, nothing else.
 */
#ifndef DILOS_UNIKERNEL_ARCH_IRQ_H
#define DILOS_UNIKERNEL_ARCH_IRQ_H

#include <stdint.h>

#include "lib/base/compiler.h"

#define IRQ_COUNT_MAX 48 /* global system interrupts: two I/O APICs of 24 */

typedef void (*irq_handler_fn)(void *context);

/* Masks the 8259s, and everything at the I/O APICs. Once, after lapic_init(). */
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

#endif
