/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/fetch.h"

#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/prefetch.h"
#include "computenode/unikernel/far/reclaim.h"
#include "lib/base/check.h"

/* The claim: one compare-and-swap. The rights stay in the entry. */
static bool claim(pte_t *pte, uint64_t *entry, const struct frame *frame)
{
    uint64_t next = (*entry & PTE_RIGHTS) | PTE_TAG_FETCHING | frame_address(frame).v;
    if (!page_move(pte, entry, next)) {
        return false;
    }
    *entry = next;
    return true;
}

/* Nobody but the one who claimed changes an entry that is being fetched (page.h, rule 1). */
COLD static void unclaim(pte_t *pte, struct frame *frame)
{
    uint64_t entry = pte_load(pte);
    CHECK(pte_state(entry) == PAGE_FETCHING);
    bool moved = page_move(pte, &entry, (entry & PTE_RIGHTS) | PTE_TAG_REMOTE);
    CHECK(moved);
    frame_free(frame);
}

/* `bits`: A, D, or the tag HELD instead of presence. */
HOT static void publish(pte_t *pte, uint64_t va, struct frame *frame, uint64_t bits)
{
    uint64_t entry = pte_load(pte);
    CHECK(pte_state(entry) == PAGE_FETCHING);
    frame_assign(frame, pte, va);
    uint64_t next = (entry & (PTE_RIGHTS | PTE_ADDRESS)) | PTE_FAR | bits;
    next = (bits & PTE_TAG) != 0 ? next : pte_present(va, next);
    bool moved = page_move(pte, &entry, next);
    CHECK(moved);
    frame_move(frame, FRAME_ACTIVE);
}

/* One in GUESTSTATS_SAMPLE far faults is timed, stage by stage; of others only `timed` is set. */
struct stages {
    bool timed;
    uint64_t entry_ns; /* of the trap; 0: there was none */
    uint64_t start_ns, claimed_ns, submitted_ns, collected_ns;
};

static void stage(const struct stages *s, uint64_t *at_ns)
{
    if (s->timed) {
        *at_ns = clock_ns();
    }
}

NOINLINE static void stages_count(const struct stages *s)
{
    struct gueststats *stats = stats_here();
    uint64_t end_ns = clock_ns();
    stat_time(stats->fault_remote_ns, end_ns - (s->entry_ns != 0 ? s->entry_ns : s->start_ns));
    if (s->entry_ns != 0) {
        stat_time(stats->stage_entry_ns, s->start_ns - s->entry_ns);
    }
    stat_time(stats->stage_claim_ns, s->claimed_ns - s->start_ns);
    stat_time(stats->stage_queue_ns, s->submitted_ns - s->claimed_ns);
    stat_time(stats->stage_device_ns, s->collected_ns - s->submitted_ns);
    stat_time(stats->stage_publish_ns, end_ns - s->collected_ns);
}

/* No frame in hand: the fault first makes room, and is then taken once more. */
NOINLINE static int make_room(void)
{
    struct frame *frame;
    int r = frame_take(&frame);
    if (r == 0) {
        frame_free(frame);
    }
    return r;
}

HOT FLATTEN int fetch_page(pte_t *pte, uint64_t va, bool for_write, uint64_t entry_ns)
{
    struct pager_cpu *cpu = this_cpu();
    struct stages s;
    s.timed = fetch_is_timed(cpu);
    s.entry_ns = entry_ns;
    cpu->fault_count++;
    stage(&s, &s.start_ns);
    struct frame *frame = frame_try_take_on(cpu);
    if (UNLIKELY(frame == NULL)) {
        return make_room();
    }
    uint64_t entry = pte_load(pte);
    if (UNLIKELY(pte_state(entry) != PAGE_REMOTE || !claim(pte, &entry, frame))) {
        frame_free(frame);
        return 0;
    }
    stage(&s, &s.claimed_ns);
    struct io_request *request;
    int r = io_read(cpu, frame, va, s.timed, &request);
    stage(&s, &s.submitted_ns);
    if (r == 0) {
        uint32_t ahead_count = prefetch_observe(va, false);
        reclaim_slice(ahead_count); /* hidden behind the read */
        r = io_collect(cpu, request);
    }
    stage(&s, &s.collected_ns);
    if (r < 0) {
        unclaim(pte, frame);
        return r;
    }
    publish(pte, va, frame, PTE_A | (for_write ? PTE_D : 0));
    stat_add(&cpu->stats->far_pages_read, 1);
    stat_add(&cpu->stats->faults_remote, 1);
    if (s.timed) {
        stages_count(&s);
    }
    return 0;
}

