/* SPDX-License-Identifier: Apache-2.0 */
/* Starting the other processors. */
#ifndef DILOS_UNIKERNEL_ARCH_SMP_H
#define DILOS_UNIKERNEL_ARCH_SMP_H

#include <stdint.h>

/*
 * Starts processors 1 to count - 1 (APIC ids are the same) and lets them idle. From the first that
 * does not come up in time on they are left out, with a message. Once, under the kernel lock, when
 * there is a heap. cpu_count() says how many run.
 */
void smp_start(uint32_t count);

#endif
