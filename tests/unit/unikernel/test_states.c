/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interleaving of what can happen to one page, over the real page_move() and the real states:
 * two programs on processors with a TLB each, a prefetcher whose reads complete wherever somebody
 * polls, a reclaimer, an unmapper (DONTNEED), the device and the completion of writes, with two
 * frames. In searches of their own, a resize takes a frame away and gives it back, and the device
 * fails reads and says once more that a request has completed. Each step is what the pager does
 * between two points at which another processor may see the difference. After each step nothing
 * may be wrong: a load gives what was stored last, a frame is free only when no TLB and no request
 * knows it, a far page has one request at a time and is read only if it was written.
 *
 * Depth first over a set of states seen, kept as 64-bit hashes (two of ten million are the same
 * with a probability of 3e-6); the same on every run. Errors planted in single steps must be found,
 * or the search proves nothing.
 */
#include "tests/tap.h"

#include <stdlib.h>

#include "computenode/unikernel/host/host.h"
#include "lib/base/check.h"
#include "tests/unit/unikernel/state_model.h"

static const enum feature feature_of[BUG_COUNT] = {
    [BUG_AHEAD_FAILED] = TROUBLE, [BUG_REPEAT_OLD] = TROUBLE, [BUG_REPEAT_FREED] = TROUBLE,
    [BUG_HOLD_TAKEN] = RESIZE,    [BUG_UNHOLD_ALL] = RESIZE,
};

/* ---- a program's access, and the fault ---- */

/* An access through the MMU; false: a page fault. */
static bool translate(struct world *w, uint32_t cpu, bool store)
{
    uint64_t entry = pte_load(&w->pte);
    if (w->tlb_frame[cpu] != NONE && (!store || w->tlb_dirty[cpu])) {
        return true;
    }
    if ((entry & PTE_P) == 0) {
        return false;
    }
    atomic_store(&w->pte, entry | PTE_A | (store ? PTE_D : 0));
    w->tlb_frame[cpu] = frame_in(entry);
    w->tlb_dirty[cpu] = store || (entry & PTE_D) != 0;
    return true;
}

static void step_user(const struct world *from, uint32_t cpu, bool store)
{
    struct world w = *from;
    if (w.unmapper.at != IDLES && w.unmapper.at != DONE) {
        return; /* a correct program does not use what it is giving up */
    }
    if (store && w.stores == STORES) {
        return;
    }
    if (!translate(&w, cpu, store)) {
        struct actor *a = &w.program[cpu];
        a->entry = pte_load(&w.pte);
        enum page_state state = pte_state(a->entry);
        a->at = state == PAGE_REMOTE ? FOUND : state == PAGE_EMPTY ? EMPTY : USER;
        push(&w);
        return;
    }
    uint8_t f = w.tlb_frame[cpu];
    if (store) {
        w.value = ++w.stores;
        w.contents[f] = w.value;
    } else if (w.contents[f] != w.value) {
        fail("a load gives what was not stored last");
    }
    push(&w);
}

/* The bytes are there, or are not: the page is published, or given back. */
static void end_read(struct world *w, uint32_t i)
{
    struct actor *a = &w->program[i];
    bool ahead = i == PROGRAMS;
    uint64_t entry = pte_load(&w->pte);
    bool failed = a->failed && !(ahead && x.bug == BUG_AHEAD_FAILED);
    a->failed = 0;
    if (pte_state(entry) != PAGE_FETCHING || frame_in(entry) != a->frame) {
        fail("a page that is fetched has changed");
        return;
    }
    uint64_t next = RIGHTS | PTE_TAG_REMOTE;
    if (!failed) {
        next = pte_present(0x10000, RIGHTS | FRAME_PA(a->frame) | PTE_FAR | (ahead ? 0 : PTE_A));
    }
    if (!page_move(&w->pte, &entry, next)) {
        fail("a page that is fetched has changed");
    }
    if (failed) {
        make_free(w, a->frame);
    }
    a->at = failed ? USER : MAPPED;
}

