/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/prefetch.h"

#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/internal.h"

static int64_t none_stride(const struct pager_thread *t)
{
    return 0;
}

const struct prefetcher prefetch_none = {"none", none_stride};

static const struct prefetcher *const prefetchers[] = {&prefetch_none, &prefetch_readahead,
                                                       &prefetch_trend};

const struct prefetcher *prefetch_find(const char *name, uint32_t length)
{
    for (uint32_t i = 0; i < ARRAY_LEN(prefetchers); i++) {
        const char *n = prefetchers[i]->name;
        uint32_t at = 0;
        while (at < length && n[at] != '\0' && n[at] == name[at]) {
            at++;
        }
        if (at == length && n[at] == '\0') {
            return prefetchers[i];
        }
    }
    return NULL;
}

static void history_add(struct pager_thread *t, uint64_t va)
{
    uint64_t last = t->fault_va[prefetch_place(t, 0)];
    t->fault_va[t->next] = va;
    t->delta[t->next] = (int64_t)(va - last) / (int64_t)PAGE_BYTES;
    t->next = (t->next + 1) % PAGER_HISTORY;
}

/* The stream whose reader has come to the window that was read last, or to its end. */
static struct pager_stream *stream_at(struct pager_thread *t, uint64_t va)
{
    for (uint32_t i = 0; i < PAGER_STREAMS; i++) {
        struct pager_stream *s = &t->streams[i];
        if (s->window != 0 && (s->marker_va == va || s->next_va == va)) {
            return s;
        }
    }
    return NULL;
}

/* NULL: streams were useless of late, this one is let pass. */
static struct pager_stream *stream_start(struct pager_thread *t, uint64_t va, int64_t stride)
{
    if (t->misses >= PREFETCH_MISSES_MAX && t->quiet > 0) {
        t->quiet--;
        return NULL;
    }
    struct pager_stream *s = &t->streams[t->next_stream];
    t->next_stream = (t->next_stream + 1) % PAGER_STREAMS;
    if (s->window != 0 && s->hit_count == 0) {
        t->misses++;
        t->quiet = PREFETCH_QUIET;
    }
    *s = (struct pager_stream){.next_va = va + (uint64_t)stride * PAGE_BYTES,
                               .stride = stride,
                               .window = PREFETCH_WINDOW_MIN};
    return s;
}

/* Reads the next window of a stream. */
static uint32_t stream_read(struct pager_stream *s)
{
    uint64_t first = s->next_va;
    uint32_t covered_count;
    uint32_t issued = fetch_ahead(first, s->stride, s->window, first, &covered_count);
    s->marker_va = first;
    s->next_va = first + (uint64_t)s->stride * covered_count * PAGE_BYTES;
    if (issued == 0) {
        s->window = 0; /* all local, or no frames: the next fault decides anew */
    }
    return issued;
}

NOINLINE HOT uint32_t prefetch_observe(uint64_t va, bool marker)
{
    const struct prefetcher *p = atomic_load_explicit(&pager.prefetcher, memory_order_relaxed);
    if (p == &prefetch_none) {
        return 0;
    }
    struct pager_thread *t = pager_thread();
    struct pager_stream *s = stream_at(t, va);
    if (s != NULL) {
        if (s->next_va == va) {
            s->next_va += (uint64_t)s->stride * PAGE_BYTES; /* that one is being read already */
        }
        s->hit_count++;
        t->misses = 0;
        s->window = MIN(2 * s->window, PREFETCH_WINDOW_MAX);
        return stream_read(s);
    }
    if (marker) {
        return 0; /* of a stream that was given up, or of another thread */
    }
    history_add(t, va);
    int64_t stride = p->stride(t);
    s = stride == 0 ? NULL : stream_start(t, va, stride);
    return s == NULL ? 0 : stream_read(s);
}
