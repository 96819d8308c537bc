/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one thread's kernel stack to another's. Interrupts are off, the FPU is looked after by
 * fpu.c, so what a C function may not change (System V ABI, 3.2.1) is all there is to keep.
 */
    .text

/* void thread_switch(uint64_t *save_rsp, uint64_t load_rsp) */
    .balign 16
    .globl thread_switch
    .type thread_switch, @function
thread_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

/* Where a new thread's first switch returns to (kernel/thread.c). */
    .balign 16
    .globl thread_entry
    .type thread_entry, @function
thread_entry:
    xorl %ebp, %ebp
    call thread_begin
    ud2

/* void stack_call(uint64_t stack_top, void (*function)(void)): does not return. */
    .balign 16
    .globl stack_call
    .type stack_call, @function
stack_call:
    movq %rdi, %rsp
    xorl %ebp, %ebp
    call *%rsi
    ud2

    .section .note.GNU-stack, "", @progbits
