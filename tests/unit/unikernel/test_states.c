/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every interleaving of what can happen to one page, over the real page_move() and the real states:
 * two programs on processors with a TLB each, a prefetcher, a reclaimer, an unmapper (DONTNEED),
 * the device and the completion of writes, with two frames. Each step is what the pager does
 * between two points at which another processor may see the difference. After each step nothing
 * may be wrong: a load gives what was stored last, a frame is free only when no TLB and no request
 * knows it, a far page has one request at a time and is read only if it was written.
 *
 * Depth first over a set of states seen; the same on every run. Errors planted in single steps must
 * be found, or the search proves nothing.
 */
#include "tests/tap.h"

#include <stdlib.h>

#include "computenode/unikernel/far/page.h"
#include "computenode/unikernel/host/host.h"
#include "lib/base/check.h"

#define PROGRAMS    2
#define FRAMES      2
#define STORES      2
#define RIGHTS      (PTE_W | PTE_U | PTE_NX)
#define NONE        0xffu
#define GARBAGE     0xeeu
#define SEEN_BITS   21
#define SEEN_MAX    (1u << SEEN_BITS)
#define STACK_MAX   (1u << 20)
#define FRAME_PA(f) (((uint64_t)(f) + 1) << PAGE_SHIFT)

enum frame { FREE, BUSY, ACTIVE, CLAIMED, WRITING };
enum request { IDLE, READ, WRITE, DISCARD };

/* Where an actor stands. Programs and the prefetcher: */
enum {
    USER,    /* not in the kernel */
    FOUND,   /* has found the page remote; `entry` is what it saw */
    TAKEN,   /* has a frame */
    FETCHES, /* has claimed the entry */
    WAITS,   /* has submitted the read */
    MAPPED,  /* has published, the frame is not ACTIVE yet */
    EMPTY,   /* has found the page empty, waits for the kernel lock */
    FILLS,   /* has the lock and a frame of zeros */
    FILLED,  /* has published it */
};
/* The reclaimer: */
enum { LOOKS, HOLDS, SENDS, GIVES_BACK };
/* The unmapper: */
enum { IDLES, LOCKED, HAS_FRAME, IS_EMPTY, FLUSHED, DISCARDS, ENDS, DONE };
/* The completion of a write: */
enum { NOTHING, ENDED, SETTLES, SETTLED };

struct actor {
    uint8_t at;
    uint8_t frame;
    uint8_t unused[6];
    uint64_t entry;
};

struct world {
    pte_t pte;
    struct actor program[PROGRAMS + 1]; /* the last one is the prefetcher: no TLB, no access */
    struct actor reclaimer;
    struct actor unmapper;
    uint8_t frame[FRAMES];
    uint8_t contents[FRAMES];
    uint8_t unflushed[FRAMES];
    uint8_t tlb_frame[PROGRAMS]; /* NONE: nothing cached */
    uint8_t tlb_dirty[PROGRAMS];
    uint8_t request, request_frame, request_of, moved, done;
    uint8_t settling, settled_ok;
    uint8_t discarding;
    uint8_t far;   /* contents of the far page; NONE: nothing */
    uint8_t value; /* what the page must hold */
    uint8_t stores;
    uint8_t locked;
    uint8_t pad;
};

enum bug {
    BUG_NONE,
    BUG_EVICT_UNFLUSHED, /* a page is evicted though it may be cached */
    BUG_WRITE_UNFLUSHED, /* D is cleared though a store may not set it again */
    BUG_FREE_EARLY,      /* an unmapped frame is free before the flush */
    BUG_NO_SETTLE,       /* unmapping does not wait for a write */
    BUG_NO_DISCARD_LOOK, /* a page is written while its discard is in flight */
    BUG_NO_CLAIM,        /* the unmapper takes the frame whoever has it */
    BUG_COUNT,
};

static struct {
    enum bug bug;
    const char *wrong;
    struct world *stack;
    struct world *seen; /* open addressing; frame[0] == NONE: a free place */
    uint32_t depth;
    uint32_t seen_count;
} x;

static void fail(const char *what)
{
    x.wrong = x.wrong == NULL ? what : x.wrong;
}

static uint64_t hash(const struct world *w)
{
    uint64_t h = 0x9e3779b97f4a7c15ull;
    const uint8_t *bytes = (const uint8_t *)w;
    for (size_t i = 0; i < sizeof(*w); i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        h = (h ^ word) * 0xbf58476d1ce4e5b9ull;
        h ^= h >> 29;
    }
    return h;
}

_Static_assert(sizeof(struct world) % 8 == 0, "hashed by words");

