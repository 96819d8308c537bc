/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/page_table.h"

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "lib/base/check.h"

#define LEVELS 4

/* Bytes that one entry of a table of this level (1: holds pages) covers. */
static uint64_t entry_bytes(unsigned level)
{
    return PAGE_BYTES << (9 * (level - 1));
}

static unsigned entry_index(uint64_t va, unsigned level)
{
    return (unsigned)(va / entry_bytes(level)) % PT_ENTRIES;
}

static pte_t *root(void)
{
    return pager.root;
}

static pte_t *table_below(uint64_t entry)
{
    return (entry & PTE_P) != 0 ? direct_map(pte_frame_address(entry)) : NULL;
}

HOT pte_t *pt_find(uint64_t va)
{
    pte_t *table = pager.root;
    for (unsigned shift = PAGE_SHIFT + 27; shift > PAGE_SHIFT; shift -= 9) {
        uint64_t entry = pte_load(&table[va >> shift & (PT_ENTRIES - 1)]);
        if ((entry & PTE_P) == 0) {
            return NULL;
        }
        table = direct_map(pte_frame_address(entry));
    }
    return &table[va >> PAGE_SHIFT & (PT_ENTRIES - 1)];
}

static int table_make(pte_t *entry, uint64_t va)
{
    phys_addr_t pa;
    int r = frame_alloc_table(&pa);
    if (r < 0) {
        return r;
    }
    uint64_t expected = 0;
    uint64_t next = pa.v | PTE_P | PTE_W | PTE_A | (va_is_window(va) ? 0 : PTE_U);
    if (!atomic_compare_exchange_strong(entry, &expected, next)) {
        frame_free_kernel(pa);
    }
    return 0;
}

int pt_get(uint64_t va, pte_t **ret)
{
    pte_t *table = root();
    for (unsigned level = LEVELS; level > 1; level--) {
        pte_t *entry = &table[entry_index(va, level)];
        if (pte_load(entry) == 0) {
            int r = table_make(entry, va);
            if (r < 0) {
                return r;
            }
        }
        table = table_below(pte_load(entry));
        CHECK(table != NULL);
    }
    *ret = &table[entry_index(va, 1)];
    return 0;
}

pte_t *pt_next(uint64_t *va, uint64_t end)
{
    uint64_t at = *va;
    while (at < end) {
        pte_t *table = root();
        unsigned level = LEVELS;
        while (level > 1) {
            pte_t *below = table_below(pte_load(&table[entry_index(at, level)]));
            if (below == NULL) {
                break;
            }
            table = below;
            level--;
        }
        if (level == 1) {
            for (unsigned i = entry_index(at, 1); i < PT_ENTRIES && at < end; i++) {
                if (pte_load(&table[i]) != 0) {
                    *va = at;
                    return &table[i];
                }
                at += PAGE_BYTES;
            }
        } else {
            uint64_t next = ALIGN_DOWN(at, entry_bytes(level)) + entry_bytes(level);
            if (next < at) {
                break; /* the last entry of the address space */
            }
            at = next;
        }
    }
    return NULL;
}

struct trim {
    uint64_t start, end;           /* what was emptied */
    uint64_t hole_start, hole_end; /* what is empty */
    struct frame *doomed;          /* tables, freed after the flush */
};

static void doom(struct trim *t, phys_addr_t pa)
{
    struct frame *f = frame_of(pa);
    f->next = t->doomed;
    t->doomed = f;
}

/*
 * Goes through the entries of a table at `level` (2..4) that cover part of [start, end). Depth is
 * at most three.
 */
static void trim_table(struct trim *t, pte_t *table, unsigned level, uint64_t table_va)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        uint64_t first = table_va + i * entry_bytes(level);
        uint64_t last = first + entry_bytes(level) - 1;
        if (last < t->start || first >= t->end) {
            continue;
        }
        pte_t *below = table_below(pte_load(&table[i]));
        if (below == NULL) {
            continue;
        }
        if (level > 2) {
            trim_table(t, below, level - 1, first);
        }
        if (first >= t->hole_start && last < t->hole_end) {
            doom(t, pte_frame_address(pte_load(&table[i])));
            atomic_store_explicit(&table[i], 0, memory_order_release);
        }
    }
}

/* Base of the half of the address space that `va` is in: entry 0 of the root, extended. */
static uint64_t root_base(uint64_t va)
{
    return va >> 47 == 0 ? 0 : 0xffff000000000000ull;
}

void pt_trim(uint64_t start, uint64_t end, uint64_t hole_start, uint64_t hole_end)
{
    struct trim t = {.start = start, .end = end, .hole_start = hole_start, .hole_end = hole_end};
    if (hole_end - hole_start < entry_bytes(2)) {
        return;
    }
    /* Tables at the edges are emptied by their last neighbour's leaving, so look at whole ones. */
    t.start = MAX(ALIGN_DOWN(start, entry_bytes(2)), hole_start);
    t.end = MIN(ALIGN_UP(end, entry_bytes(2)), hole_end);
    trim_table(&t, root(), LEVELS, root_base(start));
    if (t.doomed == NULL) {
        return;
    }
    /* No translation leads there any more, and no fault that found a way there is under way. */
    tlb_flush_all();
    stat_add(&stats_here()->tlb_flush_all, 1);
    while (t.doomed != NULL) {
        struct frame *f = t.doomed;
        t.doomed = f->next;
        frame_free_kernel(frame_address(f));
    }
}
