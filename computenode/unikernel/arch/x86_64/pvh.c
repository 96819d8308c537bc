/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/pvh.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/paging.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define START_INFO_MAGIC   0x336ec578u
#define START_INFO_BYTES   56u
#define MODULE_ENTRY_BYTES 32u
#define MEMMAP_ENTRY_BYTES 24u
#define MEMMAP_TYPE_RAM    1u
#define LOW_MEMORY_END     MIB /* firmware and option ROM data */
#define BOOT_MAP_END       (4 * GIB)
#define PHYSICAL_END       (TIB * 64) /* what the direct map has room for */

extern uint8_t image_start[], image_end[];

/* Pages for tables are taken upwards from here; see pvh_page_take(). */
static struct pvh_range pool;
static uint64_t pool_taken_bytes;
static struct pvh_range module_pages;

static const uint8_t *physical(uint64_t address)
{
    return phys_to_virt((phys_addr_t){address});
}

static bool reachable(uint64_t address, uint64_t bytes)
{
    return address != 0 && address < BOOT_MAP_END && bytes <= BOOT_MAP_END - address;
}

static int read_ram(uint64_t address, uint32_t count, struct pvh_info *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = physical(address + (uint64_t)i * MEMMAP_ENTRY_BYTES);
        uint64_t start = ALIGN_UP(le64_load(entry), PAGE_BYTES);
        uint64_t end = ALIGN_DOWN(le64_load(entry) + le64_load(entry + 8), PAGE_BYTES);
        if (le32_load(entry + 16) != MEMMAP_TYPE_RAM || end <= start || end > PHYSICAL_END) {
            continue;
        }
        if (ret->ram_count == PVH_RANGES_MAX) {
            return -E2BIG;
        }
        ret->ram[ret->ram_count++] = (struct pvh_range){start, end - start};
        ret->ram_bytes += end - start;
    }
    return ret->ram_count == 0 ? -EINVAL : 0;
}

static void read_cmdline(uint64_t address, struct pvh_info *ret)
{
    if (!reachable(address, PVH_CMDLINE_CAPACITY)) {
        return;
    }
    const char *from = (const char *)physical(address);
    for (uint32_t i = 0; i < PVH_CMDLINE_CAPACITY - 1 && from[i] != '\0'; i++) {
        ret->cmdline[i] = from[i];
    }
}

/* The part of RAM that pvh_page_take() gives out: after the image, up to what follows it. */
static int pool_init(const struct pvh_info *info)
{
    uint64_t start = image_to_phys(image_end).v;
    for (uint32_t i = 0; i < info->ram_count; i++) {
        const struct pvh_range *ram = &info->ram[i];
        uint64_t end = MIN(ram->start + ram->bytes, BOOT_MAP_END);
        if (start < ram->start || start >= end) {
            continue;
        }
        if (module_pages.bytes != 0 && module_pages.start >= start) {
            end = MIN(end, module_pages.start);
        }
        pool = (struct pvh_range){start, end - start};
        return 0;
    }
    return -EINVAL;
}

/* struct hvm_start_info: magic u32, version u32, flags u32, nr_modules u32, modlist u64,
 * cmdline u64, rsdp u64, and from version 1 memmap u64, memmap_entries u32. */
int pvh_read(uint32_t start_info_physical, struct pvh_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (!reachable(start_info_physical, START_INFO_BYTES)) {
        return -EINVAL;
    }
    const uint8_t *info = physical(start_info_physical);
    uint64_t modules = le64_load(info + 16);
    uint64_t memmap = le64_load(info + 40);
    uint32_t memmap_count = le32_load(info + 48);
    if (le32_load(info) != START_INFO_MAGIC || le32_load(info + 4) < 1 ||
        !reachable(memmap, (uint64_t)memmap_count * MEMMAP_ENTRY_BYTES)) {
        return -EINVAL;
    }
    int r = read_ram(memmap, memmap_count, ret);
    if (r != 0) {
        return r;
    }
    read_cmdline(le64_load(info + 24), ret);
    if (le32_load(info + 12) != 0 && reachable(modules, MODULE_ENTRY_BYTES)) {
        const uint8_t *module = physical(modules);
        ret->module = (struct pvh_range){le64_load(module), le64_load(module + 8)};
        if (!reachable(ret->module.start, ret->module.bytes)) {
            return -EINVAL;
        }
        module_pages.start = ALIGN_DOWN(ret->module.start, PAGE_BYTES);
        module_pages.bytes =
            ALIGN_UP(ret->module.start + ret->module.bytes, PAGE_BYTES) - module_pages.start;
    }
    return pool_init(ret);
}

phys_addr_t pvh_page_take(void)
{
    if (pool_taken_bytes == pool.bytes) {
        panic("no memory for the kernel's page tables: give the machine more RAM");
    }
    phys_addr_t pa = {pool.start + pool_taken_bytes};
    pool_taken_bytes += PAGE_BYTES;
    memset(phys_to_virt(pa), 0, PAGE_BYTES);
    return pa;
}

/* Removes [start, end) from the ranges; one range may become two. */
static uint32_t subtract(struct frame_range *ranges, uint32_t count, uint64_t start, uint64_t end)
{
    uint32_t count_before = count;
    for (uint32_t i = 0; i < count_before; i++) {
        uint64_t a = ranges[i].start.v;
        uint64_t b = a + ranges[i].page_count * PAGE_BYTES;
        uint64_t low_end = MAX(a, MIN(b, start));
        uint64_t high_start = MIN(b, MAX(a, end));
        if (start >= b || end <= a) {
            continue;
        }
        ranges[i].page_count = (low_end - a) / PAGE_BYTES;
        if (high_start < b && count < PVH_RANGES_MAX) {
            ranges[count].start.v = high_start;
            ranges[count++].page_count = (b - high_start) / PAGE_BYTES;
        }
    }
    return count;
}

uint32_t pvh_free_ranges(const struct pvh_info *info, struct frame_range *ret)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < info->ram_count; i++) {
        ret[count].start.v = info->ram[i].start;
        ret[count++].page_count = info->ram[i].bytes / PAGE_BYTES;
    }
    count = subtract(ret, count, 0, LOW_MEMORY_END);
    count = subtract(ret, count, image_to_phys(image_start).v, pool.start + pool_taken_bytes);
    count = subtract(ret, count, module_pages.start, module_pages.start + module_pages.bytes);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (ret[i].page_count != 0) {
            ret[kept++] = ret[i];
        }
    }
    return kept;
}

uint64_t pvh_pages_taken(void)
{
    uint64_t image_bytes = pool.start + pool_taken_bytes - image_to_phys(image_start).v;
    return (image_bytes + module_pages.bytes) / PAGE_BYTES;
}
