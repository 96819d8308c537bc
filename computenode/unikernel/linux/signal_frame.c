/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies on the stack while a handler runs: struct rt_sigframe of Linux on x86-64
 * (<asm/sigcontext.h>, <asm/ucontext.h>), from low to high addresses: return address, ucontext,
 * siginfo, and the FPU state, aligned to 64 bytes. Programs read and change it.
 */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/fpu.h"
#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/linux/process.h"
#include "computenode/unikernel/linux/signal.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define RED_ZONE_BYTES   128u
#define FP_MAGIC1        0x46505853u
#define FP_MAGIC2        0x46505845u
#define FP_MAGIC2_BYTES  4u
#define FP_SW_OFFSET     464u /* in the legacy area */
#define UC_FP_XSTATE     1u
#define UC_SIGCONTEXT_SS 2u
#define UC_STRICT_SS     4u
#define FLAGS_CLEARED    UINT64_C(0x10500) /* TF, DF, RF */
#define COMPONENTS_FXSR  3u

struct context {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
    uint64_t flags;
    uint16_t cs, gs, fs, ss;
    uint64_t error_code, vector, old_mask, cr2;
    uint64_t fpu; /* address of the FPU state; 0: as at the start of a program */
    uint64_t reserved[8];
};

struct frame {
    uint64_t return_address;
    uint64_t uc_flags;
    uint64_t uc_link;
    struct lx_sigaltstack uc_stack;
    struct context context;
    uint64_t uc_mask;
    struct lx_siginfo info;
};

_Static_assert(sizeof(struct context) == 256, "<asm/sigcontext.h>");
_Static_assert(offsetof(struct frame, info) == 8 + 304, "<asm/ucontext.h>");

uint64_t signal_frame_bytes(void)
{
    return sizeof(struct frame) + fpu_area_bytes() + FP_MAGIC2_BYTES + FPU_ALIGN + RED_ZONE_BYTES +
           16;
}

bool signal_on_altstack(const struct task *t, uint64_t sp)
{
    const struct lx_sigaltstack *s = &t->altstack;
    return (s->flags & LX_SS_DISABLE) == 0 && sp > s->sp && sp - s->sp <= s->bytes;
}

static uint64_t stack_top(const struct task *t, const struct user_regs *regs, uint64_t flags)
{
    bool usable = (t->altstack.flags & LX_SS_DISABLE) == 0 && t->altstack.bytes != 0;
    if ((flags & LX_SA_ONSTACK) != 0 && usable && !signal_on_altstack(t, regs->rsp)) {
        return t->altstack.sp + t->altstack.bytes;
    }
    return regs->rsp - RED_ZONE_BYTES;
}

static struct context context_of(const struct user_regs *regs)
{
    return (struct context){
        .r8 = regs->r8,
        .r9 = regs->r9,
        .r10 = regs->r10,
        .r11 = regs->r11,
        .r12 = regs->r12,
        .r13 = regs->r13,
        .r14 = regs->r14,
        .r15 = regs->r15,
        .rdi = regs->rdi,
        .rsi = regs->rsi,
        .rbp = regs->rbp,
        .rbx = regs->rbx,
        .rdx = regs->rdx,
        .rax = regs->rax,
        .rcx = regs->rcx,
        .rsp = regs->rsp,
        .rip = regs->rip,
        .flags = regs->rflags,
        .cs = (uint16_t)regs->cs,
        .ss = (uint16_t)regs->ss,
    };
}

/* The thread's registers with what tells the program how long they are, at `at`. */
static int fpu_push(struct task *t, uint64_t at)
{
    const uint8_t magic2[FP_MAGIC2_BYTES] = {FP_MAGIC2 & 0xff, FP_MAGIC2 >> 8 & 0xff,
                                             FP_MAGIC2 >> 16 & 0xff, FP_MAGIC2 >> 24};
    uint8_t words[48] = {0}; /* struct _fpx_sw_bytes */
    uint32_t bytes = fpu_state_bytes();
    fpu_save_current();
    if (copy_to_user(at, t->thread->fpu, bytes) != 0) {
        return -EFAULT;
    }
    if (!fpu_has_xsave()) {
        return copy_to_user(at + FP_SW_OFFSET, words, sizeof(words));
    }
    le32_store(words, FP_MAGIC1);
    le32_store(words + 4, bytes + FP_MAGIC2_BYTES);
    le64_store(words + 8, fpu_components());
    le32_store(words + 16, bytes);
    if (copy_to_user(at + FP_SW_OFFSET, words, sizeof(words)) != 0) {
        return -EFAULT;
    }
    return copy_to_user(at + bytes, magic2, sizeof(magic2));
}

