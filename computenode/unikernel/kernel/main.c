/* SPDX-License-Identifier: Apache-2.0 */
/* From the first instruction of C to the door up into linux/. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/clock.h"
#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/irq.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/paging.h"
#include "computenode/unikernel/arch/x86_64/power.h"
#include "computenode/unikernel/arch/x86_64/pvh.h"
#include "computenode/unikernel/arch/x86_64/serial.h"
#include "computenode/unikernel/arch/x86_64/smp.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/drivers/devices.h"
#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/bench_device.h"
#include "computenode/unikernel/kernel/control.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/random.h"
#include "computenode/unikernel/kernel/rootdev.h"
#include "computenode/unikernel/kernel/selftest.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/check.h"

#define LOCAL_FRAMES_MIN 1024u /* below that not even the tables and rings fit */

static struct pvh_info machine;
static struct bootspec spec;
static struct devices devices;
static struct gueststats stats[CPU_COUNT_MAX] __attribute__((aligned(4096)));

_Static_assert(sizeof(struct gueststats) <= PAGE_BYTES, "the agent reads one page");

extern uint8_t ist_stacks[];

NORETURN void boot_main(uint32_t start_info_physical);

const struct bootspec *boot_spec(void)
{
    return &spec;
}

uint64_t machine_ram_bytes(void)
{
    return machine.ram_bytes;
}

struct gueststats *machine_stats(void)
{
    return stats;
}

void machine_stats_read(struct gueststats *ret)
{
    *ret = stats[0];
    for (uint32_t i = 1; i < CPU_COUNT_MAX; i++) {
        gueststats_add(ret, &stats[i]);
    }
    gueststats_settle(ret);
}

/* The module's bytes stay where they are: the strings of the specification point into them. */
static int read_spec(void)
{
    if (machine.module.bytes == 0) {
        return -ENOENT;
    }
    if (machine.module.bytes > BOOTSPEC_BYTES_MAX) {
        return -EMSGSIZE;
    }
    return bootspec_decode(phys_to_virt((phys_addr_t){machine.module.start}), machine.module.bytes,
                           &spec);
}

NORETURN static void refuse_spec(int error)
{
    char reason[192];
    const char *why = "it is malformed or has an item that this kernel does not know";
    if (error == -ENOENT) {
        why = "there is none: pass it as the first module (QEMU: -initrd FILE)";
    } else if (error == -EMSGSIZE) {
        why = "it is over a limit of lib/wire/bootspec.h";
    } else if (error == -EPROTONOSUPPORT) {
        why = "its version is another: agent and kernel must be of one release";
    }
    (void)ksnprintf(reason, sizeof(reason), "boot specification refused: %s", why);
    machine_exit(CTL_REFUSED, 1, reason);
}

static void frames_start(void)
{
    static struct frame_range ranges[PVH_RANGES_MAX];
    uint32_t count = pvh_free_ranges(&machine, ranges);
    uint64_t taken = pvh_pages_taken();
    uint64_t limit = spec.local_bytes / PAGE_BYTES;
    if (limit != 0 && limit < taken + LOCAL_FRAMES_MIN) {
        char reason[160];
        (void)ksnprintf(reason, sizeof(reason),
                        "local memory of %llu KiB is too small: the kernel needs %llu KiB",
                        (unsigned long long)(limit * 4),
                        (unsigned long long)((taken + LOCAL_FRAMES_MIN) * 4));
        machine_exit(CTL_REFUSED, 1, reason);
    }
    frames_init(ranges, count, limit == 0 ? 0 : limit - taken);
}

static void devices_start(void)
{
    devices_init(machine.cmdline, &devices);
    if (devices.has_console && control_open(image_to_phys(stats)) != 0) {
        panic("no memory for the control channel");
    }
    if (devices.root != NULL && rootdev_init(devices.root->queues[0]) != 0) {
        panic("no memory for the root device");
    }
}

