/* SPDX-License-Identifier: Apache-2.0 */
/* kernel/port.h for one processor and one thread. */
#include "computenode/unikernel/far/pager_thread.h"
#include "computenode/unikernel/kernel/port.h"
#include "lib/base/check.h"

static struct pager_thread the_thread;
static uint32_t lock_depth;

uint32_t cpu_index(void)
{
    return 0;
}

uint32_t cpu_count(void)
{
    return 1;
}

void kernel_lock(void)
{
    lock_depth++;
}

void kernel_unlock(void)
{
    CHECK(lock_depth > 0);
    lock_depth--;
}

bool kernel_lock_held(void)
{
    return lock_depth > 0;
}

bool thread_yield(void)
{
    return false;
}

struct pager_thread *pager_thread(void)
{
    return &the_thread;
}

void tlb_flush_pages(const uint64_t *va, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        tlb_flush_page(va[i]);
    }
}