int signal_frame_push(struct task *t, struct user_regs *regs, const struct lx_sigaction *action,
                      const struct lx_siginfo *info, uint64_t old_mask)
{
    uint64_t top = stack_top(t, regs, action->flags);
    if (top >= MM_USER_END || top < signal_frame_bytes()) {
        return -EFAULT;
    }
    uint64_t fpu = ALIGN_DOWN(top - fpu_state_bytes() - FP_MAGIC2_BYTES, FPU_ALIGN);
    uint64_t at = ALIGN_DOWN(fpu - sizeof(struct frame), 16) - 8; /* as after a call */
    struct frame f = {
        .return_address = action->restorer,
        .uc_flags = UC_SIGCONTEXT_SS | UC_STRICT_SS | (fpu_has_xsave() ? UC_FP_XSTATE : 0),
        .uc_stack = t->altstack,
        .context = context_of(regs),
        .uc_mask = old_mask,
        .info = *info,
    };
    f.context.fpu = fpu;
    f.context.old_mask = old_mask;
    f.context.error_code = t->trap_error;
    f.context.vector = t->trap_vector;
    f.context.cr2 = t->trap_address;
    if (fpu_push(t, fpu) != 0 || copy_to_user(at, &f, sizeof(f)) != 0) {
        return -EFAULT;
    }
    regs->rdi = (uint64_t)info->signal;
    regs->rsi = at + offsetof(struct frame, info);
    regs->rdx = at + offsetof(struct frame, uc_flags);
    regs->rax = 0;
    regs->rsp = at;
    regs->rip = action->handler;
    regs->rflags &= ~FLAGS_CLEARED;
    regs->orig_rax = UINT64_MAX;
    return 0;
}

/* ---- back ---- */

static int fpu_pop(struct task *t, uint64_t at)
{
    uint8_t *area = t->thread->fpu;
    fpu_forget_current();
    fpu_area_clean(area);
    if (at == 0) {
        return 0;
    }
    uint8_t words[20];
    if (copy_from_user(words, at + FP_SW_OFFSET, sizeof(words)) != 0) {
        return -EFAULT;
    }
    uint32_t bytes = le32_load(words + 16);
    bool extended = fpu_has_xsave() && le32_load(words) == FP_MAGIC1 &&
                    bytes >= FPU_LEGACY_BYTES + FPU_HEADER_BYTES && bytes <= fpu_state_bytes();
    int rc = copy_from_user(area, at, extended ? bytes : FPU_LEGACY_BYTES);
    if (!extended && fpu_has_xsave()) {
        le64_store(area + FPU_HEADER_OFFSET, COMPONENTS_FXSR);
    }
    if (rc != 0) {
        fpu_area_clean(area);
    }
    fpu_area_sanitize(area);
    return rc;
}

int signal_frame_pop(struct task *t, struct user_regs *regs)
{
    struct frame f;
    if (copy_from_user(&f, regs->rsp - 8, sizeof(f)) != 0 || fpu_pop(t, f.context.fpu) != 0) {
        return -EFAULT;
    }
    const struct context *c = &f.context;
    uint64_t cs = regs->cs, ss = regs->ss;
    *regs = (struct user_regs){
        .r8 = c->r8,
        .r9 = c->r9,
        .r10 = c->r10,
        .r11 = c->r11,
        .r12 = c->r12,
        .r13 = c->r13,
        .r14 = c->r14,
        .r15 = c->r15,
        .rdi = c->rdi,
        .rsi = c->rsi,
        .rbp = c->rbp,
        .rbx = c->rbx,
        .rdx = c->rdx,
        .rax = c->rax,
        .rcx = c->rcx,
        .rsp = c->rsp,
        .rip = c->rip,
        .cs = cs,
        .ss = ss,
        .rflags = c->flags,
        .orig_rax = UINT64_MAX,
    };
    if (!signal_on_altstack(t, regs->rsp)) {
        t->altstack = f.uc_stack;
    }
    signal_mask_set(t, f.uc_mask);
    return 0;
}
