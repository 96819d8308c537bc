/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few things that far/ needs of the machine. On the machine: arch/x86_64 and kernel/. When
 * far/ is built as a Linux process for its tests: host/.
 *
 * Everything here may be called in fault context: nothing allocates, sleeps or logs.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_PORT_H
#define DILOS_UNIKERNEL_KERNEL_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define CPU_COUNT_MAX 16

/* Guest-physical address: what devices and page tables hold. Never dereferenced. */
typedef struct {
    uint64_t v;
} phys_addr_t;

/* All RAM is mapped; valid for every address inside it. */
void *phys_to_virt(phys_addr_t pa);
phys_addr_t virt_to_phys(const void *direct_map_address);

/* Root page table (PML4) of the one address space; 512 entries; upper half is the kernel's. */
uint64_t *port_root_table(void);

/*
 * Invalidate cached translations on every processor that may have them, and return when all have
 * forgotten them. A processor that waits here, spins with cpu_relax(), or yields to another thread
 * answers the requests of others meanwhile. Each flush is a barrier, too: when it returns, no other
 * processor is in a piece of kernel code that it was in when the flush began, unless that waits in
 * cpu_relax(), thread_yield() or a halt (far/ frees page tables only then).
 */
void tlb_flush_page(uint64_t va);
void tlb_flush_pages(const uint64_t *va, uint32_t count);
void tlb_flush_all(void);

/* In every loop that waits for another processor. */
void cpu_relax(void);

/* Processors that run are 0 to cpu_count() - 1; constant while the thread is in the kernel. */
uint32_t cpu_index(void);
uint32_t cpu_count(void);

/*
 * The kernel lock (docs/decisions/0030): sleeping, recursive, of the running thread. Whoever waits
 * for it lets other threads of the processor run.
 */
void kernel_lock(void);
void kernel_unlock(void);
bool kernel_lock_held(void); /* by the running thread */

/* Other threads of this processor run first. false: there are none, nothing was done. */
bool thread_yield(void);

/* far/'s block of the running thread (far/pager_thread.h): zeroed at the thread's birth. */
struct pager_thread;
struct pager_thread *pager_thread(void);

/* Nanoseconds since boot, monotonic; costs about one rdtsc. */
uint64_t clock_ns(void);

/* Level as in enum ctl_level. Not in fault context. */
void klog(int level, const char *format, ...) PRINTF_LIKE(2, 3);

/* The kernel's own bug: reports with a backtrace and stops the machine. */
NORETURN COLD void panic(const char *format, ...) PRINTF_LIKE(1, 2);

#endif
