/* SPDX-License-Identifier: Apache-2.0 */
/* The vDSO image and its clock page in the program's memory. */
#ifndef DILOS_UNIKERNEL_LINUX_VDSO_H
#define DILOS_UNIKERNEL_LINUX_VDSO_H

#include <stdint.h>

#include "computenode/unikernel/linux/vclock.h"
#include "lib/base/compiler.h"

/* Sets the clock page from the machine's clock. Once, before anything asks for the time. */
void vdso_init(void);
/* Maps both; *ret_va is the ELF header, for AT_SYSINFO_EHDR. Errors: those of mm_map(). */
int vdso_map(uint64_t *ret_va) MUST_CHECK;

const struct vclock_page *vdso_clock_page(void);
/* What the program sees: nanoseconds since boot, and since 1970. */
uint64_t program_monotonic_ns(void);
uint64_t program_realtime_ns(void);

#endif
