/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/trap.h"

#include <errno.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/fpu.h"
#include "computenode/unikernel/arch/x86_64/irq.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/tlb.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/backtrace.h"
#include "computenode/unikernel/kernel/thread.h"

#define VECTOR_NMI           2
#define VECTOR_PROTECTION    13
#define EXCEPTION_COUNT      32
#define FAULT_ERROR_WRITE    2u
#define FAULT_ERROR_USER     4u
#define FAULT_ERROR_RESERVED 8u
#define FAULT_ERROR_FETCH    16u

static const char *const exception_names[EXCEPTION_COUNT] = {
    [0] = "divide error",        [1] = "debug",          [2] = "NMI",
    [3] = "breakpoint",          [4] = "overflow",       [5] = "bound range",
    [6] = "invalid opcode",      [7] = "no FPU",         [8] = "double fault",
    [10] = "invalid TSS",        [11] = "no segment",    [12] = "stack fault",
    [13] = "protection fault",   [14] = "page fault",    [16] = "x87 error",
    [17] = "alignment check",    [18] = "machine check", [19] = "SIMD error",
    [21] = "control protection",
};

static bool from_user(const struct user_regs *regs)
{
    return (regs->cs & 3) != 0;
}

NORETURN COLD static void panic_exception(unsigned vector, const struct user_regs *regs,
                                          uint64_t error_code, uint64_t address)
{
    const char *name = vector < EXCEPTION_COUNT ? exception_names[vector] : NULL;
    backtrace_start_at(regs->rip, regs->rbp);
    panic("%s (vector %u, error 0x%llx, address 0x%llx) at ip 0x%llx sp 0x%llx",
          name != NULL ? name : "exception", vector, (unsigned long long)error_code,
          (unsigned long long)address, (unsigned long long)regs->rip,
          (unsigned long long)regs->rsp);
}

static enum mm_access access_of(uint64_t error_code)
{
    if ((error_code & FAULT_ERROR_FETCH) != 0) {
        return MM_ACCESS_EXEC;
    }
    return (error_code & FAULT_ERROR_WRITE) != 0 ? MM_ACCESS_WRITE : MM_ACCESS_READ;
}

/* The kernel touched pageable memory of its own that can't be had any more. */
NORETURN static void kernel_page_lost(uint64_t address, int failure)
{
    char reason[96];
    (void)ksnprintf(reason, sizeof(reason), "file page at 0x%llx can't be had: error %d",
                    (unsigned long long)address, -failure);
    machine_exit(failure == -EIO ? CTL_FAR_LOST : CTL_NO_MEMORY, -failure, reason);
}

static bool is_resource_failure(int failure)
{
    return failure == -EIO || failure == -ENOMEM || failure == -ENOSPC;
}

NOINLINE HOT static void kernel_page_fault(struct user_regs *regs, uint64_t error_code,
                                           uint64_t address, uint64_t entry_ns)
{
    uint64_t fixup = uaccess_fixup(regs->rip);
    bool window =
        address >= MM_KERNEL_WINDOW && address - MM_KERNEL_WINDOW < MM_KERNEL_WINDOW_BYTES;
    bool user = address < MM_USER_END;
    if ((error_code & (FAULT_ERROR_RESERVED | FAULT_ERROR_FETCH)) != 0 ||
        (!window && !(user && fixup != 0))) {
        panic_exception(VECTOR_PAGE_FAULT, regs, error_code, address);
    }
    cpu_this()->fault_count++;
    int failure = mm_fault_since(mm_current(), address, access_of(error_code), false, entry_ns);
    if (failure == 0) {
        return;
    }
    if (fixup != 0) {
        thread_current()->uaccess_failure = is_resource_failure(failure) ? failure : 0;
        regs->rip = fixup;
        return;
    }
    if (is_resource_failure(failure)) {
        kernel_page_lost(address, failure);
    }
    panic_exception(VECTOR_PAGE_FAULT, regs, error_code, address);
}

NOINLINE static void user_exception(struct user_regs *regs, unsigned vector, uint64_t error_code,
                                    uint64_t address, int failure)
{
    kernel_lock();
    linux_exception(regs, vector, error_code, address, failure);
    kernel_unlock();
}

