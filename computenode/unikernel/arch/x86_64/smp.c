/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/smp.h"

#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/paging.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/check.h"

#define INIT_WAIT_NS    UINT64_C(10000000) /* Intel SDM vol. 3, 9.4.4.1 */
#define STARTUP_WAIT_NS UINT64_C(1000000)  /* before the interrupt is sent a second time */
#define COME_WAIT_NS    UINT64_C(2000000000)

/* What the first processor and another say to each other. */
enum start_state {
    START_WAITING, /* it has not come yet */
    START_CAME,    /* it has, and makes itself ready */
    START_READY,   /* it waits to be let go */
    START_LEFT,    /* it is not waited for any more, and must not go on */
};

static _Atomic uint32_t states[CPU_COUNT_MAX];
static atomic_bool let_go;
static struct thread *idlers[CPU_COUNT_MAX];
static uint8_t *ist_bottoms[CPU_COUNT_MAX];

/* ap.S */
extern const uint8_t ap_code[], ap_code_end[];
uint64_t ap_root;
uint64_t ap_stacks[CPU_COUNT_MAX];
uint32_t ap_count;
NORETURN void ap_main(uint32_t index);

NORETURN static void halt_for_ever(void)
{
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

void ap_main(uint32_t index)
{
    uint32_t state = START_WAITING;
    if (!atomic_compare_exchange_strong(&states[index], &state, START_CAME)) {
        halt_for_ever();
    }
    cpu_init(index, idlers[index], ist_bottoms[index]);
    lapic_init();
    state = START_CAME;
    if (!atomic_compare_exchange_strong(&states[index], &state, START_READY)) {
        halt_for_ever();
    }
    while (!atomic_load(&let_go)) {
        __asm__ volatile("pause");
    }
    if (index >= cpu_count()) {
        halt_for_ever();
    }
    tlb_flush_all(); /* what changed while nobody knew of it */
    thread_idle();
}

static void wait_ns(uint64_t ns)
{
    uint64_t start_ns = clock_ns();
    while (clock_ns() - start_ns < ns) {
        cpu_relax();
    }
}

static bool prepare(uint32_t index)
{
    ist_bottoms[index] = kmalloc(3 * (PAGE_BYTES + IST_STACK_BYTES));
    if (ist_bottoms[index] == NULL || thread_create_idle(index, &idlers[index]) != 0) {
        return false;
    }
    ap_stacks[index] = idlers[index]->stack_top;
    return true;
}

static bool is_ready(uint32_t index)
{
    return atomic_load(&states[index]) == START_READY;
}

static void send_startups(uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        if (!is_ready(i)) {
            lapic_send_startup(i, AP_CODE_PHYSICAL / PAGE_BYTES);
        }
    }
}

/* How many run, from the first on without a gap. */
static uint32_t wait_for(uint32_t count)
{
    uint64_t start_ns = clock_ns();
    for (uint32_t i = 1; i < count; i++) {
        while (!is_ready(i)) {
            uint32_t state = START_WAITING;
            if (clock_ns() - start_ns > COME_WAIT_NS &&
                atomic_compare_exchange_strong(&states[i], &state, START_LEFT)) {
                return i;
            }
            cpu_relax();
        }
    }
    return count;
}

void smp_start(uint32_t count)
{
    uint32_t wanted = MIN(MAX(count, 1u), (uint32_t)CPU_COUNT_MAX);
    if (wanted == 1) {
        return;
    }
    memcpy(phys_to_virt((phys_addr_t){AP_CODE_PHYSICAL}), ap_code, (size_t)(ap_code_end - ap_code));
    ap_root = virt_to_phys(port_root_table()).v;
    for (uint32_t i = 1; i < wanted; i++) {
        if (!prepare(i)) {
            klog(CTL_LEVEL_WARNING, "no local memory for processor %u: %u run", i, i);
            wanted = i;
        }
    }
    ap_count = wanted;
    for (uint32_t i = 1; i < wanted; i++) {
        lapic_send_init(i);
    }
    wait_ns(INIT_WAIT_NS);
    send_startups(wanted);
    wait_ns(STARTUP_WAIT_NS);
    send_startups(wanted);
    uint32_t came = wait_for(wanted);
    if (came < wanted) {
        klog(CTL_LEVEL_WARNING, "processor %u did not start: %u of %u run", came, came, wanted);
    }
    cpu_count_set(came);
    atomic_store(&let_go, true);
}
