/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/cpu.h"

#include "computenode/unikernel/arch/x86_64/fpu.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/tlb.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"

_Static_assert(offsetof(struct cpu, kernel_rsp) == CPU_KERNEL_RSP, "entry.S");
_Static_assert(offsetof(struct cpu, user_rsp) == CPU_USER_RSP, "entry.S");
_Static_assert(offsetof(struct user_regs, rbp) == REGS_RBP, "entry.S");
_Static_assert(offsetof(struct user_regs, orig_rax) == REGS_ORIG_RAX, "entry.S");
_Static_assert(offsetof(struct user_regs, cs) == REGS_CS, "entry.S");
_Static_assert(sizeof(struct tss) == 104, "Intel SDM vol. 3, 8.7");

#define VECTOR_COUNT      256
#define STUB_BYTES        32 /* entry.S */
#define GATE_KERNEL       0x8e
#define GATE_USER         0xee        /* int3, into: ring 3 may raise it */
#define TCG_EBX           0x54474354u /* "TCGT" */
#define RELAXES_PER_PAUSE 32u
#define CPUID7_SMEP       (1u << 7)
#define CPUID7_SMAP       (1u << 20)

struct gate {
    uint16_t offset_low;
    uint16_t selector;
    uint8_t ist;
    uint8_t type;
    uint16_t offset_middle;
    uint32_t offset_high;
    uint32_t reserved;
};

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    uint64_t base;
};

extern uint8_t entry_vectors[];
void entry_syscall(void);

static struct cpu cpus[CPU_COUNT_MAX];
static struct gate idt[VECTOR_COUNT];
static _Atomic uint32_t running_count;

static uint8_t vector_ist(unsigned vector)
{
    switch (vector) {
    case 2: /* NMI */
        return 1;
    case 8: /* double fault */
        return 2;
    case 18: /* machine check */
        return 3;
    default: /* page faults run on the thread's own stack: they nest and wait */
        return 0;
    }
}

static void idt_init(void)
{
    for (unsigned i = 0; i < VECTOR_COUNT; i++) {
        uint64_t stub = (uint64_t)(uintptr_t)entry_vectors + (uint64_t)i * STUB_BYTES;
        idt[i] = (struct gate){
            .offset_low = (uint16_t)stub,
            .selector = KERNEL_CS,
            .ist = vector_ist(i),
            .type = i == 3 || i == 4 ? GATE_USER : GATE_KERNEL,
            .offset_middle = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
        };
    }
}

static void tables_load(struct cpu *cpu)
{
    uint64_t tss = (uint64_t)(uintptr_t)&cpu->tss;
    cpu->gdt[2] = UINT64_C(0x00af9b000000ffff); /* KERNEL_CS */
    cpu->gdt[3] = UINT64_C(0x00cf93000000ffff); /* KERNEL_SS */
    cpu->gdt[5] = UINT64_C(0x00cff3000000ffff); /* USER_SS */
    cpu->gdt[6] = UINT64_C(0x00affb000000ffff); /* USER_CS */
    cpu->gdt[8] = UINT64_C(0x0000890000000000) | (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 |
                  (tss >> 24 & 0xff) << 56;
    cpu->gdt[9] = tss >> 32;
    struct table_pointer gdt_pointer = {sizeof(cpu->gdt) - 1, (uint64_t)(uintptr_t)cpu->gdt};
    struct table_pointer idt_pointer = {sizeof(idt) - 1, (uint64_t)(uintptr_t)idt};
    __asm__ volatile("lgdt %0" : : "m"(gdt_pointer));
    __asm__ volatile("lidt %0" : : "m"(idt_pointer));
    __asm__ volatile("ltr %w0" : : "r"(TSS_SEL));
}

static void syscall_init(void)
{
    msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_SCE);
    msr_write(MSR_STAR, (uint64_t)SYSRET_CS << 48 | (uint64_t)KERNEL_CS << 32);
    msr_write(MSR_LSTAR, (uint64_t)(uintptr_t)entry_syscall);
    msr_write(MSR_SFMASK, RFLAGS_IF | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC);
}