HOT static void user_page_fault(struct user_regs *regs, uint64_t error_code, uint64_t address,
                                uint64_t entry_ns)
{
    int failure = -EFAULT;
    cpu_this()->fault_count++;
    if ((error_code & FAULT_ERROR_RESERVED) != 0) {
        panic_exception(VECTOR_PAGE_FAULT, regs, error_code, address);
    }
    if (address < MM_USER_END) {
        failure = mm_fault_since(mm_current(), address, access_of(error_code), true, entry_ns);
    }
    if (failure != 0) {
        user_exception(regs, VECTOR_PAGE_FAULT, error_code, address, failure);
    }
}

static bool wants_attention(const struct user_regs *regs)
{
    return thread_current()->attention || regs->rip >= MM_USER_END;
}

NOINLINE static void attend(struct user_regs *regs)
{
    while (wants_attention(regs)) {
        kernel_lock();
        if (thread_current()->attention) {
            linux_attention(regs);
        } else {
            linux_exception(regs, VECTOR_PROTECTION, 0, regs->rip, -EFAULT);
        }
        kernel_unlock();
        thread_before_user();
    }
}

/*
 * The last things before ring 3. Registers may have been set by the program (sigreturn): nothing in
 * them may give it rights, or make iretq or sysretq fault in the kernel.
 */
HOT static void prepare_return(struct user_regs *regs)
{
    thread_before_user();
    if (UNLIKELY(wants_attention(regs))) {
        attend(regs);
    }
    fpu_load_current();
    regs->cs = USER_CS;
    regs->ss = USER_SS;
    regs->rflags = (regs->rflags & RFLAGS_USER) | RFLAGS_FIXED | RFLAGS_IF;
}

bool trap_syscall(struct user_regs *regs)
{
    kernel_lock();
    thread_current()->uaccess_failure = 0;
    linux_syscall(regs);
    kernel_unlock();
    prepare_return(regs);
    /* sysret sets rip and rflags from rcx and r11, and can't restore TF. */
    return regs->rcx == regs->rip && regs->r11 == regs->rflags && (regs->rflags & RFLAGS_TF) == 0 &&
           regs->rip < MM_USER_END;
}

static void kernel_exception(unsigned vector, struct user_regs *regs, uint64_t error_code)
{
    uint64_t fixup = vector == VECTOR_PROTECTION ? uaccess_fixup(regs->rip) : 0;
    if (fixup == 0) {
        panic_exception(vector, regs, error_code, 0);
    }
    regs->rip = fixup;
}

/* AC stays as it was interrupted: fence again. */
static void fence(const struct user_regs *regs)
{
    if (UNLIKELY((regs->rflags & RFLAGS_AC) != 0)) {
        cpu_user_access_end();
    }
}

void trap_entry(unsigned vector, struct user_regs *regs, uint64_t error_code)
{
    bool user = from_user(regs);
    fence(regs);
    if (vector >= EXCEPTION_COUNT) {
        if (!user) {
            tlb_wake(); /* it halted */
        }
        irq_dispatch(vector);
    } else if (user) {
        user_exception(regs, vector, error_code, 0, 0);
    } else {
        kernel_exception(vector, regs, error_code);
    }
    if (user) {
        prepare_return(regs);
    }
}

/* At the begin of a page, so that nearly all of it is in one. */
HOT FLATTEN __attribute__((aligned(PAGE_BYTES))) void trap_page_fault(struct user_regs *regs,
                                                                      uint64_t error_code)
{
    uint64_t address = cr2_read(); /* first: a nested fault would replace it */
    uint64_t entry_ns = mm_fault_begins();
    fence(regs);
    if (UNLIKELY(!from_user(regs))) {
        kernel_page_fault(regs, error_code, address, entry_ns);
        return;
    }
    user_page_fault(regs, error_code, address, entry_ns);
    prepare_return(regs);
}

void trap_fatal(unsigned vector, struct user_regs *regs, uint64_t error_code)
{
    if (vector == VECTOR_NMI && lapic_stopping()) {
        thread_stop_here();
    }
    panic_exception(vector, regs, error_code, cr2_read());
}

void entry_user(const struct user_regs *regs);

void user_enter(const struct user_regs *regs)
{
    struct user_regs entered = *regs;
    kernel_unlock();
    prepare_return(&entered);
    entry_user(&entered);
    __builtin_unreachable();
}