static bool fault_step(struct world *w, uint32_t i)
{
    struct actor *a = &w->program[i];
    bool ahead = i == PROGRAMS;
    uint64_t entry;
    switch (a->at) {
    case FOUND:
        a->frame = take_frame(w);
        a->at = a->frame == NONE ? USER : TAKEN;
        return true;
    case TAKEN:
        if (!page_move(&w->pte, &a->entry, RIGHTS | PTE_TAG_FETCHING | FRAME_PA(a->frame))) {
            make_free(w, a->frame);
            a->at = USER;
            return true;
        }
        a->at = FETCHES;
        return true;
    case FETCHES:
        submit(w, READ, a->frame, (uint8_t)i);
        a->at = WAITS;
        return true;
    case WAITS:
        if (w->request != READ || w->request_of != i || !w->done) {
            return false;
        }
        w->request = IDLE;
        a->failed = w->failed;
        a->at = READ_IN;
        if (ahead && x.bug == BUG_AHEAD_RECLAIMED) {
            w->frame[a->frame] = ACTIVE;
        }
        return true;
    case READ_IN:
        end_read(w, i);
        return true;
    case MAPPED:
    case FILLED:
        if (w->frame[a->frame] != BUSY) {
            fail("a frame was taken from who has it");
        }
        w->frame[a->frame] = ACTIVE;
        w->locked = a->at == FILLED ? 0 : w->locked;
        a->at = USER;
        return true;
    case EMPTY:
        if (w->locked) {
            return false;
        }
        a->frame = pte_load(&w->pte) == 0 ? take_frame(w) : NONE;
        a->at = a->frame == NONE ? USER : FILLS;
        w->locked = a->frame != NONE;
        return true;
    default: /* FILLS */
        w->contents[a->frame] = 0;
        entry = 0;
        if (!page_move(&w->pte, &entry,
                       pte_present(0x10000, RIGHTS | FRAME_PA(a->frame) | PTE_A))) {
            fail("an empty page was filled without the lock");
        }
        a->at = FILLED;
        return true;
    }
}

static void steps_program(const struct world *w, uint32_t i)
{
    struct world next = *w;
    if (w->program[i].at != USER) {
        if (fault_step(&next, i)) {
            next.program[i].entry = next.program[i].at == TAKEN ? next.program[i].entry : 0;
            push(&next);
        }
        return;
    }
    if (i < PROGRAMS) {
        step_user(w, i, false);
        step_user(w, i, true);
        return;
    }
    uint64_t entry = pte_load(&next.pte);
    if (pte_state(entry) == PAGE_REMOTE) {
        next.program[i].entry = entry;
        next.program[i].at = FOUND;
        push(&next);
    }
}

/* ---- reclaim ---- */

static void reclaim_look(const struct world *w)
{
    for (uint8_t f = 0; f < FRAMES; f++) {
        if (w->frame[f] == ACTIVE) {
            struct world next = *w;
            next.frame[f] = CLAIMED;
            next.reclaimer = (struct actor){.at = HOLDS, .frame = f};
            push(&next);
        }
    }
    if (may_flush(w)) {
        struct world next = *w;
        flush(&next);
        push(&next);
    }
}

/* The frame is claimed: one look at the entry, then one change of it, which may come too late. */
static void reclaim_decide(struct world *w)
{
    struct actor *r = &w->reclaimer;
    uint8_t f = r->frame;
    uint64_t entry = r->entry;
    bool flushed = !w->unflushed[f];
    r->at = GIVES_BACK;
    if ((entry & PTE_A) != 0) {
        atomic_fetch_and(&w->pte, ~PTE_A);
        w->unflushed[f] = 1;
    } else if (pte_state(entry) == PAGE_CLEAN && (flushed || x.bug == BUG_EVICT_UNFLUSHED)) {
        uint64_t next = (entry & PTE_FAR) != 0 ? RIGHTS | PTE_TAG_REMOTE : 0;
        if (page_move(&w->pte, &entry, next)) {
            make_free(w, f);
            r->at = LOOKS;
        }
    } else if (pte_state(entry) == PAGE_DIRTY && (flushed || x.bug == BUG_WRITE_UNFLUSHED) &&
               (!w->discarding || x.bug == BUG_NO_DISCARD_LOOK)) {
        if (page_move(&w->pte, &entry, (entry & ~PTE_D) | PTE_WRITING)) {
            w->frame[f] = WRITING;
            r->at = SENDS;
        }
    }
}

static void steps_reclaimer(const struct world *w)
{
    struct world next = *w;
    struct actor *r = &next.reclaimer;
    switch (r->at) {
    case LOOKS:
        reclaim_look(w);
        return;
    case HOLDS:
        if (r->entry == 0) {
            r->entry = pte_load(&next.pte);
            if (!pte_is_local(r->entry) || frame_in(r->entry) != r->frame) {
                fail("a claimed frame has lost its page");
                return;
            }
        } else {
            reclaim_decide(&next);
            r->entry = 0;
        }
        break;
    case SENDS:
        submit(&next, WRITE, r->frame, NONE);
        r->at = LOOKS;
        break;
    default:
        next.frame[r->frame] = ACTIVE;
        r->at = LOOKS;
        break;
    }
    r->frame = r->at == LOOKS ? 0 : r->frame;
    push(&next);
}