/*
 * Processor i has queues 2i and 2i + 1. With fewer queues than that, pairs are shared; of a single
 * queue, everything goes through it.
 */
static void queues_share_out(const struct blk_device *far, struct pager_config *config)
{
    uint32_t pairs = MAX(far->queue_count / 2, 1u);
    for (uint32_t i = 0; i < cpu_count(); i++) {
        uint32_t pair = i % pairs;
        config->demand[i] = far->queues[2 * pair];
        config->background[i] = far->queues[MIN(2 * pair + 1, far->queue_count - 1)];
    }
}

static void pager_start(void)
{
    struct pager_config config = {
        .far_bytes = spec.far_bytes,
        .slab_bytes = spec.slab_bytes,
        .image_bytes = pvh_pages_taken() * PAGE_BYTES,
        .stats = stats,
        .prefetch = spec.prefetch.data,
        .prefetch_length = spec.prefetch.length,
    };
    if (spec.prefetch.length != 0 &&
        !pager_prefetcher_exists(spec.prefetch.data, spec.prefetch.length)) {
        char reason[128];
        (void)ksnprintf(reason, sizeof(reason), "no prefetcher is named %.*s; there are: %s",
                        (int)MIN(spec.prefetch.length, 32u), spec.prefetch.data, PAGER_PREFETCHERS);
        machine_exit(CTL_REFUSED, 1, reason);
    }
    if (spec.far_bytes != 0 && devices.far == NULL) {
        machine_exit(CTL_REFUSED, 1,
                     "the boot specification grants far memory, but there is no far device (a "
                     "virtio block device whose id is \"far\")");
    }
    if (devices.far != NULL && spec.far_bytes != 0) {
        queues_share_out(devices.far, &config);
    }
    pager_init(&config);
    control_pager_started();
}

/* All that happens once threads run. */
static void first_thread(void *argument)
{
    kernel_lock();
    pager_start();
    selftest(machine.cmdline);
    linux_start();
}

NORETURN static void threads_start(void)
{
    struct thread *first;
    if (thread_create(first_thread, NULL, NULL, &first) != 0) {
        machine_exit(CTL_REFUSED, 1, "no local memory for a thread: raise --local-memory");
    }
    thread_start(first);
    kernel_unlock();
    thread_idle();
}

NORETURN static void probe(void)
{
    static const char ok[] = "dilos: probe ok\n";
    serial_write(ok, sizeof(ok) - 1);
    power_off(0);
}

static void machine_start(uint32_t start_info_physical)
{
    serial_init();
    cpu_init(0, thread_boot(), ist_stacks);
    cpu_count_set(1);
    kernel_lock();
    int r = pvh_read(start_info_physical, &machine);
    if (r != 0) {
        panic("the VMM's start info (PVH) makes no sense: error %d", -r);
    }
    paging_init(&machine);
    clock_init();
    lapic_init();
    irq_init();
    lapic_timer(clock_ns());
    stats[0].magic = GUESTSTATS_MAGIC;
    stats[0].version = GUESTSTATS_VERSION;
    stats[0].bytes = sizeof(stats[0]);
}

void boot_main(uint32_t start_info_physical)
{
    machine_start(start_info_physical);
    int spec_error = read_spec();
    if (spec_error == 0 && spec.mode == BOOTSPEC_PROBE) {
        probe();
    }
    random_init(spec.seed, tsc_read());
    clock_realtime_set(spec.realtime_ns);
    frames_start();
    devices_start();
    if (spec_error != 0) {
        refuse_spec(spec_error);
    }
    if (spec.mode == BOOTSPEC_BENCH_DEVICE) {
        if (devices.far == NULL) {
            machine_exit(CTL_REFUSED, 1, "device benchmark: there is no far device");
        }
        bench_device(devices.far->queues[0], spec.far_bytes);
    }
    smp_start((uint32_t)MIN(spec.vcpus, (uint64_t)CPU_COUNT_MAX));
    threads_start();
}
