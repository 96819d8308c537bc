/* SPDX-License-Identifier: Apache-2.0 */
/* The second door: finds the function of a system call and acts on what it says. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/futex.h"
#include "computenode/unikernel/linux/syscall_numbers.h"

#define CALL_COUNT 512u

static const call_fn call_table[CALL_COUNT] = {
#define CALL_ENTRY(name, function) [NR_##name] = function,
    CALL_TABLE(CALL_ENTRY)
#undef CALL_ENTRY
};

static const char *const call_names[CALL_COUNT] = {
#define NAME_ENTRY(number, name) [number] = #name,
    SYSCALL_NAMES(NAME_ENTRY)
#undef NAME_ENTRY
};

static uint64_t unknown_seen[CALL_COUNT / 64];

static const char *call_name(uint64_t number)
{
    return number < CALL_COUNT && call_names[number] != NULL ? call_names[number] : "unknown";
}

/* Counted always, told once for each number; numbers past the table count as one. */
static int64_t unknown(uint64_t number)
{
    machine_stats()->syscalls_unknown++;
    if (number >= CALL_COUNT) {
        static bool told;
        if (!told) {
            control_unknown_syscall((uint32_t)number, "unknown");
        }
        told = true;
    } else if ((unknown_seen[number / 64] >> number % 64 & 1) == 0) {
        unknown_seen[number / 64] |= UINT64_C(1) << number % 64;
        control_unknown_syscall((uint32_t)number, call_name(number));
    }
    return -ENOSYS;
}

/* A copy failed for want of a page that the program rightly owns: it must not go on. */
static void check_failure(uint64_t number)
{
    char where[64];
    int failure = uaccess_failure();
    if (failure == 0) {
        return;
    }
    (void)ksnprintf(where, sizeof(where), "in system call %s", call_name(number));
    process_stop_memory(failure, where);
}

/* signal(7): the calls that SA_RESTART does not make again after a handler. */
static bool is_restartable(const struct call *c)
{
    switch (c->number) {
    case NR_futex:
        return c->arg[3] == 0;
    case NR_nanosleep:
    case NR_clock_nanosleep:
    case NR_poll:
    case NR_ppoll:
    case NR_select:
    case NR_pselect6:
    case NR_epoll_wait:
    case NR_epoll_pwait:
    case NR_pause:
    case NR_rt_sigsuspend:
    case NR_rt_sigtimedwait:
        return false;
    default:
        return true;
    }
}

/* What the result of a call leads to. A borrowed mask lasts until the handler has been called. */
static void settle(const struct call *c, int64_t result)
{
    c->t->restart = result == -EINTR;
    if (result == -EINTR) {
        c->t->restartable = is_restartable(c);
        thread_current()->attention = true;
    } else {
        signal_mask_return(c->t);
    }
    if (result == -EFAULT) {
        check_failure(c->number);
    } else if (result == -EDEADLK && !(c->number == NR_futex && futex_says_deadlock(c))) {
        call_deadlock(call_name(c->number));
    }
}

void linux_syscall(struct user_regs *regs)
{
    uint64_t number = regs->orig_rax;
    struct call c = {
        .p = process_current(),
        .t = task_current(),
        .regs = regs,
        .number = (uint32_t)number,
        .arg = {regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9},
    };
    machine_stats()->syscalls++;
    call_fn function = number < CALL_COUNT ? call_table[number] : NULL;
    int64_t result = function != NULL ? function(&c) : unknown(number);
    if (function != sys_rt_sigreturn) { /* which has set all registers */
        settle(&c, result);
    }
    regs->rax = (uint64_t)result;
}
