/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/page.h"

#include "computenode/unikernel/far/internal.h"
#include "lib/base/check.h"
#include "lib/base/state.h"

const uint32_t page_moves[PAGE_STATES] = {
    /* ALIAS: a shared mapping of a tmpfs page. FETCHING never: an empty page has no far page. */
    [PAGE_EMPTY] = STATE_TO(PAGE_CLEAN) | STATE_TO(PAGE_DIRTY) | STATE_TO(PAGE_ALIAS),
    /* EMPTY: unmapped or given up. REMOTE: its rights change. */
    [PAGE_REMOTE] = STATE_TO(PAGE_FETCHING) | STATE_TO(PAGE_EMPTY) | STATE_TO(PAGE_REMOTE),
    /* REMOTE: the read failed. */
    [PAGE_FETCHING] = STATE_TO(PAGE_CLEAN) | STATE_TO(PAGE_DIRTY) | STATE_TO(PAGE_REMOTE),
    /* REMOTE: evicted, the far page is good. EMPTY: evicted without a far page, or unmapped. */
    [PAGE_CLEAN] =
        STATE_TO(PAGE_CLEAN) | STATE_TO(PAGE_DIRTY) | STATE_TO(PAGE_REMOTE) | STATE_TO(PAGE_EMPTY),
    /* Never to REMOTE: what is nowhere else is never dropped. */
    [PAGE_DIRTY] = STATE_TO(PAGE_DIRTY) | STATE_TO(PAGE_WRITING) | STATE_TO(PAGE_EMPTY),
    /* DIRTY: the write failed, or the page was stored to meanwhile. */
    [PAGE_WRITING] = STATE_TO(PAGE_WRITING) | STATE_TO(PAGE_CLEAN) | STATE_TO(PAGE_DIRTY),
    [PAGE_ALIAS] = STATE_TO(PAGE_ALIAS) | STATE_TO(PAGE_EMPTY),
};

bool page_may_move(enum page_state from, enum page_state to)
{
    return state_may_move(page_moves, from, to);
}

/* Which count a state belongs to. */
static const uint8_t is_far[PAGE_STATES] = {[PAGE_REMOTE] = 1, [PAGE_FETCHING] = 1};
static const uint8_t is_here[PAGE_STATES] = {
    [PAGE_CLEAN] = 1, [PAGE_DIRTY] = 1, [PAGE_WRITING] = 1, [PAGE_ALIAS] = 1};

HOT void page_count(enum page_state from, enum page_state to)
{
    struct gueststats *stats = stats_here();
    stat_add(&stats->pages_remote, (uint64_t)is_far[to] - is_far[from]);
    stat_add(&stats->pages_local, (uint64_t)is_here[to] - is_here[from]);
}

uint64_t rights_of(uint64_t va, unsigned protection)
{
    if (va_is_window(va)) {
        return PTE_W | PTE_NX;
    }
    uint64_t rights = (protection & MM_EXEC) != 0 ? 0 : PTE_NX;
    if ((protection & (MM_READ | MM_WRITE | MM_EXEC)) != 0) {
        rights |= PTE_U;
    }
    if ((protection & MM_WRITE) != 0) {
        rights |= PTE_W;
    }
    return rights;
}