/* To be explored, if it is new. */
static void push(const struct world *w)
{
    uint64_t at = hash(w) & (SEEN_MAX - 1);
    while (x.seen[at].frame[0] != NONE) {
        if (memcmp(&x.seen[at], w, sizeof(*w)) == 0) {
            return;
        }
        at = (at + 1) & (SEEN_MAX - 1);
    }
    CHECK(++x.seen_count < SEEN_MAX / 4 * 3);
    CHECK(x.depth < STACK_MAX);
    memcpy(&x.seen[at], w, sizeof(*w));
    memcpy(&x.stack[x.depth++], w, sizeof(*w));
}

static uint8_t frame_in(uint64_t entry)
{
    return (uint8_t)(((entry & PTE_ADDRESS) >> PAGE_SHIFT) - 1);
}

/* Kernel code answers flushes only where it waits. */
static bool may_flush(const struct world *w)
{
    for (uint32_t i = 0; i <= PROGRAMS; i++) {
        uint8_t at = w->program[i].at;
        if (at != USER && at != WAITS && at != EMPTY) {
            return false;
        }
    }
    return true;
}

static void flush(struct world *w)
{
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        w->tlb_frame[i] = NONE;
        w->tlb_dirty[i] = 0;
    }
    w->unflushed[0] = w->unflushed[1] = 0;
}

static void make_free(struct world *w, uint8_t f)
{
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        if (w->tlb_frame[i] == f) {
            fail("a frame is free that is cached");
        }
    }
    if (w->request != IDLE && w->request != DISCARD && w->request_frame == f) {
        fail("a frame is free that the device uses");
    }
    w->frame[f] = FREE;
    w->contents[f] = GARBAGE;
    w->unflushed[f] = 0;
}

static uint8_t take_frame(struct world *w)
{
    for (uint8_t f = 0; f < FRAMES; f++) {
        if (w->frame[f] == FREE) {
            w->frame[f] = BUSY;
            return f;
        }
    }
    return NONE;
}

static void submit(struct world *w, enum request kind, uint8_t frame, uint8_t of)
{
    if (w->request != IDLE) {
        fail("two requests for a far page");
    }
    if (kind == READ && w->far == NONE) {
        fail("a far page is read that was not written");
    }
    if (kind == WRITE && w->discarding) {
        fail("a page is written while it is discarded");
    }
    w->request = (uint8_t)kind;
    w->request_frame = frame;
    w->request_of = of;
    w->moved = 0;
    w->done = 0;
    if (kind == READ) {
        w->contents[frame] = GARBAGE;
    }
}

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
        entry = pte_load(&w->pte);
        if (!page_move(&w->pte, &entry,
                       pte_present(0x10000,
                                   RIGHTS | FRAME_PA(a->frame) | PTE_FAR | (ahead ? 0 : PTE_A)))) {
            fail("a page that is fetched has changed");
        }
        a->at = MAPPED;
        return true;
    case MAPPED:
    case FILLED:
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
    if (w->request == WRITE) {
        next.settling = ENDED;
        next.settled_ok = ok;
    } else if (w->request == DISCARD) {
        next.request = IDLE;
        next.discarding = 0;
    }
    push(&next);
}

static void steps_device(const struct world *w)
{
    if (w->request == IDLE || w->done) {
        return;
    }
    if (w->request == WRITE) {
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

/* ---- the search ---- */

static void start(void)
{
    struct world w;
    memset(&w, 0, sizeof(w));
    w.far = NONE;
    w.contents[0] = w.contents[1] = GARBAGE;
    w.tlb_frame[0] = w.tlb_frame[1] = NONE;
    x.stack = malloc(STACK_MAX * sizeof(*x.stack));
    x.seen = malloc(SEEN_MAX * sizeof(*x.seen));
    CHECK(x.stack != NULL);
    CHECK(x.seen != NULL);
    for (uint32_t i = 0; i < SEEN_MAX; i++) {
        x.seen[i].frame[0] = NONE;
    }
    push(&w);
}

/* Returns what is wrong, or NULL. */
static const char *explore(enum bug bug, uint32_t *ret_count)
{
    memset(&x, 0, sizeof(x));
    x.bug = bug;
    start();
    while (x.depth > 0 && x.wrong == NULL) {
        struct world w = x.stack[--x.depth];
        for (uint32_t i = 0; i <= PROGRAMS; i++) {
            steps_program(&w, i);
        }
        steps_reclaimer(&w);
        steps_completion(&w);
        steps_device(&w);
        steps_unmapper(&w);
    }
    free(x.stack);
    free(x.seen);
    *ret_count = x.seen_count;
    return x.wrong;
}

static void test_no_interleaving_is_wrong(void)
{
    uint32_t count = 0;
    const char *wrong = explore(BUG_NONE, &count);
    if (wrong != NULL) {
        printf("# %s\n", wrong);
    }
    EXPECT(wrong == NULL);
    printf("# %u states\n", count);
    EXPECT(count > 100000);
}

static void test_planted_bugs_are_found(void)
{
    for (enum bug bug = BUG_NONE + 1; bug < BUG_COUNT; bug++) {
        uint32_t count = 0;
        const char *wrong = explore(bug, &count);
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
