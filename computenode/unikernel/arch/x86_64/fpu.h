/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x87, SSE, AVX and AVX-512 registers (Intel SDM vol. 1, 13). The kernel itself uses none of them,
 * so a thread's stay in the processor while it is inside the kernel, and are saved only when
 * another thread of the processor needs its own, or before the thread may move.
 *
 * The area is in XSAVE's standard format (or FXSAVE's, without XSAVE), as signal frames need it.
 */
#ifndef DILOS_UNIKERNEL_ARCH_FPU_H
#define DILOS_UNIKERNEL_ARCH_FPU_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

struct thread;

#define FPU_ALIGN         64u
#define FPU_LEGACY_BYTES  512u
#define FPU_HEADER_OFFSET 512u
#define FPU_HEADER_BYTES  64u

/* Turns the FPU on: once for each processor. */
void fpu_init(void);

/* Of an area: a multiple of FPU_ALIGN. */
uint32_t fpu_area_bytes(void);
/* Bytes that the processor writes, without padding, and which components it manages (XCR0; 3
 * without XSAVE). */
uint32_t fpu_state_bytes(void);
uint64_t fpu_components(void);
bool fpu_has_xsave(void);

/* Writes the state in which a program starts. */
void fpu_area_clean(void *area);

/*
 * May these bytes be loaded? Sets what would make the processor refuse them (reserved bits of
 * MXCSR and of the XSAVE header) to what it takes, so that a program can't crash the kernel.
 */
void fpu_area_sanitize(void *area);

/* Brings the memory of the running thread up to date; its registers are loaded again later. */
void fpu_save_current(void);
/* The running thread's memory was written: what the registers hold is old. */
void fpu_forget_current(void);
/* Loads the running thread's registers, if the processor does not hold them. Before ring 3. */
void fpu_load_current(void);

#endif
