/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH entry (Xen's "x86/HVM direct boot ABI"): 32-bit protected mode, paging off, ebx holds the
 * physical address of struct hvm_start_info. Maps the first 4 GiB (at 0 and as the start of the
 * direct map) and the first GiB at KERNEL_BASE, turns on long mode and calls boot_main().
 */
#include "computenode/unikernel/arch/x86_64/layout.h"

#define PHYSICAL(symbol) (symbol - KERNEL_BASE)
#define XEN_ELFNOTE_PHYS32_ENTRY 18

#define PTE_TABLE 0x03 /* present, writable */
#define PTE_LARGE 0x83 /* and 2 MiB */

#define CR0_PE_WP_PG 0x80010001
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME_NXE 0x900
#define MSR_GS_BASE 0xc0000101

    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 8
    .long XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad PHYSICAL(pvh_entry)

    .section .boot, "ax", @progbits
    .code32
    .globl pvh_entry
    .type pvh_entry, @function
pvh_entry:
    cli
    cld
    movl $PHYSICAL(kernel_stack_top), %esp

    /* 4 GiB of 2 MiB pages. */
    movl $PHYSICAL(boot_pd), %edi
    movl $PTE_LARGE, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    movl $0, 4(%edi)
    addl $8, %edi
    addl $0x200000, %eax
    loop 1b

    movl $PHYSICAL(boot_pd), %eax
    orl $PTE_TABLE, %eax
    movl $PHYSICAL(boot_pdpt), %edi
    movl %eax, PHYSICAL(boot_pdpt_image) + 510 * 8
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $4096, %eax
    addl $8, %edi
    loop 2b

    movl $PHYSICAL(boot_pdpt), %eax
    orl $PTE_TABLE, %eax
    movl %eax, PHYSICAL(boot_pml4)
    movl %eax, PHYSICAL(boot_pml4) + 256 * 8
    movl $PHYSICAL(boot_pdpt_image), %eax
    orl $PTE_TABLE, %eax
    movl %eax, PHYSICAL(boot_pml4) + 511 * 8

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
    lgdt PHYSICAL(boot_gdt_pointer)
    ljmp $KERNEL_CS, $PHYSICAL(long_mode)

    .code64
long_mode:
    movq $high_half, %rax
    jmp *%rax
high_half:
    movl $KERNEL_SS, %eax
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movq $kernel_stack_top, %rsp
    xorl %ebp, %ebp
    movl %ebx, %edi
    call boot_main
    ud2

    .section .rodata
    .balign 8
boot_gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff /* KERNEL_CS: 64-bit code */
    .quad 0x00cf93000000ffff /* KERNEL_SS */
boot_gdt_end:
boot_gdt_pointer:
    .word boot_gdt_end - boot_gdt - 1
    .long PHYSICAL(boot_gdt)
    .long 0

    .section .bss
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .skip 4096
boot_pdpt:
    .skip 4096
boot_pdpt_image:
    .skip 4096
boot_pd:
    .skip 4 * 4096

    /* Each stack has an unmapped page below it (paging.c). */
    .globl kernel_stack_guard, kernel_stack_top
kernel_stack_guard:
    .skip 4096
    .skip KERNEL_STACK_BYTES
kernel_stack_top:
    .globl ist_stacks
ist_stacks:
    .rept 3
    .skip 4096
    .skip IST_STACK_BYTES
    .endr

    .section .note.GNU-stack, "", @progbits
