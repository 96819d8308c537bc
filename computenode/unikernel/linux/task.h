/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the program: birth, death, and finding them. All under the kernel lock. */
#ifndef DILOS_UNIKERNEL_LINUX_TASK_H
#define DILOS_UNIKERNEL_LINUX_TASK_H

#include "computenode/unikernel/linux/process.h"

/* The running thread becomes the first of the program. Errors: -ENOMEM. */
int task_first(struct process *p) MUST_CHECK;

/*
 * Makes another thread, which starts with t->start (set by the caller, as everything else that it
 * does not inherit) once task_start() is called; until then task_drop() undoes it. Inherits the
 * caller's mask, name, FPU state and bases. Errors: -EAGAIN.
 */
int task_new(struct process *p, struct task **ret) MUST_CHECK;
void task_start(struct task *t);
void task_drop(struct task *t);

/* Ends the running thread: exit(2). With the last one the program ends. */
NORETURN void task_exit(int status);

/* NULL: there is none. */
struct task *task_find(struct process *p, uint32_t tid);

#endif
