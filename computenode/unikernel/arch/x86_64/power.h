/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_ARCH_POWER_H
#define DILOS_UNIKERNEL_ARCH_POWER_H

#include <stdint.h>

#include "lib/base/compiler.h"

/*
 * Ends the machine: QEMU's isa-debug-exit (port 0xf4; QEMU then exits with value * 2 + 1), else a
 * triple fault, which ends a VMM that does not reboot (QEMU: -no-reboot).
 */
NORETURN void power_off(uint8_t value);

#endif
