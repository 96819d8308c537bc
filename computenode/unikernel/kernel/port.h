/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few things that far/ needs of the machine. On the machine: arch/x86_64 and kernel/. When
 * far/ is built as a Linux process for its tests: host/.
 *
 * Everything here may be called in fault context: nothing allocates, sleeps or logs.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_PORT_H
#define DILOS_UNIKERNEL_KERNEL_PORT_H

#include <stdint.h>

#include "lib/base/compiler.h"

/* Guest-physical address: what devices and page tables hold. Never dereferenced. */
typedef struct {
    uint64_t v;
} phys_addr_t;

/* All RAM is mapped; valid for every address inside it. */
void *phys_to_virt(phys_addr_t pa);
phys_addr_t virt_to_phys(const void *direct_map_address);

/* Root page table (PML4) of the one address space; 512 entries; upper half is the kernel's. */
uint64_t *port_root_table(void);

/* Invalidates cached translations on this CPU (issue of SMP: on all CPUs that run the space). */
void tlb_flush_page(uint64_t va);
void tlb_flush_all(void);

void cpu_relax(void);

/* Nanoseconds since boot, monotonic; costs about one rdtsc. */
uint64_t clock_ns(void);

/* Level as in enum ctl_level. Not in fault context. */
void klog(int level, const char *format, ...) PRINTF_LIKE(2, 3);

/* The kernel's own bug: reports with a backtrace and stops the machine. */
NORETURN void panic(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
