/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What linux/, fs/ and net/ may use of the kernel proper (arch/x86_64 and kernel/ implement it),
 * and the three doors through which the kernel calls up into linux/.
 */
#ifndef DILOS_UNIKERNEL_KERNEL_KERNEL_H
#define DILOS_UNIKERNEL_KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/blkq.h"
#include "computenode/unikernel/kernel/port.h"
#include "lib/base/compiler.h"
#include "lib/wire/bootspec.h"
#include "lib/wire/ctl.h"
#include "lib/wire/gueststats.h"

/* User registers as saved on every entry from ring 3, by syscall or exception. */
struct user_regs {
    uint64_t r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
    uint64_t orig_rax; /* syscall number, or ~0 when the entry was an exception */
    uint64_t rip, cs, rflags, rsp, ss;
};

/* ---- kernel heap: kernel/heap.c. Under the kernel lock. ---- */
void *kmalloc(size_t bytes); /* NULL when there is no memory; 16-byte aligned; any size */
void *kzalloc(size_t bytes);
void *krealloc(void *p, size_t bytes);
void kfree(void *p); /* NULL is fine */

/* ---- strings: kernel/string.c (memcpy and friends, ksnprintf) ---- */
int ksnprintf(char *to, size_t capacity, const char *format, ...) PRINTF_LIKE(3, 4);

/* ---- user memory: arch/x86_64/uaccess. May fault and page; hold no lock. ---- */
/* 0, or -EFAULT (nothing, or a part, was copied). */
int copy_from_user(void *to, uint64_t from, size_t bytes) MUST_CHECK;
int copy_to_user(uint64_t to, const void *from, size_t bytes) MUST_CHECK;
int clear_user(uint64_t to, size_t bytes) MUST_CHECK;
/* Length without the NUL, -EFAULT, or -ENAMETOOLONG if there is no NUL in `capacity` bytes. */
int64_t string_from_user(char *to, uint64_t from, size_t capacity) MUST_CHECK;
/* Copies between any two of user memory and the kernel window (file contents). */
int copy_pageable(uint64_t to, uint64_t from, size_t bytes) MUST_CHECK;
/* Copies between the kernel window and kernel memory (not pageable). Fault context is fine. */
int copy_to_window(uint64_t to, const void *from, size_t bytes) MUST_CHECK;
int copy_from_window(void *to, uint64_t from, size_t bytes) MUST_CHECK;
/* The reason of the last -EFAULT of this thread that was not the program's fault: 0, or -EIO,
 * -ENOMEM, -ENOSPC. A syscall that fails so does not return: the program is stopped with that
 * reason. */
int uaccess_failure(void);
/*
 * Replaces the word at `at` (4-byte aligned) by `next` if it is `expected`, atomically also for
 * other processors; *ret_found: what it was. Errors: -EFAULT.
 */
int user_compare_exchange(uint64_t at, uint32_t expected, uint32_t next,
                          uint32_t *ret_found) MUST_CHECK;

/* ---- time ---- */
/* What clock_ns() computes with, for the vDSO: ns = (tsc - tsc_start) * ns_multiplier >> 32, the
 * product having 128 bits; clock_realtime_ns() adds realtime_start_ns. Constant once booted. */
struct clock_parameters {
    uint64_t tsc_start;
    uint64_t ns_multiplier;
    uint64_t realtime_start_ns;
};
const struct clock_parameters *clock_parameters(void);
uint64_t clock_realtime_ns(void); /* since 1970 UTC */
uint64_t clock_tsc_hz(void);

/* ---- machine ---- */
const struct bootspec *boot_spec(void);
void random_fill(void *to, size_t bytes); /* ChaCha20 seeded by the boot specification */
uint64_t machine_ram_bytes(void);
void user_fs_base_set(uint64_t base); /* FS.base of the running thread */
uint64_t user_fs_base(void);
void user_gs_base_set(uint64_t base); /* both bases: below MM_USER_END, checked by the caller */
uint64_t user_gs_base(void);
/* Drops to ring 3 and gives the kernel lock back; does not return. */
NORETURN void user_enter(const struct user_regs *regs);
struct gueststats *machine_stats(void);          /* block 0, where the kernel and linux/ count */
void machine_stats_read(struct gueststats *ret); /* the sum over all processors */

/* ---- the control channel: kernel/control.c. Falls back to the serial port without one. ---- */
void control_output(int descriptor, const void *bytes, size_t length); /* all of it; may wait */
/* Takes up to `capacity` bytes of stdin; -EAGAIN nothing there yet, 0 end of file. */
int64_t control_input(void *to, size_t capacity);
/* Waits until control_input() may have something to say. Errors: -EINTR. */
int control_input_wait(void) MUST_CHECK;
/* From now on signals from outside go to linux_signal(). Errors: -EAGAIN no memory. */
int control_start(void) MUST_CHECK;
void control_unknown_syscall(uint32_t number, const char *name);
/* Ends the machine: quiesces the pager, reports, powers off. */
NORETURN void machine_exit(enum ctl_exit_kind kind, int code, const char *reason);

/* ---- the root block device (read only), bytes at any offset. Waits. Errors: -EIO. ---- */
bool rootdev_present(void);
uint64_t rootdev_bytes(void);
int rootdev_read(uint64_t offset, void *to, size_t bytes) MUST_CHECK;

/* ---- doors up into linux/: all called under the kernel lock ---- */
/* Loads the program of the boot specification and enters it. In a thread of its own. */
NORETURN void linux_start(void);
/* A syscall: number in orig_rax, arguments in rdi rsi rdx r10 r8 r9, result to rax. */
void linux_syscall(struct user_regs *regs);
/*
 * An exception from ring 3 that the kernel did not resolve. vector as in the Intel SDM vol. 3,
 * 6.3.1. For #PF (14) address is CR2 and failure the negative errno of mm_fault().
 */
void linux_exception(struct user_regs *regs, unsigned vector, uint64_t error_code, uint64_t address,
                     int failure);
/* On the way to ring 3 of a thread whose attention was wanted (thread.h). */
void linux_attention(struct user_regs *regs);
/* A signal came from outside, for the program. In a thread of the kernel's own. */
void linux_signal(int signal);

/* There may be more or less far memory than before (mm_far_bytes()). Kernel lock held. */
void linux_memory_changed(void);

#endif
