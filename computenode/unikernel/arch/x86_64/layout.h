/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things lie in the upper half of the address space, and the constants that assembly and C
 * share. Included by .S files: nothing but macros outside the __ASSEMBLER__ guard.
 *
 *   0xffff800000000000  direct map of all RAM
 *   0xffffc00000000000  kernel window: pageable kernel memory (far/mm.h)
 *   0xffffd00000000000  device registers, at this base plus their physical address
 *   0xffffe00000000000  kernel heap, allocations above a page (vmap)
 *   0xffffef0000000000  threads: stacks, each with what cannot be touched below it
 *   0xffffffff80000000  the kernel's image
 */
#ifndef DILOS_UNIKERNEL_ARCH_LAYOUT_H
#define DILOS_UNIKERNEL_ARCH_LAYOUT_H

#define KERNEL_BASE     0xffffffff80000000
#define DIRECT_MAP_BASE 0xffff800000000000
#define DIRECT_MAP_END  0xffffc00000000000
#define MMIO_BASE       0xffffd00000000000
#define VMAP_BASE       0xffffe00000000000
#define VMAP_END        0xffffef0000000000
#define THREADS_BASE    0xffffef0000000000
#define THREADS_END     0xfffff00000000000

/* Selectors, numbered as Linux numbers the user's: a program may look at its own. */
#define KERNEL_CS 0x10
#define KERNEL_SS 0x18
#define SYSRET_CS 0x23 /* sysret takes SS from +8 and CS from +16 */
#define USER_SS   0x2b
#define USER_CS   0x33
#define TSS_SEL   0x40

/* Offsets in struct cpu (cpu.h) for entry.S. */
#define CPU_KERNEL_RSP 8
#define CPU_USER_RSP   16

/* Offsets in struct user_regs (kernel.h) for entry.S. */
#define REGS_RBP      32
#define REGS_ORIG_RAX 120
#define REGS_CS       136

/* Where other processors start (ap.S): a page below 1 MiB, which is nobody's memory. */
#define AP_CODE_PHYSICAL 0x8000

#define KERNEL_STACK_BYTES 65536
#define IST_STACK_BYTES    8192

#define VECTOR_PAGE_FAULT 14
#define VECTOR_TIMER      32
#define VECTOR_IPI        33 /* another processor wants something */
#define VECTOR_IRQ        48 /* + global system interrupt */
#define VECTOR_SPURIOUS   255

#endif