/* Neighbouring pages that one request will read. */
struct run {
    struct frame *frames[BLKQ_SEGMENTS_MAX];
    uint64_t va;
    uint32_t count;
};

static bool run_submit(struct run *run)
{
    uint32_t count = run->count;
    run->count = 0;
    if (count == 0) {
        return true;
    }
    if (io_read_ahead(run->frames, count, run->va) == 0) {
        stat_add(&stats_here()->prefetch_issued, count);
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        pte_t *pte = run->frames[i]->pte;
        run->frames[i]->pte = NULL;
        unclaim(pte, run->frames[i]);
    }
    return false;
}

/* More frames are free than faults may need. */
static bool has_frames(void)
{
    return frame_pool_count() > pager.reserve_low;
}

/* A frame for it; NULL also if it is not remote. */
static struct frame *claim_ahead(pte_t *pte, uint64_t va)
{
    uint64_t entry = pte_load(pte);
    if (pte_state(entry) != PAGE_REMOTE || !rights_accessible(va, entry)) {
        return NULL;
    }
    struct frame *frame = frame_try_take();
    if (frame != NULL && !claim(pte, &entry, frame)) {
        frame_free(frame);
        return NULL;
    }
    return frame;
}

static pte_t *entry_at(uint64_t va)
{
    return va_is_user(va) || va_is_window(va) ? pt_find(va) : NULL;
}

/*
 * The entry of the page at `va`, `stride` pages after that of `pte`: mostly of the same table.
 * Tables stay, as nothing has waited since `pte` was found (internal.h).
 */
static pte_t *entry_next(pte_t *pte, int64_t stride, uint64_t va)
{
    int64_t index = (int64_t)((uintptr_t)pte % PAGE_BYTES / sizeof(*pte)) + stride;
    bool same_table = pte != NULL && index >= 0 && index < (int64_t)(PAGE_BYTES / sizeof(*pte));
    return same_table ? pte + stride : entry_at(va);
}

HOT uint32_t fetch_ahead(uint64_t va, int64_t stride, uint32_t count, uint64_t marker_va,
                         uint32_t *ret_covered)
{
    struct run run = {.count = 0};
    uint32_t claimed_count = 0;
    uint32_t i = 0;
    bool room = true;
    pte_t *pte = NULL;
    for (; i < count && room && has_frames(); i++, va += (uint64_t)stride * PAGE_BYTES) {
        pte = entry_next(pte, stride, va);
        struct frame *frame = pte == NULL ? NULL : claim_ahead(pte, va);
        if (frame == NULL) {
            continue;
        }
        frame->pte = pte;
        frame->va = va;
        frame->flags = FRAME_PREFETCHED | (va == marker_va ? FRAME_MARKER : 0);
        if (run.count == BLKQ_SEGMENTS_MAX || run.va + run.count * PAGE_BYTES != va) {
            room = run_submit(&run);
        }
        if (run.count == 0) {
            run.va = va;
        }
        run.frames[run.count++] = frame;
        claimed_count++;
    }
    (void)run_submit(&run);
    io_kick();
    *ret_covered = i;
    return claimed_count;
}

/* Mapped with A = 0: a page that is never used goes first, and using it costs no fault. */
HOT void fetch_prefetched(const struct io_request *request)
{
    for (uint32_t i = 0; i < request->page_count; i++) {
        struct frame *frame = io_frame(request, i);
        pte_t *pte = frame->pte;
        if (request->status < 0) {
            frame->pte = NULL;
            unclaim(pte, frame);
            continue;
        }
        bool marker = (frame->flags & FRAME_MARKER) != 0;
        publish(pte, request->va + i * PAGE_BYTES, frame, marker ? PTE_TAG_HELD : 0);
    }
    if (request->status == 0) {
        stat_add(&stats_here()->far_pages_read, request->page_count);
    }
}

void fetch_settle(pte_t *pte)
{
    struct io_wait wait = {0};
    for (;;) {
        enum page_state state = pte_state(pte_load(pte));
        if (state != PAGE_FETCHING && state != PAGE_WRITING) {
            return;
        }
        io_wait_step(&wait);
    }
}

NOINLINE void fetch_settle_read(uint64_t va)
{
    struct io_wait wait = {0};
    for (;;) {
        pte_t *pte = pt_find(va);
        if (pte == NULL || pte_state(pte_load(pte)) != PAGE_FETCHING) {
            return;
        }
        io_wait_step(&wait);
    }
}
