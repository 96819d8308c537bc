/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims of `pager`: what touching a page costs a program whose memory does not fit.
 *
 * Fills PAGES pages, each word a function of its address, then works over them and checks all that
 * it reads. Arguments: MODE PAGES COUNT SEED.
 *   random      COUNT reads of random pages
 *   sequential  COUNT sweeps that read a word of each page
 *   write       COUNT sweeps that write a word of each page; then all pages are checked
 *   latency     COUNT reads and writes of random pages by turns, each timed; reported are those
 *               that were major faults
 *   threads:T   COUNT reads of random pages by T threads together, each in its own part
 */
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "bench/guest/bench.h"

#define PAGE_WORDS  512u
#define THREADS_MAX 64u

struct work {
    uint64_t *memory;
    uint64_t pages;
    uint64_t count;
    uint64_t seed;
    uint32_t threads;
};

static uint64_t expected(uint64_t page, uint64_t word)
{
    return (page * PAGE_WORDS + word) * UINT64_C(0x9e3779b97f4a7c15) ^ page;
}

static void check(uint64_t wrong)
{
    if (wrong != 0) {
        bench_die(BENCH_WRONG, "a page held wrong data");
    }
}

static void fill(const struct work *w)
{
    for (uint64_t page = 0; page < w->pages; page++) {
        for (uint64_t word = 0; word < PAGE_WORDS; word++) {
            w->memory[page * PAGE_WORDS + word] = expected(page, word);
        }
    }
}

/*
 * Filling leaves pages that were never in far memory. Once around by reading, and each was: what a
 * page needs there is granted at its first way out, by other processes, which is not what a later
 * read of it costs.
 */
static void settle(const struct work *w)
{
    uint64_t wrong = 0;
    for (uint64_t page = 0; page < w->pages; page++) {
        wrong |= w->memory[page * PAGE_WORDS] ^ expected(page, 0);
    }
    check(wrong);
}

/* Reads `count` random pages of [first, first + pages). Returns what differed. */
static uint64_t read_random(const struct work *w, uint64_t first, uint64_t pages, uint64_t count,
                            uint64_t *state, uint64_t *sum)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t random = bench_random(state);
        uint64_t page = first + random % pages;
        uint64_t word = (random >> 40) % PAGE_WORDS;
        uint64_t value = w->memory[page * PAGE_WORDS + word];
        wrong |= value ^ expected(page, word);
        *sum = bench_mix(*sum, value);
    }
    return wrong;
}

static void run_random(const struct work *w)
{
    uint64_t state = w->seed;
    uint64_t sum = 0;
    settle(w);
    uint64_t start_ns = bench_now_ns();
    uint64_t wrong = read_random(w, 0, w->pages, w->count, &state, &sum);
    uint64_t ns = bench_now_ns() - start_ns;
    check(wrong);
    bench_result(w->count, ns, sum);
}

static void run_sequential(const struct work *w)
{
    uint64_t wrong = 0;
    uint64_t sum = 0;
    settle(w);
    uint64_t start_ns = bench_now_ns();
    for (uint64_t sweep = 0; sweep < w->count; sweep++) {
        for (uint64_t page = 0; page < w->pages; page++) {
            uint64_t word = (page + sweep) % PAGE_WORDS;
            uint64_t value = w->memory[page * PAGE_WORDS + word];
            wrong |= value ^ expected(page, word);
            sum = bench_mix(sum, value);
        }
    }
    uint64_t ns = bench_now_ns() - start_ns;
    check(wrong);
    bench_result(w->count * w->pages, ns, sum);
}

static void run_write(const struct work *w)
{
    uint64_t start_ns = bench_now_ns();
    for (uint64_t sweep = 0; sweep < w->count; sweep++) {
        for (uint64_t page = 0; page < w->pages; page++) {
            w->memory[page * PAGE_WORDS] = expected(page, sweep + 1);
        }
    }
    uint64_t ns = bench_now_ns() - start_ns;
    uint64_t wrong = 0;
    uint64_t sum = 0;
    for (uint64_t page = 0; page < w->pages; page++) {
        wrong |= w->memory[page * PAGE_WORDS] ^ expected(page, w->count);
        for (uint64_t word = 1; word < PAGE_WORDS; word++) {
            wrong |= w->memory[page * PAGE_WORDS + word] ^ expected(page, word);
        }
        sum = bench_mix(sum, w->memory[page * PAGE_WORDS]);
    }
    check(wrong);
    bench_result(w->count * w->pages, ns, sum);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t percentile(const uint64_t *sorted, uint64_t count, uint64_t per_10000)
{
    uint64_t index = (count * per_10000 + 9999) / 10000;
    return sorted[index == 0 ? 0 : index - 1];
}

/* An even word is written, and with what it held; odd words are read: the contents stay. */
static uint64_t touch(const struct work *w, uint64_t page, uint64_t word)
{
    volatile uint64_t *at = &w->memory[page * PAGE_WORDS + word];
    uint64_t value = *at;
    if (word % 2 == 0) {
        *at = value;
    }
    return value;
}

/* As settle(), but as many pages are dirty afterwards as are while this goes on. */
static void warm_up(const struct work *w)
{
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < 2 * w->pages; i++) {
        uint64_t page = i % w->pages;
        wrong |= touch(w, page, 0) ^ expected(page, 0);
    }
    check(wrong);
}

