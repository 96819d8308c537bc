/* SPDX-License-Identifier: Apache-2.0 */
    .section .rodata
    .balign 4096
    .globl vdso_image, vdso_image_end
vdso_image:
    .incbin VDSO_FILE
vdso_image_end:
    .section .note.GNU-stack, "", @progbits
