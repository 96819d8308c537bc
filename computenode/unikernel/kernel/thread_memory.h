/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of a thread: its stack, its structure and its FPU area, mapped in one piece with
 * nothing below the stack. A few that were given back are kept for the next thread.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_THREAD_MEMORY_H
#define DILOS_UNIKERNEL_KERNEL_THREAD_MEMORY_H

#include <stdbool.h>

#include "computenode/unikernel/kernel/thread.h"

/* Zeroed, with stack_top, fpu and slot. Under the kernel lock. Errors: -EAGAIN. */
int thread_memory_take(struct thread **ret) MUST_CHECK;
void thread_memory_give(struct thread *t);

#endif