static void run_latency(const struct work *w)
{
    warm_up(w);
    uint64_t *ns = bench_memory(w->count * sizeof(*ns));
    uint64_t state = w->seed;
    uint64_t faults = 0;
    uint64_t total_ns = 0;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < w->count; i++) {
        uint64_t random = bench_random(&state);
        uint64_t page = random % w->pages;
        uint64_t word = (random >> 40) % PAGE_WORDS;
        uint64_t before = bench_major_faults();
        uint64_t start_ns = bench_now_ns();
        uint64_t value = touch(w, page, word);
        uint64_t one_ns = bench_now_ns() - start_ns;
        check(value ^ expected(page, word));
        sum = bench_mix(sum, value);
        total_ns += one_ns;
        if (bench_major_faults() != before) {
            ns[faults++] = one_ns;
        }
    }
    if (faults == 0) {
        printf("{\"units\": %llu, \"ns\": %llu, \"faults\": 0, \"checksum\": \"%016llx\"}\n",
               (unsigned long long)w->count, (unsigned long long)total_ns, (unsigned long long)sum);
        return;
    }
    qsort(ns, faults, sizeof(*ns), compare);
    printf("{\"units\": %llu, \"ns\": %llu, \"faults\": %llu, \"p50\": %llu, \"p99\": %llu, "
           "\"p999\": %llu, \"checksum\": \"%016llx\"}\n",
           (unsigned long long)w->count, (unsigned long long)total_ns, (unsigned long long)faults,
           (unsigned long long)percentile(ns, faults, 5000),
           (unsigned long long)percentile(ns, faults, 9900),
           (unsigned long long)percentile(ns, faults, 9990), (unsigned long long)sum);
}

struct reader {
    const struct work *work;
    pthread_barrier_t *barrier;
    uint32_t index;
    uint64_t wrong;
    uint64_t sum;
    uint64_t start_ns;
    uint64_t end_ns;
};

static void *reader_main(void *context)
{
    struct reader *r = context;
    const struct work *w = r->work;
    uint64_t pages = w->pages / w->threads;
    uint64_t state = w->seed + r->index * UINT64_C(0x9e3779b97f4a7c15);
    (void)pthread_barrier_wait(r->barrier);
    r->start_ns = bench_now_ns();
    uint64_t sum = 0;
    r->wrong = read_random(w, r->index * pages, pages, w->count / w->threads, &state, &sum);
    r->end_ns = bench_now_ns();
    r->sum = sum;
    return NULL;
}

/* The time from the first thread's start to the last one's end. */
static void run_threads(const struct work *w)
{
    pthread_t threads[THREADS_MAX];
    struct reader readers[THREADS_MAX];
    pthread_barrier_t barrier;
    (void)pthread_barrier_init(&barrier, NULL, w->threads);
    settle(w);
    for (uint32_t i = 0; i < w->threads; i++) {
        readers[i] = (struct reader){.work = w, .barrier = &barrier, .index = i};
        if (pthread_create(&threads[i], NULL, reader_main, &readers[i]) != 0) {
            bench_die(BENCH_MISSING, "no threads here");
        }
    }
    uint64_t first_ns = UINT64_MAX;
    uint64_t last_ns = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->threads; i++) {
        (void)pthread_join(threads[i], NULL);
        check(readers[i].wrong);
        sum = bench_mix(sum, readers[i].sum);
        first_ns = readers[i].start_ns < first_ns ? readers[i].start_ns : first_ns;
        last_ns = readers[i].end_ns > last_ns ? readers[i].end_ns : last_ns;
    }
    bench_result(w->count / w->threads * w->threads, last_ns - first_ns, sum);
}

static bool run(const char *mode, struct work *w)
{
    static const struct {
        const char *name;
        void (*run)(const struct work *w);
    } modes[] = {{"random", run_random},
                 {"sequential", run_sequential},
                 {"write", run_write},
                 {"latency", run_latency}};
    if (strncmp(mode, "threads:", 8) == 0) {
        w->threads = (uint32_t)strtoul(mode + 8, NULL, 10);
        if (w->threads == 0 || w->threads > THREADS_MAX) {
            return false;
        }
        fill(w);
        run_threads(w);
        return true;
    }
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(mode, modes[i].name) == 0) {
            fill(w);
            modes[i].run(w);
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv)
{
    struct work w = {.pages = argc > 2 ? strtoull(argv[2], NULL, 10) : 0,
                     .count = argc > 3 ? strtoull(argv[3], NULL, 10) : 0,
                     .seed = argc > 4 ? strtoull(argv[4], NULL, 10) * 2 + 1 : 1};
    if (argc < 4 || w.pages == 0 || w.count == 0) {
        bench_die(BENCH_USAGE, "usage: pages MODE PAGES COUNT [SEED]");
    }
    w.memory = bench_memory(w.pages * PAGE_WORDS * sizeof(uint64_t));
    if (!run(argv[1], &w)) {
        bench_die(BENCH_USAGE, "there is no such mode");
    }
    return 0;
}
