/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for words of the program's memory: futex(2). A waiter looks at the word and enters its
 * queue under the kernel lock, which every waker takes after it has changed the word: nobody is
 * missed. The words may be on remote pages.
 */
#ifndef DILOS_UNIKERNEL_LINUX_FUTEX_H
#define DILOS_UNIKERNEL_LINUX_FUTEX_H

#include <stdbool.h>
#include <stdint.h>

/* Wakes up to `count` that wait for the word, private or shared; how many. */
uint32_t futex_wake_address(uint64_t address, uint32_t count);

/*
 * A thread ended that owns what is on its robust list (get_robust_list(2), and the kernel's
 * documentation "robust futex ABI"): marks each word as of a dead owner and wakes one waiter.
 */
void futex_owner_died(uint64_t list_head, uint32_t tid);
/* The same for words with an owner that others wait for: one of them owns it now. */
void futex_pi_owner_died(uint32_t tid);

/* Does -EDEADLK tell the program something, and not the machine that nobody can go on? */
struct call;
bool futex_says_deadlock(const struct call *c);

#endif