static void steps_completion(const struct world *w)
{
    struct world next = *w;
    uint8_t f = w->request_frame;
    uint64_t entry;
    switch (w->settling) {
    case ENDED:
        if (w->frame[f] != WRITING) {
            return;
        }
        next.frame[f] = CLAIMED;
        next.settling = SETTLES;
        break;
    case SETTLES:
        entry = pte_load(&next.pte);
        if (pte_state(entry) != PAGE_WRITING) {
            fail("a page that is written has changed");
            return;
        }
        next.request = IDLE;
        (void)!page_move(&next.pte, &entry,
                         (entry & ~PTE_WRITING) | PTE_FAR | (w->settled_ok ? 0 : PTE_D));
        next.settling = SETTLED;
        break;
    case SETTLED:
        next.frame[f] = ACTIVE;
        next.settling = NOTHING;
        break;
    default:
        return;
    }
    push(&next);
}

/* ---- the device: moves the bytes at any time, then completes; a write may fail, or half so ----
 */

static void device_complete(const struct world *w, bool ok)
{
    struct world next = *w;
    next.done = 1;
    next.token = (x.features & TROUBLE) != 0 && w->token != REPEATED ? OF_THIS : w->token;
    if (w->request == READ) {
        next.failed = !ok;
    } else if (w->request == WRITE) {
        next.settling = ENDED;
        next.settled_ok = ok;
    } else if (w->request == DISCARD) {
        next.request = IDLE;
        next.discarding = 0;
    }
    push(&next);
}

/*
 * A completion comes once more. It is found by place and generation of its request, and has no
 * effect if that was given back or completed, or another has its place.
 */
static void steps_repeat(const struct world *w)
{
    struct world next = *w;
    if (w->token != OF_THIS && w->token != OF_FORMER) {
        return;
    }
    next.token = REPEATED;
    if (w->token == OF_FORMER && x.bug == BUG_REPEAT_OLD && w->request != IDLE && !w->done) {
        next.done = 1;
        if (w->request == WRITE) {
            next.settling = ENDED;
            next.settled_ok = 1;
        }
    }
    if (x.bug == BUG_REPEAT_FREED && w->settled_ok && w->settling == NOTHING) {
        next.settling = ENDED; /* of a write, whatever its frame is used for now */
    }
    push(&next);
}

static void steps_device(const struct world *w)
{
    steps_repeat(w);
    if (w->request == IDLE || w->done) {
        return;
    }
    if (w->request == WRITE || (w->request == READ && (x.features & TROUBLE) != 0)) {
        device_complete(w, false);
    }
    if (w->moved) {
        device_complete(w, true);
        return;
    }
    struct world next = *w;
    next.moved = 1;
    if (w->request == READ) {
        next.contents[w->request_frame] = w->far;
    } else {
        next.far = w->request == WRITE ? w->contents[w->request_frame] : NONE;
    }
    push(&next);
}

/* ---- giving the page up ---- */

static void unmap_look(struct world *w)
{
    struct actor *u = &w->unmapper;
    uint64_t entry = pte_load(&w->pte);
    enum page_state state = pte_state(entry);
    if (state == PAGE_EMPTY) {
        u->at = ENDS;
    } else if (state == PAGE_REMOTE) {
        if (page_move(&w->pte, &entry, 0)) {
            u->at = DISCARDS;
        }
    } else if (state == PAGE_FETCHING && x.bug == BUG_UNMAP_FETCHING) {
        atomic_store(&w->pte, 0); /* page_move() would not let it */
        u->at = DISCARDS;
    } else if (state != PAGE_FETCHING && (state != PAGE_WRITING || x.bug == BUG_NO_SETTLE)) {
        uint8_t f = frame_in(entry);
        if (w->frame[f] == ACTIVE || x.bug == BUG_NO_CLAIM ||
            (x.bug == BUG_NO_SETTLE && w->frame[f] == WRITING)) {
            w->frame[f] = CLAIMED;
            u->frame = f;
            u->at = HAS_FRAME;
        }
    }
}

static void unmap_move(struct world *w)
{
    struct actor *u = &w->unmapper;
    uint64_t entry = pte_load(&w->pte);
    if (pte_state(entry) == PAGE_WRITING && x.bug != BUG_NO_SETTLE) {
        w->frame[u->frame] = WRITING;
        u->at = LOCKED;
        return;
    }
    if (x.bug == BUG_NO_SETTLE) {
        atomic_store(&w->pte, 0); /* page_move() would not let it */
    } else if (!pte_is_local(entry) || !page_move(&w->pte, &entry, 0)) {
        fail("a claimed page is gone");
    }
    u->entry = entry;
    bool cached = (entry & PTE_A) != 0 || w->unflushed[u->frame];
    u->at = cached && x.bug != BUG_FREE_EARLY ? IS_EMPTY : FLUSHED;
}

