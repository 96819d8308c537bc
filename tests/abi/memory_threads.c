/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that each own a piece of memory and know what every page of it must hold, while they map,
 * unmap, protect, move and discard all the time, so that others' faults meet changes of the map.
 * All together is more than is local.
 *
 * usage: memory-threads THREADS PAGES ROUNDS   (pages for each thread)
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS_MAX 16
#define PAGE        4096u
#define WORDS       (PAGE / 8)

static uint32_t page_count, round_count;
static atomic_int failures;
/* While a piece has a hole, nobody else may map anything: it could come to lie there. */
static pthread_mutex_t holes = PTHREAD_MUTEX_INITIALIZER;
static uint64_t *read_by_all; /* written once, then only read, by all threads */

struct piece {
    uint64_t *memory;
    uint32_t *version; /* 0: zeros */
    uint32_t number;
    uint32_t seed;
};

static uint32_t next_random(struct piece *p)
{
    p->seed = p->seed * 1664525u + 1013904223u;
    return p->seed >> 8;
}

static uint64_t value_of(const struct piece *p, uint32_t page, uint32_t word)
{
    uint64_t v = p->version[page];
    return v == 0 ? 0 : (v << 32 | (uint64_t)page << 8 | p->number) * 0x9e3779b97f4a7c15u + word;
}

static void complain(const struct piece *p, uint32_t page, const char *what)
{
    if (atomic_fetch_add(&failures, 1) < 5) {
        printf("thread %u page %u: %s\n", p->number, page, what);
    }
}

static void check_page(const struct piece *p, uint32_t page)
{
    const uint64_t *at = p->memory + (size_t)page * WORDS;
    for (uint32_t i = 0; i < WORDS; i += 37) {
        if (at[i] != value_of(p, page, i)) {
            complain(p, page, "wrong contents");
            return;
        }
    }
}

static void write_page(struct piece *p, uint32_t page)
{
    uint64_t *at = p->memory + (size_t)page * WORDS;
    p->version[page]++;
    for (uint32_t i = 0; i < WORDS; i++) {
        at[i] = value_of(p, page, i);
    }
}

static void forget(struct piece *p, uint32_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        p->version[page + i] = 0;
    }
}

/* Reads what all share: nobody changes it. */
static void check_shared(struct piece *p)
{
    uint32_t page = next_random(p) % page_count;
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t word = next_random(p) % WORDS;
        if (read_by_all[(size_t)page * WORDS + word] != ((uint64_t)page << 32 | word)) {
            complain(p, page, "wrong shared contents");
        }
    }
}

/* Moves some pages elsewhere and back. */
static void move_pages(struct piece *p, uint32_t page, uint32_t count)
{
    char *at = (char *)(p->memory + (size_t)page * WORDS);
    char *away = mmap(NULL, count * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (away == MAP_FAILED ||
        mremap(at, count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, away) != away ||
        mremap(away, count * PAGE, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at) {
        complain(p, page, "mremap");
    }
}

static void change(struct piece *p, uint32_t page, uint32_t count)
{
    char *at = (char *)(p->memory + (size_t)page * WORDS);
    size_t bytes = (size_t)count * PAGE;
    int rc = 0;
    switch (next_random(p) % 6) {
    case 0:
        pthread_mutex_lock(&holes);
        rc = munmap(at, bytes);
        if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) != at) {
            rc = -1;
        }
        pthread_mutex_unlock(&holes);
        forget(p, page, count);
        break;
    case 1:
        rc = madvise(at, bytes, MADV_DONTNEED);
        forget(p, page, count);
        break;
    case 2:
        rc = mprotect(at, bytes, PROT_READ);
        check_page(p, page);
        rc |= mprotect(at, bytes, PROT_READ | PROT_WRITE);
        break;
    case 3:
        rc = mprotect(at, bytes, PROT_NONE) | mprotect(at, bytes, PROT_READ | PROT_WRITE);
        break;
    case 4:
        rc = madvise(at, bytes, MADV_PAGEOUT);
        break;
    default:
        pthread_mutex_lock(&holes);
        move_pages(p, page, count);
        pthread_mutex_unlock(&holes);
        break;
    }
    if (rc != 0) {
        complain(p, page, "a call failed");
    }
}

static void *run(void *argument)
{
    struct piece *p = argument;
    for (uint32_t round = 0; round < round_count; round++) {
        uint32_t page = next_random(p) % page_count;
        check_page(p, page);
        write_page(p, page);
        check_shared(p);
        if (round % 8 == 0) {
            uint32_t count = 1 + next_random(p) % 8;
            change(p, next_random(p) % (page_count - 8), count);
        }
    }
    for (uint32_t page = 0; page < page_count; page++) {
        check_page(p, page);
    }
    return NULL;
}

static void *map(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        puts("no memory");
        exit(2);
    }
    return at;
}

int main(int argc, char **argv)
{
    static struct piece pieces[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    uint32_t count = argc == 4 ? (uint32_t)atoi(argv[1]) : 0;
    if (count == 0 || count > THREADS_MAX) {
        return 2;
    }
    page_count = (uint32_t)atoi(argv[2]);
    round_count = (uint32_t)atoi(argv[3]);
    read_by_all = map((size_t)page_count * PAGE);
    for (size_t i = 0; i < (size_t)page_count * WORDS; i++) {
        read_by_all[i] = (uint64_t)(i / WORDS) << 32 | i % WORDS;
    }
    for (uint32_t i = 0; i < count; i++) {
        pieces[i] = (struct piece){.memory = map((size_t)page_count * PAGE),
                                   .version = calloc(page_count, sizeof(uint32_t)),
                                   .number = i + 1,
                                   .seed = i * 7919 + 1};
        if (pthread_create(&threads[i], NULL, run, &pieces[i]) != 0) {
            puts("no thread");
            return 2;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("threads=%u failures=%d\n", count, atomic_load(&failures));
    return atomic_load(&failures) != 0;
}
