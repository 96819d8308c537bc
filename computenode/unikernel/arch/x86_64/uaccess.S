/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The instructions that touch user memory. A fault that mm_fault() can't resolve continues at the
 * place that .uaccess_table gives for the instruction. `rep movs` and `rep stos` leave their
 * registers such that they go on after a fault that was resolved.
 */

.macro MAY_FAULT at, then
    .pushsection .uaccess_table, "a", @progbits
    .quad \at
    .quad \then
    .popsection
.endm

    .text

/* int uaccess_copy(void *to, const void *from, size_t bytes): 0 or -EFAULT */
    .balign 16
    .globl uaccess_copy
    .type uaccess_copy, @function
uaccess_copy:
    pushq %rbp
    movq %rsp, %rbp
    movq %rdx, %rcx
    shrq $3, %rcx
1:  rep movsq
    movl %edx, %ecx
    andl $7, %ecx
2:  rep movsb
    xorl %eax, %eax
    popq %rbp
    ret
3:  movl $-14, %eax
    popq %rbp
    ret
    MAY_FAULT 1b, 3b
    MAY_FAULT 2b, 3b

/* int uaccess_zero(void *to, size_t bytes): 0 or -EFAULT */
    .balign 16
    .globl uaccess_zero
    .type uaccess_zero, @function
uaccess_zero:
    pushq %rbp
    movq %rsp, %rbp
    xorl %eax, %eax
    movq %rsi, %rcx
    shrq $3, %rcx
1:  rep stosq
    movl %esi, %ecx
    andl $7, %ecx
2:  rep stosb
    popq %rbp
    ret
3:  movl $-14, %eax
    popq %rbp
    ret
    MAY_FAULT 1b, 3b
    MAY_FAULT 2b, 3b

/* int64_t uaccess_string(char *to, const char *from, size_t capacity):
 * length, -EFAULT, or capacity if there is no NUL */
    .balign 16
    .globl uaccess_string
    .type uaccess_string, @function
uaccess_string:
    pushq %rbp
    movq %rsp, %rbp
    xorl %eax, %eax
1:  cmpq %rdx, %rax
    jae 3f
2:  movb (%rsi,%rax), %cl
    movb %cl, (%rdi,%rax)
    testb %cl, %cl
    jz 3f
    incq %rax
    jmp 1b
3:  popq %rbp
    ret
4:  movq $-14, %rax
    popq %rbp
    ret
    MAY_FAULT 2b, 4b

/* int uaccess_exchange(uint32_t *at, uint32_t expected, uint32_t next, uint32_t *found):
 * 0 or -EFAULT */
    .balign 16
    .globl uaccess_exchange
    .type uaccess_exchange, @function
uaccess_exchange:
    pushq %rbp
    movq %rsp, %rbp
    movl %esi, %eax
1:  lock cmpxchgl %edx, (%rdi)
    movl %eax, (%rcx)
    xorl %eax, %eax
    popq %rbp
    ret
2:  movl $-14, %eax
    popq %rbp
    ret
    MAY_FAULT 1b, 2b

    .section .note.GNU-stack, "", @progbits
