/* SPDX-License-Identifier: Apache-2.0 */
/* The first serial port (16550), polled, output only. Any context. */
#ifndef DILOS_UNIKERNEL_ARCH_SERIAL_H
#define DILOS_UNIKERNEL_ARCH_SERIAL_H

#include <stddef.h>

/* Finds out whether there is one; without it output goes nowhere. */
void serial_init(void);
void serial_write(const void *bytes, size_t length);

#endif
