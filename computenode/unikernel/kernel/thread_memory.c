/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/thread_memory.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/fpu.h"
#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/kernel/vmap.h"
#include "lib/base/check.h"

#define SLOT_BYTES  (64 * KIB)
#define STACK_PAGES 8u
#define PAGES       (STACK_PAGES + 1) /* and one for the rest */
#define KEPT_MAX    16u

_Static_assert(PAGES *PAGE_BYTES < SLOT_BYTES, "room for a guard below the stack");
_Static_assert(THREAD_COUNT_MAX *SLOT_BYTES <= THREADS_END - THREADS_BASE, "all fit");

static uint64_t taken[THREAD_COUNT_MAX / 64];
static uint32_t kept[KEPT_MAX]; /* mapped slots of nobody */
static uint32_t kept_count;

static uint64_t slot_va(uint32_t slot)
{
    return THREADS_BASE + (uint64_t)(slot + 1) * SLOT_BYTES - PAGES * PAGE_BYTES;
}

static void unmap(uint32_t slot, uint32_t page_count)
{
    for (uint32_t i = 0; i < page_count; i++) {
        frame_free_kernel(vunmap_page(slot_va(slot) + i * PAGE_BYTES));
    }
    taken[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

static int map(uint32_t slot)
{
    taken[slot / 64] |= UINT64_C(1) << slot % 64;
    for (uint32_t i = 0; i < PAGES; i++) {
        phys_addr_t pa;
        int r = frame_alloc_kernel(&pa);
        if (r == 0) {
            r = vmap_page(slot_va(slot) + i * PAGE_BYTES, pa);
            if (r != 0) {
                frame_free_kernel(pa);
            }
        }
        if (r != 0) {
            unmap(slot, i);
            return -EAGAIN;
        }
    }
    return 0;
}

static int slot_take(uint32_t *ret)
{
    if (kept_count > 0) {
        *ret = kept[--kept_count];
        return 0;
    }
    for (uint32_t word = 0; word < ARRAY_LEN(taken); word++) {
        if (taken[word] != UINT64_MAX) {
            *ret = word * 64 + (uint32_t)__builtin_ctzll(~taken[word]);
            return map(*ret);
        }
    }
    return -EAGAIN;
}

int thread_memory_take(struct thread **ret)
{
    uint32_t slot;
    int r = slot_take(&slot);
    if (r != 0) {
        return r;
    }
    uint64_t top = slot_va(slot) + STACK_PAGES * PAGE_BYTES;
    struct thread *t = (struct thread *)(uintptr_t)top;
    uint64_t fpu = ALIGN_UP(top + sizeof(*t), FPU_ALIGN);
    CHECK(fpu + fpu_area_bytes() <= top + PAGE_BYTES);
    memset(t, 0, sizeof(*t));
    t->stack_top = top;
    t->slot = slot;
    t->fpu = (void *)(uintptr_t)fpu;
    fpu_area_clean(t->fpu);
    *ret = t;
    return 0;
}

void thread_memory_give(struct thread *t)
{
    if (kept_count < KEPT_MAX) {
        kept[kept_count++] = t->slot;
    } else {
        unmap(t->slot, PAGES);
    }
}
