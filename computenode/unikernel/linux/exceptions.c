/* SPDX-License-Identifier: Apache-2.0 */
/* What the program did that the processor does not allow becomes a signal, or its end. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/signal.h"

#define REASON_BYTES      256
#define VECTOR_PAGE_FAULT 14u
#define FAULT_WAS_PRESENT 1u /* in the error code: a page was there */

struct exception {
    int signal;
    int code; /* in siginfo */
    const char *what;
};

/* Intel SDM vol. 3, 6.3.1, and what Linux makes of each. */
static const struct exception exceptions[] = {
    [0] = {LX_SIGFPE, LX_FPE_INTDIV, "division error"},
    [1] = {LX_SIGTRAP, LX_TRAP_TRACE, "debug trap"},
    [3] = {LX_SIGTRAP, LX_SI_KERNEL, "breakpoint"},
    [4] = {LX_SIGSEGV, LX_SI_KERNEL, "overflow trap"},
    [5] = {LX_SIGSEGV, LX_SI_KERNEL, "bound range"},
    [6] = {LX_SIGILL, LX_ILL_ILLOPN, "invalid instruction"},
    [10] = {LX_SIGSEGV, LX_SI_KERNEL, "invalid TSS"},
    [11] = {LX_SIGBUS, LX_SI_KERNEL, "segment not present"},
    [12] = {LX_SIGBUS, LX_SI_KERNEL, "stack segment"},
    [13] = {LX_SIGSEGV, LX_SI_KERNEL, "general protection"},
    [16] = {LX_SIGFPE, LX_FPE_FLTINV, "floating point error"},
    [17] = {LX_SIGBUS, LX_SI_KERNEL, "alignment check"},
    [19] = {LX_SIGFPE, LX_FPE_FLTINV, "SIMD floating point error"},
};

static void page_fault(struct task *t, const struct user_regs *regs, uint64_t error_code,
                       uint64_t address, int failure)
{
    char text[REASON_BYTES];
    if (failure != -EFAULT && failure != -ERANGE) {
        (void)ksnprintf(text, sizeof(text), "page 0x%lx (ip 0x%lx)",
                        (unsigned long)ALIGN_DOWN(address, PAGE_BYTES), (unsigned long)regs->rip);
        process_stop_memory(failure, text);
    }
    struct lx_siginfo info = {.signal = LX_SIGBUS, .code = LX_BUS_ADRERR};
    if (failure == -EFAULT) {
        bool there = (error_code & FAULT_WAS_PRESENT) != 0 ||
                     mm_access_ok(t->process->mm, ALIGN_DOWN(address, PAGE_BYTES), PAGE_BYTES, 0);
        info.signal = LX_SIGSEGV;
        info.code = there ? LX_SEGV_ACCERR : LX_SEGV_MAPERR;
    }
    info.fault.address = address;
    (void)ksnprintf(text, sizeof(text), "%s at 0x%lx (ip 0x%lx)", signal_name(info.signal),
                    (unsigned long)address, (unsigned long)regs->rip);
    signal_force(t, &info, text);
}

void linux_exception(struct user_regs *regs, unsigned vector, uint64_t error_code, uint64_t address,
                     int failure)
{
    char text[REASON_BYTES];
    struct task *t = task_current();
    struct exception e = {LX_SIGSEGV, LX_SI_KERNEL, "exception"};
    t->trap_vector = vector;
    t->trap_error = error_code;
    t->trap_address = address;
    if (vector == VECTOR_PAGE_FAULT) {
        page_fault(t, regs, error_code, address, failure);
        return;
    }
    if (vector < ARRAY_LEN(exceptions) && exceptions[vector].signal != 0) {
        e = exceptions[vector];
    }
    (void)ksnprintf(text, sizeof(text), "%s: %s (ip 0x%lx)", signal_name(e.signal), e.what,
                    (unsigned long)regs->rip);
    struct lx_siginfo info = {.signal = e.signal, .code = e.code};
    info.fault.address = e.code == LX_SI_KERNEL ? 0 : regs->rip;
    signal_force(t, &info, text);
}
