/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forgetting cached translations on all processors (tlb_flush_*() of kernel/port.h).
 *
 * Who wants it fills in its own request, sets its bit with every processor that runs, interrupts
 * them, and waits until each has answered; while it waits it answers others. A processor that halts
 * is not interrupted: it is told to forget everything when it goes on.
 */
#ifndef DILOS_UNIKERNEL_ARCH_TLB_H
#define DILOS_UNIKERNEL_ARCH_TLB_H

#include <stdint.h>

/* Does what others ask of this processor. From the interrupt, and from cpu_relax(). */
void tlb_answer(void);

/* First thing after a halt: forgets what it was told to. */
void tlb_wake(void);

/*
 * From the timer's interrupt. QEMU's emulation (TCG) enlarges its TLB, which begins with 256
 * entries, only when all of it is flushed (QEMU, accel/tcg/cputlb.c); one address space that fits
 * would never do that, and walk its page table at every second access. So there, and only there,
 * everything is forgotten: some times in a row after a burst of page faults (a program has filled
 * its memory and begins to work there), which lets the TLB grow to the size of that, and now and
 * then later. Each time costs a walk for each page that is in use, so not more often; and each tick
 * costs the fault that it falls into 60 us, as the emulator's timers are in another thread, so
 * while there are faults there are few. Returns when it wants to be called again; UINT64_MAX: it
 * doesn't.
 */
uint64_t tlb_tick(uint64_t now_ns);

#endif
