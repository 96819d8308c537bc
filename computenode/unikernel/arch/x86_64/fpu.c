/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/fpu.h"

#include <string.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define CPUID1_XSAVE      (1u << 26)
#define CPUID_XSAVE       0xdu
#define XCR0_WANTED       0xe7u /* x87, SSE, AVX, AVX-512 */
#define XCR0_AVX512       0xe0u
#define COMPONENTS_LEGACY 3u
#define MXCSR_DEFAULT     0x1f80u
#define MXCSR_MASK        0xffbfu /* if FXSAVE says 0: Intel SDM vol. 1, 11.6.6 */
#define FCW_DEFAULT       0x037fu
#define FCW_OFFSET        0
#define MXCSR_OFFSET      24
#define MXCSR_MASK_OFFSET 28

static bool has_xsave;
static uint64_t components = COMPONENTS_LEGACY;
static uint32_t state_bytes = FPU_LEGACY_BYTES;
static uint32_t mxcsr_mask = MXCSR_MASK;

static void save(void *area)
{
    if (has_xsave) {
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    } else {
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    }
}

static void load(const void *area)
{
    if (has_xsave) {
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"(~0u), "d"(~0u) : "memory");
    } else {
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
    }
}

static void find_mxcsr_mask(void)
{
    static uint8_t area[FPU_LEGACY_BYTES] __attribute__((aligned(64)));
    __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    uint32_t mask = le32_load(area + MXCSR_MASK_OFFSET);
    mxcsr_mask = mask != 0 ? mask : MXCSR_MASK;
}

void fpu_init(void)
{
    uint64_t cr0 = cr0_read() & ~(CR0_EM | CR0_TS);
    cr0_write(cr0 | CR0_MP | CR0_NE);
    uint64_t cr4 = cr4_read() | CR4_OSFXSR | CR4_OSXMMEXCPT;
    has_xsave = (cpuid(1, 0).ecx & CPUID1_XSAVE) != 0;
    cr4_write(cr4 | (has_xsave ? CR4_OSXSAVE : 0));
    if (has_xsave) {
        uint32_t mask = cpuid(CPUID_XSAVE, 0).eax & XCR0_WANTED;
        if ((mask & XCR0_AVX512) != XCR0_AVX512) {
            mask &= ~XCR0_AVX512; /* all three or none: Intel SDM vol. 1, 13.3 */
        }
        __asm__ volatile("xsetbv" : : "c"(0), "a"(mask), "d"(0));
        components = mask;
        state_bytes = cpuid(CPUID_XSAVE, 0).ebx;
    }
    find_mxcsr_mask();
}

uint32_t fpu_area_bytes(void)
{
    return (uint32_t)ALIGN_UP(state_bytes, FPU_ALIGN);
}

uint32_t fpu_state_bytes(void)
{
    return state_bytes;
}

uint64_t fpu_components(void)
{
    return components;
}

bool fpu_has_xsave(void)
{
    return has_xsave;
}

/* Intel SDM vol. 1, 10.5.1; an XSAVE header of zeros means "initial state". */
void fpu_area_clean(void *area)
{
    uint8_t *bytes = area;
    memset(area, 0, fpu_area_bytes());
    le16_store(bytes + FCW_OFFSET, FCW_DEFAULT);
    le32_store(bytes + MXCSR_OFFSET, MXCSR_DEFAULT);
}

/* Intel SDM vol. 1, 13.8: XRSTOR faults on them. */
void fpu_area_sanitize(void *area)
{
    uint8_t *bytes = area;
    le32_store(bytes + MXCSR_OFFSET, le32_load(bytes + MXCSR_OFFSET) & mxcsr_mask);
    if (has_xsave) {
        uint8_t *header = bytes + FPU_HEADER_OFFSET;
        le64_store(header, le64_load(header) & components);
        memset(header + 8, 0, FPU_HEADER_BYTES - 8);
    }
}

void fpu_save_current(void)
{
    struct cpu *cpu = cpu_this();
    if (cpu->fpu_owner == cpu->thread) {
        save(cpu->thread->fpu);
        cpu->fpu_owner = NULL;
    }
}

void fpu_forget_current(void)
{
    struct cpu *cpu = cpu_this();
    if (cpu->fpu_owner == cpu->thread) {
        cpu->fpu_owner = NULL;
    }
}

NOINLINE static void change_owner(struct cpu *cpu)
{
    if (cpu->fpu_owner != NULL) {
        save(cpu->fpu_owner->fpu);
    }
    load(cpu->thread->fpu);
    cpu->fpu_owner = cpu->thread;
}

HOT void fpu_load_current(void)
{
    struct cpu *cpu = cpu_this();
    if (cpu->fpu_owner != cpu->thread) {
        change_owner(cpu);
    }
}
