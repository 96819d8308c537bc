/* SPDX-License-Identifier: Apache-2.0 */
/* /proc files about the machine: proc(5). */
#include "computenode/unikernel/fs/content.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/procfs.h"
#include "computenode/unikernel/linux/system.h"

#define NS_PER_S 1000000000ull

/*
 * All memory, local and far, is memory that a program may use without asking, so MemTotal is both;
 * the two are also told apart, in lines of our own.
 */
void proc_meminfo(struct text *t)
{
    struct system_memory m;
    system_memory(&m);
    uint64_t total = m.local_bytes + m.far_bytes;
    uint64_t free_bytes = m.local_free_bytes + m.far_bytes - m.far_used_bytes;
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"MemTotal", total},
        {"MemFree", free_bytes},
        {"MemAvailable", free_bytes},
        {"Buffers", 0},
        {"Cached", content_used_pages() * PAGE_BYTES},
        {"SwapCached", 0},
        {"SwapTotal", 0},
        {"SwapFree", 0},
        {"Shmem", content_used_pages() * PAGE_BYTES},
        {"DilosLocalTotal", m.local_bytes},
        {"DilosLocalFree", m.local_free_bytes},
        {"DilosFarTotal", m.far_bytes},
        {"DilosFarUsed", m.far_used_bytes},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        text_add(t, "%s: %10lu kB\n", rows[i].name, (unsigned long)(rows[i].bytes / KIB));
    }
}

void proc_cpuinfo(struct text *t)
{
    uint32_t count = cpu_count();
    for (uint32_t i = 0; i < count; i++) {
        text_add(t,
                 "processor\t: %u\nvendor_id\t: DiLOS\ncpu family\t: 6\nmodel\t\t: 0\n"
                 "model name\t: DiLOS virtual CPU\ncpu MHz\t\t: %lu.000\nphysical id\t: 0\n"
                 "siblings\t: %u\ncore id\t\t: %u\ncpu cores\t: %u\n"
                 "flags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 syscall nx lm\n\n",
                 i, (unsigned long)(clock_tsc_hz() / 1000000u), count, i, count);
    }
}

void proc_cpu_list(struct text *t)
{
    uint32_t count = cpu_count();
    if (count == 1) {
        text_add(t, "0\n");
    } else {
        text_add(t, "0-%u\n", count - 1);
    }
}

void proc_loadavg(struct text *t)
{
    text_add(t, "0.00 0.00 0.00 1/%u %u\n", process_current()->task_count, PROCESS_PID);
}

void proc_stat(struct text *t)
{
    unsigned long ticks = (unsigned long)(clock_ns() / 10000000u);
    unsigned long used = (unsigned long)(call_process_run_ns() / 10000000u);
    uint32_t count = cpu_count();
    unsigned long all = MAX(ticks * count, used);
    text_add(t, "cpu  %lu 0 0 %lu 0 0 0 0 0 0\n", used, all - used);
    for (uint32_t i = 0; i < count; i++) {
        text_add(t, "cpu%u %lu 0 0 %lu 0 0 0 0 0 0\n", i, used / count, (all - used) / count);
    }
    text_add(t, "ctxt 0\n");
    text_add(t, "btime %lu\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n",
             (unsigned long)((clock_realtime_ns() - clock_ns()) / NS_PER_S));
}

void proc_uptime(struct text *t)
{
    uint64_t now = clock_ns();
    text_add(t, "%lu.%02lu 0.00\n", (unsigned long)(now / NS_PER_S),
             (unsigned long)(now % NS_PER_S / 10000000u));
}

void proc_mounts(struct text *t)
{
    text_add(t, "overlay / overlay rw 0 0\n"
                "devtmpfs /dev devtmpfs rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n"
                "proc /proc proc rw 0 0\nsysfs /sys sysfs ro 0 0\n");
}

/* RFC 4122 version 4. */
static void add_uuid(struct text *t, const uint8_t *b)
{
    text_add(t, "%02x%02x%02x%02x-%02x%02x-%02x%02x-", b[0], b[1], b[2], b[3], b[4], b[5],
             (b[6] & 0x0f) | 0x40, b[7]);
    text_add(t, "%02x%02x-%02x%02x%02x%02x%02x%02x\n", (b[8] & 0x3f) | 0x80, b[9], b[10], b[11],
             b[12], b[13], b[14], b[15]);
}

void proc_uuid(struct text *t)
{
    uint8_t bytes[16];
    random_fill(bytes, sizeof(bytes));
    add_uuid(t, bytes);
}

void proc_boot_id(struct text *t)
{
    static uint8_t bytes[16];
    static bool made;
    if (!made) {
        random_fill(bytes, sizeof(bytes));
        made = true;
    }
    add_uuid(t, bytes);
}
