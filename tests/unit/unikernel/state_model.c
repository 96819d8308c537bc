/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unikernel/state_model.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

#define SEEN_BITS 24
#define SEEN_MAX  (1u << SEEN_BITS)
#define STACK_MAX (1u << 20)

struct search x;

void fail(const char *what)
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

void push(const struct world *w)
{
    const uint64_t h = hash(w) | 1;
    uint64_t at = h >> (64 - SEEN_BITS);
    while (x.seen[at] != 0) {
        if (x.seen[at] == h) {
            return;
        }
        at = (at + 1) & (SEEN_MAX - 1);
    }
    CHECK(++x.seen_count < SEEN_MAX / 4 * 3);
    CHECK(x.depth < STACK_MAX);
    x.seen[at] = h;
    memcpy(&x.stack[x.depth++], w, sizeof(*w));
}

uint8_t frame_in(uint64_t entry)
{
    return (uint8_t)(((entry & PTE_ADDRESS) >> PAGE_SHIFT) - 1);
}

bool may_flush(const struct world *w)
{
    for (uint32_t i = 0; i <= PROGRAMS; i++) {
        uint8_t at = w->program[i].at;
        if (at != USER && at != WAITS && at != EMPTY) {
            return false;
        }
    }
    return true;
}

void flush(struct world *w)
{
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        w->tlb_frame[i] = NONE;
        w->tlb_dirty[i] = 0;
    }
    w->unflushed[0] = w->unflushed[1] = 0;
}

void make_free(struct world *w, uint8_t f)
{
    if (w->frame[f] == FREE || w->frame[f] == HELD) {
        fail("a frame becomes free twice");
    }
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

uint8_t take_frame(struct world *w)
{
    for (uint8_t f = 0; f < FRAMES; f++) {
        if (w->frame[f] == FREE) {
            w->frame[f] = BUSY;
            return f;
        }
    }
    return NONE;
}

void submit(struct world *w, enum request kind, uint8_t frame, uint8_t of)
{
    if (w->request != IDLE) {
        fail("two requests for a far page");
    }
    for (uint32_t i = 0; i <= PROGRAMS; i++) {
        if (w->program[i].at == READ_IN) {
            fail("a request for a page that is being fetched");
        }
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
    w->failed = 0;
    w->token = w->token == OF_THIS ? OF_FORMER : w->token;
    if (kind == READ) {
        w->contents[frame] = GARBAGE;
    }
}

void start(enum bug bug, enum feature features)
{
    struct world w;
    memset(&x, 0, sizeof(x));
    x.bug = bug;
    x.features = features;
    memset(&w, 0, sizeof(w));
    w.far = NONE;
    w.contents[0] = w.contents[1] = GARBAGE;
    w.tlb_frame[0] = w.tlb_frame[1] = NONE;
    x.stack = malloc(STACK_MAX * sizeof(*x.stack));
    x.seen = calloc(SEEN_MAX, sizeof(*x.seen));
    CHECK(x.stack != NULL);
    CHECK(x.seen != NULL);
    push(&w);
}

void finish(void)
{
    free(x.stack);
    free(x.seen);
}
