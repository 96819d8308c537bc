/* SPDX-License-Identifier: Apache-2.0 */
/* Exceptions, interrupts and syscalls, once entry.S has saved the registers. */
#ifndef DILOS_UNIKERNEL_ARCH_TRAP_H
#define DILOS_UNIKERNEL_ARCH_TRAP_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/kernel.h"

/* Called by entry.S. trap_syscall: may the return use sysret? */
bool trap_syscall(struct user_regs *regs);
void trap_entry(unsigned vector, struct user_regs *regs, uint64_t error_code);
void trap_page_fault(struct user_regs *regs, uint64_t error_code);
NORETURN void trap_fatal(unsigned vector, struct user_regs *regs, uint64_t error_code);

/* Where to go on after a failed access at `rip`; 0: not an access to user memory (uaccess.c). */
uint64_t uaccess_fixup(uint64_t rip);

#endif