static void steps_unmapper(const struct world *w)
{
    struct world next = *w;
    struct actor *u = &next.unmapper;
    switch (u->at) {
    case IDLES:
        if (w->locked) {
            return;
        }
        next.locked = 1;
        u->at = LOCKED;
        break;
    case LOCKED:
        unmap_look(&next);
        break;
    case HAS_FRAME:
        unmap_move(&next);
        break;
    case IS_EMPTY:
        if (!may_flush(w)) {
            return;
        }
        flush(&next);
        u->at = FLUSHED;
        break;
    case FLUSHED:
        make_free(&next, u->frame);
        u->at = (u->entry & PTE_FAR) != 0 ? DISCARDS : ENDS;
        break;
    case DISCARDS:
        next.discarding = 1;
        submit(&next, DISCARD, 0, NONE);
        u->at = ENDS;
        break;
    case ENDS:
        next.value = 0;
        next.locked = 0;
        next.unmapper = (struct actor){.at = DONE};
        break;
    default:
        return;
    }
    push(&next);
}

/* ---- resize: one frame fewer, then as before ---- */

static bool may_hold(const struct world *w, uint8_t f)
{
    return w->frame[f] == FREE || (x.bug == BUG_HOLD_TAKEN && w->frame[f] == BUSY);
}

static void steps_resize(const struct world *w)
{
    struct world next = *w;
    uint32_t held_count = 0;
    if ((x.features & RESIZE) == 0) {
        return;
    }
    for (uint8_t f = 0; f < FRAMES; f++) {
        held_count += w->frame[f] == HELD;
    }
    for (uint8_t f = 0; f < FRAMES && held_count < w->target; f++) {
        if (may_hold(w, f)) {
            next = *w;
            next.frame[f] = HELD;
            push(&next);
        }
    }
    if (w->locked || w->resizes == 2) {
        return;
    }
    next = *w;
    next.resizes++;
    next.target = next.resizes == 1;
    for (uint8_t f = 0; f < FRAMES && next.target == 0; f++) {
        bool in_use = next.frame[f] == BUSY || next.frame[f] == CLAIMED;
        if (next.frame[f] == HELD) {
            next.frame[f] = FREE;
        } else if (in_use && x.bug == BUG_UNHOLD_ALL) {
            make_free(&next, f);
        }
    }
    push(&next);
}

/* ---- the search ---- */

/* Returns what is wrong, or NULL. */
static const char *explore(enum bug bug, enum feature features, uint32_t *ret_count)
{
    start(bug, features);
    while (x.depth > 0 && x.wrong == NULL) {
        struct world w = x.stack[--x.depth];
        for (uint32_t i = 0; i <= PROGRAMS; i++) {
            steps_program(&w, i);
        }
        steps_reclaimer(&w);
        steps_completion(&w);
        steps_device(&w);
        steps_unmapper(&w);
        steps_resize(&w);
    }
    finish();
    *ret_count = x.seen_count;
    return x.wrong;
}

static void test_no_interleaving_is_wrong(void)
{
    static const enum feature searches[] = {0, RESIZE, TROUBLE};
    for (uint32_t i = 0; i < ARRAY_LEN(searches); i++) {
        uint32_t count = 0;
        const char *wrong = explore(BUG_NONE, searches[i], &count);
        printf("# search %u: %s, %u states\n", i, wrong != NULL ? wrong : "nothing wrong", count);
        EXPECT(wrong == NULL);
        EXPECT(count > 100000);
    }
}

static void test_planted_bugs_are_found(void)
{
    for (enum bug bug = BUG_NONE + 1; bug < BUG_COUNT; bug++) {
        uint32_t count = 0;
        const char *wrong = explore(bug, feature_of[bug], &count);
        printf("# bug %d: %s, after %u states\n", (int)bug, wrong == NULL ? "-" : wrong, count);
        EXPECT(wrong != NULL);
    }
}

int main(void)
{
    static const struct host_config config = {.seed = 1, .frame_count = 64};
    host_start(&config); /* page_move() counts */
    TAP_RUN(test_no_interleaving_is_wrong);
    TAP_RUN(test_planted_bugs_are_found);
    host_stop();
    return tap_done();
}
