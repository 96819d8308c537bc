/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_ARCH_CLOCK_H
#define DILOS_UNIKERNEL_ARCH_CLOCK_H

#include <stdint.h>

/*
 * Finds out how fast the time stamp counter runs: from CPUID (leaf 0x15, or the hypervisor's
 * 0x40000010), else against the 8254, channel 0 (about twenty milliseconds). Panics if there is
 * neither.
 */
void clock_init(void);

/* Wall clock at start, from the boot specification. */
void clock_realtime_set(uint64_t realtime_ns);

#endif
