/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MMU: walks the page tables, sets A and D, and caches translations until they are flushed
 * (Intel SDM vol. 3, 4.7, 4.8, 4.10). Not modelled: caches of the upper levels.
 */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/host/host.h"
#include "computenode/unikernel/kernel/port.h"

#define TLB_ENTRIES  4096 /* direct mapped */
#define FAULTS_MAX   64   /* on one access */
#define BIT_P        (1ull << 0)
#define BIT_W        (1ull << 1)
#define BIT_U        (1ull << 2)
#define BIT_A        (1ull << 5)
#define BIT_D        (1ull << 6)
#define BIT_NX       (1ull << 63)
#define ADDRESS_BITS 0x000ffffffffff000ull

struct translation {
    uint64_t page; /* virtual page address | 1; 0: none */
    uint64_t entry;
};

static struct translation tlb[TLB_ENTRIES];

static struct translation *slot_of(uint64_t page)
{
    return &tlb[(page >> PAGE_SHIFT ^ page >> 30) % TLB_ENTRIES];
}

void host_tlb_reset(void)
{
    memset(tlb, 0, sizeof(tlb));
}

void tlb_flush_page(uint64_t va)
{
    uint64_t page = ALIGN_DOWN(va, PAGE_BYTES);
    struct translation *t = slot_of(page);
    if ((host_config.bugs & HOST_BUG_NO_FLUSH) == 0 && t->page == (page | 1)) {
        t->page = 0;
    }
}

void tlb_flush_pages(const uint64_t *va, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        tlb_flush_page(va[i]);
    }
}

void tlb_flush_all(void)
{
    if ((host_config.bugs & HOST_BUG_NO_FLUSH) == 0) {
        host_tlb_reset();
    }
}

static bool allowed(uint64_t entry, enum mm_access access, bool from_user)
{
    return (!from_user || (entry & BIT_U) != 0) &&
           (access != MM_ACCESS_WRITE || (entry & BIT_W) != 0) &&
           (access != MM_ACCESS_EXEC || (entry & BIT_NX) == 0);
}

/* The entry of the page with the rights of all levels, A and D set; 0: a page fault. */
static uint64_t walk(uint64_t va, enum mm_access access, bool from_user)
{
    uint64_t *table = port_root_table();
    uint64_t rights = BIT_W | BIT_U;
    for (int shift = 39; shift > PAGE_SHIFT; shift -= 9) {
        uint64_t entry = table[va >> shift & 511];
        if ((entry & BIT_P) == 0) {
            return 0;
        }
        rights &= entry;
        table = phys_to_virt((phys_addr_t){entry & ADDRESS_BITS});
    }
    uint64_t *leaf = &table[va >> PAGE_SHIFT & 511];
    uint64_t entry = *leaf & (rights | ~(BIT_W | BIT_U));
    if ((entry & BIT_P) == 0 || !allowed(entry, access, from_user)) {
        return 0;
    }
    uint64_t set = (host_config.bugs & HOST_BUG_LOSE_ACCESSED) != 0 ? 0 : BIT_A;
    if (access == MM_ACCESS_WRITE && (host_config.bugs & HOST_BUG_LOSE_DIRTY) == 0) {
        set |= BIT_D;
    }
    *leaf |= set;
    entry |= BIT_A | (access == MM_ACCESS_WRITE ? BIT_D : 0);
    return entry;
}

/* One try. Returns the place of the 8 bytes, or NULL: a page fault. */
static uint64_t *translate(uint64_t va, enum mm_access access, bool from_user)
{
    uint64_t page = ALIGN_DOWN(va, PAGE_BYTES);
    struct translation *t = slot_of(page);
    bool hit = t->page == (page | 1) && allowed(t->entry, access, from_user);
    /* The first store through a translation walks again, to set D. */
    if (!hit || (access == MM_ACCESS_WRITE && (t->entry & BIT_D) == 0)) {
        uint64_t entry = walk(va, access, from_user);
        if (entry == 0) {
            return NULL;
        }
        *t = (struct translation){page | 1, entry};
    }
    uint8_t *frame = phys_to_virt((phys_addr_t){t->entry & ADDRESS_BITS});
    return (uint64_t *)(void *)(frame + va % PAGE_BYTES);
}

static int access_at(uint64_t va, enum mm_access access, bool from_user, uint64_t **ret)
{
    for (int i = 0; i < FAULTS_MAX; i++) {
        *ret = translate(va, access, from_user);
        if (*ret != NULL) {
            return 0;
        }
        int r = mm_fault(mm_current(), va, access, from_user);
        if (r < 0) {
            return r;
        }
    }
    host_violation("the same access faults for ever", va);
    return -ELOOP;
}

int host_load(uint64_t va, bool from_user, uint64_t *ret)
{
    uint64_t *at;
    int r = access_at(va, MM_ACCESS_READ, from_user, &at);
    if (r == 0) {
        *ret = *at;
    }
    return r;
}

int host_store(uint64_t va, bool from_user, uint64_t value)
{
    uint64_t *at;
    int r = access_at(va, MM_ACCESS_WRITE, from_user, &at);
    if (r == 0) {
        *at = value;
    }
    return r;
}

int host_execute(uint64_t va)
{
    uint64_t *at;
    return access_at(va, MM_ACCESS_EXEC, true, &at);
}
