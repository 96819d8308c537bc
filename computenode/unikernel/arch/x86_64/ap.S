/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How another processor starts (Intel SDM vol. 3, 9.4): in real mode, at a page below 1 MiB, where
 * smp.c has copied the code between ap_code and ap_code_end. It goes through protected mode into
 * long mode on the boot tables, which map that page as it is, and from there to ap_high.
 */
#include "computenode/unikernel/arch/x86_64/layout.h"

#define PHYSICAL(symbol) (symbol - KERNEL_BASE)
#define COPIED(symbol) (symbol - ap_code + AP_CODE_PHYSICAL)

#define CODE32 0x08
#define CR0_PE 0x01
#define CR0_PE_WP_PG 0x80010001
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME_NXE 0x900

    .section .rodata
    .balign 16
    .globl ap_code, ap_code_end
    .code16
ap_code:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl COPIED(ap_gdt_pointer)
    movl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl $CODE32, $COPIED(ap_protected)

    .code32
ap_protected:
    movl $KERNEL_SS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $CR4_PAE, %eax
    movl %eax, %cr4
    movl $PHYSICAL(boot_pml4), %eax
    movl %eax, %cr3
    movl $MSR_EFER, %ecx
    rdmsr
    orl $EFER_LME_NXE, %eax
    wrmsr
    movl $CR0_PE_WP_PG, %eax
    movl %eax, %cr0
    ljmpl $KERNEL_CS, $COPIED(ap_long)

    .code64
ap_long:
    movq $ap_high, %rax
    jmp *%rax

    .balign 8
ap_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* CODE32 */
    .quad 0x00af9b000000ffff /* KERNEL_CS */
    .quad 0x00cf93000000ffff /* KERNEL_SS */
ap_gdt_end:
ap_gdt_pointer:
    .word ap_gdt_end - ap_gdt - 1
    .long COPIED(ap_gdt)
ap_code_end:

    .text
/* On the kernel's own tables; the stack is in memory that only they map. */
    .balign 16
ap_high:
    movq ap_root(%rip), %rax
    movq %rax, %cr3
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movl $1, %eax
    cpuid
    shrl $24, %ebx /* the APIC id */
    cmpl ap_count(%rip), %ebx
    jae 1f
    leaq ap_stacks(%rip), %rax
    movq (%rax,%rbx,8), %rsp
    testq %rsp, %rsp
    jz 1f
    xorl %ebp, %ebp
    movl %ebx, %edi
    call ap_main
1:  cli
    hlt
    jmp 1b

    .section .note.GNU-stack, "", @progbits
