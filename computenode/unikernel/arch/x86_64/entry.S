/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ways in and out of the kernel. Every way in from ring 3 leaves a struct user_regs (kernel.h) at
 * the top of the thread's kernel stack. The kernel runs with interrupts off; it opens them only
 * to halt (cpu_halt()), so nothing here is re-entered but by page faults and those halts.
 */
#include "computenode/unikernel/arch/x86_64/layout.h"

/* rdi is saved already. */
.macro SAVE_REGS
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %rax
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
.endm

.macro RESTORE_REGS
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rax
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
.endm

.macro LEAVE_KERNEL
    RESTORE_REGS
    addq $8, %rsp
    iretq
.endm

/* rdi is saved already. `regs` and `error`: the registers of these two arguments of `function`. */
.macro TRAP function, regs, error
    SAVE_REGS
    cld
    movq %rsp, \regs
    movq REGS_ORIG_RAX(%rsp), \error
    movq $-1, REGS_ORIG_RAX(%rsp)
    testb $3, REGS_CS(%rsp)
    jz 1f
    swapgs
    xorl %ebp, %ebp
1:  subq $8, %rsp
    call \function
    addq $8, %rsp
    testb $3, REGS_CS(%rsp)
    jz 2f
    swapgs
2:  LEAVE_KERNEL
.endm

    .text

/* syscall: rcx holds rip, r11 rflags; SFMASK has cleared IF, TF, DF, AC. */
    .balign 16
    .globl entry_syscall
    .type entry_syscall, @function
entry_syscall:
    swapgs
    movq %rsp, %gs:CPU_USER_RSP
    movq %gs:CPU_KERNEL_RSP, %rsp
    pushq $USER_SS
    pushq %gs:CPU_USER_RSP
    pushq %r11
    pushq $USER_CS
    pushq %rcx
    pushq %rax
    pushq %rdi
    SAVE_REGS
    movq %rsp, %rdi
    xorl %ebp, %ebp
    subq $8, %rsp
    call trap_syscall
    addq $8, %rsp
    testb %al, %al
    jz return_to_user
    RESTORE_REGS
    movq 32(%rsp), %rsp
    swapgs
    sysretq

/* One stub for each vector, 32 bytes apart. The error code's place becomes orig_rax. */
    .balign 32
    .globl entry_vectors
entry_vectors:
    .set vector, 0
    .rept 256
    .balign 32
    /* Vectors with an error code of the processor's (Intel SDM vol. 3, 6.3.1). */
    .if (vector < 32) && (((0x60227d00 >> vector) & 1) != 0)
    .else
    pushq $0
    .endif
    pushq %rdi
    .if vector == VECTOR_PAGE_FAULT
    jmp entry_page_fault
    .else
    movl $vector, %edi
    .if (vector == 2) || (vector == 8) || (vector == 18)
    jmp entry_fatal
    .else
    jmp entry_common
    .endif
    .endif
    .set vector, vector + 1
    .endr

    .balign 16
    .type entry_common, @function
entry_common:
    TRAP trap_entry, %rsi, %rdx

/* A page fault's, next to what it calls. */
    .section .text.hot, "ax", @progbits
    .balign 16
    .type entry_page_fault, @function
entry_page_fault:
    TRAP trap_page_fault, %rdi, %rsi

    .text
    .balign 16
    .type return_to_user, @function
return_to_user:
    swapgs
    LEAVE_KERNEL

/*
 * NMI, double fault, machine check: on stacks of their own, at any instruction, so GS may be the
 * user's although the interrupted code is the kernel's. They do not return.
 */
    .balign 16
    .type entry_fatal, @function
entry_fatal:
    SAVE_REGS
    cld
    movl %edi, %r12d
    movl $0xc0000101, %ecx
    rdmsr
    testl %edx, %edx
    js 1f
    swapgs
1:  movl %r12d, %edi
    movq %rsp, %rsi
    movq REGS_ORIG_RAX(%rsp), %rdx
    subq $8, %rsp
    call trap_fatal
    ud2

/* entry_user(const struct user_regs *): to ring 3 with these registers. */
    .balign 16
    .globl entry_user
    .type entry_user, @function
entry_user:
    movq %rdi, %rsp
    jmp return_to_user

    .section .note.GNU-stack, "", @progbits