static void protection_init(struct cpu *cpu)
{
    uint32_t features = cpuid(0, 0).eax >= 7 ? cpuid(7, 0).ebx : 0;
    uint64_t cr4 = cr4_read() | CR4_PGE;
    cr4 |= (features & CPUID7_SMEP) != 0 ? CR4_SMEP : 0;
    cr4 |= (features & CPUID7_SMAP) != 0 ? CR4_SMAP : 0;
    cr4_write(cr4);
    cr0_write(cr0_read() | CR0_WP | CR0_AM);
    cpu->smap = (features & CPUID7_SMAP) != 0;
}

struct cpu *cpu_of(uint32_t index)
{
    return &cpus[index];
}

HOT uint32_t cpu_index(void)
{
    return cpu_this()->index;
}

HOT uint32_t cpu_count(void)
{
    return atomic_load_explicit(&running_count, memory_order_acquire);
}

void cpu_count_set(uint32_t count)
{
    atomic_store_explicit(&running_count, count, memory_order_release);
}

void cpu_init(uint32_t index, struct thread *idle, uint8_t *ist_bottom)
{
    struct cpu *cpu = &cpus[index];
    cpu->self = cpu;
    cpu->index = index;
    cpu->thread = idle;
    cpu->timer_ns = UINT64_MAX;
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *bottom = ist_bottom + i * (PAGE_BYTES + IST_STACK_BYTES);
        cpu->tss.ist[i] = (uint64_t)(uintptr_t)bottom + PAGE_BYTES + IST_STACK_BYTES;
    }
    cpu->tss.io_map_offset = sizeof(struct tss);
    if (index == 0) {
        idt_init();
    }
    tables_load(cpu);
    msr_write(MSR_GS_BASE, (uint64_t)(uintptr_t)cpu);
    msr_write(MSR_KERNEL_GS_BASE, 0);
    cpu->emulated = cpuid(CPUID_HYPERVISOR_BASE, 0).ebx == TCG_EBX;
    syscall_init();
    fpu_init();
    protection_init(cpu);
}

void cpu_user_access_begin(void)
{
    if (cpu_this()->smap) {
        __asm__ volatile("stac" : : : "memory");
    }
}

HOT void cpu_user_access_end(void)
{
    if (cpu_this()->smap) {
        __asm__ volatile("clac" : : : "memory");
    }
}

void cpu_halt(void)
{
    struct cpu *cpu = cpu_this();
    atomic_store(&cpu->tlb, CPU_TLB_IDLE);
    if (atomic_load(&cpu->tlb_askers) != 0) { /* asked before that could be seen */
        tlb_answer();
    }
    __asm__ volatile("sti; hlt; cli" : : : "memory");
    tlb_wake();
    atomic_store(&cpu->waits_for_device, false);
}

void cpu_interrupts_take(void)
{
    __asm__ volatile("sti; nop; cli" : : : "memory");
}

void cpu_halt_prepare(void)
{
    atomic_store(&cpu_this()->waits_for_device, true);
}

void cpu_halt_cancel(void)
{
    atomic_store(&cpu_this()->waits_for_device, false);
}

/*
 * QEMU's emulator leaves its loop at a `pause`, which costs more than to look at a ring. It is of
 * use there only where one thread of it runs all processors, so now and then is enough.
 */
HOT void cpu_relax(void)
{
    struct cpu *cpu = cpu_this();
    if (!cpu->emulated || ++cpu->relax_count % RELAXES_PER_PAUSE == 0) {
        __asm__ volatile("pause");
    }
    if (cpu_is_asked(cpu)) {
        tlb_answer();
    }
}

void user_fs_base_set(uint64_t base)
{
    thread_current()->fs_base = base;
    msr_write(MSR_FS_BASE, base);
}

uint64_t user_fs_base(void)
{
    return thread_current()->fs_base;
}

void user_gs_base_set(uint64_t base)
{
    thread_current()->gs_base = base;
    msr_write(MSR_KERNEL_GS_BASE, base);
}

uint64_t user_gs_base(void)
{
    return thread_current()->gs_base;
}
