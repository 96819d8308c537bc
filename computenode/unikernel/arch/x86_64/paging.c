/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/paging.h"

#include <errno.h>
#include <stdbool.h>

#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/kernel/vmap.h"
#include "lib/base/check.h"

#define PTE_PRESENT  UINT64_C(1)
#define PTE_WRITABLE (UINT64_C(1) << 1)
#define PTE_UNCACHED                                                                               \
    (UINT64_C(3) << 3) /* write-through and cache-disable: UC by the default PAT                   \
                        */
#define PTE_LARGE   (UINT64_C(1) << 7)
#define PTE_GLOBAL  (UINT64_C(1) << 8)
#define PTE_NX      (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)

#define LARGE_PAGE_BYTES (2 * MIB)
#define DEVICE_START     UINT64_C(0xf0000000)
#define DEVICE_END       (4 * GIB)
#define KERNEL_DATA      (PTE_PRESENT | PTE_WRITABLE | PTE_GLOBAL | PTE_NX)

extern uint8_t image_start[], image_text_end[], image_rodata_end[], image_end[];
extern uint8_t kernel_stack_guard[], ist_stacks[];

static uint64_t root_table[512] __attribute__((aligned(4096)));

void *phys_to_virt(phys_addr_t pa)
{
    return (void *)(uintptr_t)(DIRECT_MAP_BASE + pa.v);
}

phys_addr_t virt_to_phys(const void *direct_map_address)
{
    return (phys_addr_t){(uint64_t)(uintptr_t)direct_map_address - DIRECT_MAP_BASE};
}

phys_addr_t image_to_phys(const void *image_address)
{
    return (phys_addr_t){(uint64_t)(uintptr_t)image_address - KERNEL_BASE};
}

volatile void *paging_device(uint64_t physical)
{
    CHECK(physical >= DEVICE_START);
    CHECK(physical < DEVICE_END);
    return (volatile void *)(uintptr_t)(MMIO_BASE + physical);
}

uint64_t *port_root_table(void)
{
    return phys_to_virt(image_to_phys(root_table));
}

typedef int (*table_alloc_fn)(phys_addr_t *ret);

/* The entry for `va` in the table of `level` (0: 4 KiB pages), making the tables above it. */
static int entry_get(uint64_t va, unsigned level, table_alloc_fn alloc, uint64_t **ret)
{
    uint64_t *table = root_table;
    for (unsigned at = 3;; at--) {
        uint64_t *entry = &table[va >> (PAGE_SHIFT + 9 * at) & 511];
        if (at == level) {
            *ret = entry;
            return 0;
        }
        if ((*entry & PTE_PRESENT) == 0) {
            phys_addr_t pa;
            int r = alloc(&pa);
            if (r != 0) {
                return r;
            }
            *entry = pa.v | PTE_PRESENT | PTE_WRITABLE;
        }
        table = phys_to_virt((phys_addr_t){*entry & PTE_ADDRESS});
    }
}

static int boot_alloc(phys_addr_t *ret)
{
    *ret = pvh_page_take();
    return 0;
}

static void boot_map(uint64_t va, uint64_t pa, unsigned level, uint64_t flags)
{
    uint64_t *entry;
    int r = entry_get(va, level, boot_alloc, &entry);
    CHECK(r == 0);
    *entry = pa | flags;
}

static void map_ram(const struct pvh_range *ram)
{
    uint64_t end = ALIGN_UP(ram->start + ram->bytes, LARGE_PAGE_BYTES);
    for (uint64_t pa = ALIGN_DOWN(ram->start, LARGE_PAGE_BYTES); pa < end; pa += LARGE_PAGE_BYTES) {
        boot_map(DIRECT_MAP_BASE + pa, pa, 1, KERNEL_DATA | PTE_LARGE);
    }
}

static void map_image(const uint8_t *start, const uint8_t *end, uint64_t flags)
{
    for (const uint8_t *at = start; at < end; at += PAGE_BYTES) {
        boot_map((uint64_t)(uintptr_t)at, image_to_phys(at).v, 0, flags);
    }
}

static void unmap_guard(const uint8_t *page)
{
    boot_map((uint64_t)(uintptr_t)page, 0, 0, 0);
}

void paging_init(const struct pvh_info *info)
{
    for (uint32_t i = 0; i < info->ram_count; i++) {
        map_ram(&info->ram[i]);
    }
    map_image(image_start, image_text_end, PTE_PRESENT | PTE_GLOBAL);
    map_image(image_text_end, image_rodata_end, PTE_PRESENT | PTE_GLOBAL | PTE_NX);
    map_image(image_rodata_end, image_end, KERNEL_DATA);
    for (uint64_t pa = DEVICE_START; pa < DEVICE_END; pa += LARGE_PAGE_BYTES) {
        boot_map(MMIO_BASE + pa, pa, 1, KERNEL_DATA | PTE_LARGE | PTE_UNCACHED);
    }
    unmap_guard(kernel_stack_guard);
    for (unsigned i = 0; i < 3; i++) {
        unmap_guard(ist_stacks + i * (PAGE_BYTES + IST_STACK_BYTES));
    }
    cr3_write(image_to_phys(root_table).v);
}

int vmap_page(uint64_t va, phys_addr_t pa)
{
    uint64_t *entry;
    int r = entry_get(va, 0, frame_alloc_kernel, &entry);
    if (r != 0) {
        return r;
    }
    CHECK(*entry == 0);
    *entry = pa.v | KERNEL_DATA;
    return 0;
}

phys_addr_t vunmap_page(uint64_t va)
{
    uint64_t *entry;
    int r = entry_get(va, 0, frame_alloc_kernel, &entry);
    CHECK(r == 0); /* it is mapped, so its tables are there */
    phys_addr_t pa = {*entry & PTE_ADDRESS};
    CHECK((*entry & PTE_PRESENT) != 0);
    *entry = 0;
    tlb_flush_page(va);
    return pa;
}
