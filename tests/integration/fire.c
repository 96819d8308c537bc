/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything at once: fire THREADS PAGES ROUNDS SEED.
 *
 * Each thread has a piece of PAGES pages that it alone uses, and changes all the time: unmaps and
 * maps, protects, moves, gives contents up, has pages evicted or read ahead. Beside them there is a
 * common region of which any thread takes a page under the page's lock, holds it to what the last
 * one wrote, writes it anew or gives its contents up: what one processor wrote is read on another.
 * Every word of a page is a function of place, version and word, and every one is compared.
 *
 * It tells how far it is ("round N of thread 0") and ends well at SIGTERM, or after ROUNDS of each
 * thread, with a look at every page.
 */
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define THREADS_MAX  16u
#define PAGE         4096u
#define WORDS        (PAGE / 8)
#define SPAN_MAX     16u
#define COMMON_PAGES 1024u
#define TELL_ROUNDS  250u

static atomic_uint wrong, changes;
static volatile sig_atomic_t over;
static uint64_t page_count, round_count;
/* While a piece has a hole, nobody else may map anything: it could come to lie there. */
static pthread_mutex_t holes = PTHREAD_MUTEX_INITIALIZER;

struct piece {
    uint64_t *memory;
    uint32_t *version; /* of each page; 0: zeros */
    uint64_t number, random, rounds;
};

static struct {
    uint64_t *memory;
    uint32_t version[COMMON_PAGES];
    pthread_mutex_t locks[COMMON_PAGES];
} common;

/* xorshift64* */
static uint32_t draw(struct piece *p, uint64_t below)
{
    p->random ^= p->random >> 12;
    p->random ^= p->random << 25;
    p->random ^= p->random >> 27;
    return (uint32_t)((p->random * UINT64_C(0x2545f4914f6cdd1d) >> 32) % below);
}

static uint64_t word_of(uint64_t place, uint64_t version, uint64_t word)
{
    uint64_t x = (place << 32 ^ version) * UINT64_C(0x9e3779b97f4a7c15);
    return version == 0 ? 0 : (x ^ x >> 29) + word * UINT64_C(0xbf58476d1ce4e5b9);
}

static void complain(uint64_t place, const char *what)
{
    if (atomic_fetch_add(&wrong, 1) < 5) {
        printf("place %" PRIx64 ": %s\n", place, what);
    }
}

static void check_page(const uint64_t *at, uint64_t place, uint64_t version)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        if (at[i] != word_of(place, version, i)) {
            printf("version %" PRIu64 " word %" PRIu32 " is %016" PRIx64 ", must be %016" PRIx64
                   "\n",
                   version, i, at[i], word_of(place, version, i));
            complain(place, "wrong contents");
            return;
        }
    }
}

static void write_page(uint64_t *at, uint64_t place, uint64_t version)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        at[i] = word_of(place, version, i);
    }
}

static uint64_t *page_of(const struct piece *p, uint64_t page)
{
    return p->memory + page * WORDS;
}

static uint64_t place_of(const struct piece *p, uint64_t page)
{
    return p->number << 24 | page;
}

static void check_own(const struct piece *p, uint64_t page)
{
    check_page(page_of(p, page), place_of(p, page), p->version[page]);
}

static void check_span(const struct piece *p, uint64_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        check_own(p, page + i);
    }
}

static void forget(struct piece *p, uint64_t page, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        p->version[page + i] = 0;
    }
}

/* Moves pages elsewhere, looks at them there, and moves them back. */
static int move_pages(struct piece *p, uint64_t page, uint32_t count)
{
    uint64_t *at = page_of(p, page);
    size_t bytes = (size_t)count * PAGE;
    uint64_t *away = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (away == MAP_FAILED ||
        mremap(at, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, away) != away) {
        return -1;
    }
    for (uint32_t i = 0; i < count; i += 3) {
        check_page(away + (size_t)i * WORDS, place_of(p, page + i), p->version[page + i]);
    }
    return mremap(away, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at ? 0 : -1;
}

/* A mapping that grows in front of everybody, keeps what it holds, and goes again. */
static int grow_another(struct piece *p)
{
    size_t bytes = (size_t)(1 + draw(p, SPAN_MAX)) * PAGE;
    uint64_t *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        return -1;
    }
    uint64_t place = UINT64_C(1) << 40 | p->number;
    write_page(at, place, 1);
    (void)madvise(at, PAGE, MADV_PAGEOUT);
    at = mremap(at, bytes, 4 * bytes, MREMAP_MAYMOVE);
    if (at == MAP_FAILED) {
        return -1;
    }
    check_page(at, place, 1);
    check_page(at + (4 * bytes - PAGE) / 8, place, 0);
    return munmap(at, 4 * bytes);
}

static int map_anew(struct piece *p, uint64_t page, uint32_t count)
{
    void *at = page_of(p, page);
    size_t bytes = (size_t)count * PAGE;
    int r = munmap(at, bytes);
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
        at) {
        r = -1;
    }
    forget(p, page, count);
    return r;
}

static int protect(struct piece *p, uint64_t page, uint32_t count, int protection)
{
    void *at = page_of(p, page);
    int r = mprotect(at, (size_t)count * PAGE, protection);
    if (protection == PROT_READ) {
        check_span(p, page, count);
    }
    return r | mprotect(at, (size_t)count * PAGE, PROT_READ | PROT_WRITE);
}

static int change(struct piece *p, uint64_t page, uint32_t count)
{
    static const int advices[] = {MADV_PAGEOUT, MADV_WILLNEED, MADV_COLD};
    uint32_t kind = draw(p, 8);
    int r = 0;
    if (kind < 2) {
        pthread_mutex_lock(&holes);
        r = kind == 0 ? map_anew(p, page, count) : move_pages(p, page, count);
        pthread_mutex_unlock(&holes);
    } else if (kind == 2) {
        r = madvise(page_of(p, page), (size_t)count * PAGE, MADV_DONTNEED);
        forget(p, page, count);
    } else if (kind == 3) {
        pthread_mutex_lock(&holes);
        r = grow_another(p);
        pthread_mutex_unlock(&holes);
    } else if (kind == 4) {
        r = protect(p, page, count, draw(p, 2) == 0 ? PROT_READ : PROT_NONE);
    } else {
        r = madvise(page_of(p, page), (size_t)count * PAGE, advices[kind - 5]);
    }
    atomic_fetch_add(&changes, 1);
    return r;
}

static void use_common(struct piece *p)
{
    uint32_t page = draw(p, COMMON_PAGES);
    uint64_t *at = common.memory + (size_t)page * WORDS;
    pthread_mutex_lock(&common.locks[page]);
    check_page(at, page, common.version[page]);
    if (draw(p, 16) == 0) {
        common.version[page] = 0;
        if (madvise(at, PAGE, MADV_DONTNEED) != 0) {
            complain(page, "madvise of a common page");
        }
    } else if (draw(p, 2) == 0) {
        write_page(at, page, ++common.version[page]);
    }
    pthread_mutex_unlock(&common.locks[page]);
}

static void *run(void *argument)
{
    struct piece *p = argument;
    for (; p->rounds < round_count && !over && atomic_load(&wrong) == 0; p->rounds++) {
        uint64_t page = draw(p, page_count);
        check_own(p, page);
        write_page(page_of(p, page), place_of(p, page), ++p->version[page]);
        use_common(p);
        if (p->rounds % 8 == 0) {
            uint32_t count = 1 + draw(p, SPAN_MAX);
            page = draw(p, page_count - SPAN_MAX);
            if (change(p, page, count) != 0) {
                complain(place_of(p, page), "a call failed");
            }
        }
        if (p->number == 1 && (p->rounds + 1) % TELL_ROUNDS == 0) {
            printf("round %" PRIu64 " of thread 0\n", p->rounds + 1);
            (void)fflush(stdout);
        }
    }
    for (uint64_t i = 0; i < page_count; i++) {
        check_own(p, i);
    }
    return NULL;
}

static void *map(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return at;
}

static void piece_init(struct piece *p, uint64_t number, uint64_t seed)
{
    *p = (struct piece){.memory = map(page_count * PAGE),
                        .version = map(page_count * sizeof(uint32_t)),
                        .number = number,
                        .random = (seed << 8 | number) * UINT64_C(0x9e3779b97f4a7c15)};
    for (uint64_t i = 0; i < page_count; i++) {
        p->version[i] = 1;
        write_page(page_of(p, i), place_of(p, i), 1);
    }
}

static void on_term(int number)
{
    over = number;
}

int main(int argc, char **argv)
{
    static struct piece pieces[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    uint32_t thread_count = argc == 5 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (thread_count == 0 || thread_count > THREADS_MAX) {
        (void)fprintf(stderr, "usage: fire THREADS PAGES ROUNDS SEED\n");
        return 2;
    }
    page_count = strtoull(argv[2], NULL, 10);
    round_count = strtoull(argv[3], NULL, 10);
    if (page_count <= SPAN_MAX || signal(SIGTERM, on_term) == SIG_ERR) {
        return 2;
    }
    common.memory = map(COMMON_PAGES * PAGE);
    for (uint32_t i = 0; i < COMMON_PAGES; i++) {
        (void)pthread_mutex_init(&common.locks[i], NULL);
    }
    for (uint32_t i = 0; i < thread_count; i++) {
        piece_init(&pieces[i], i + 1, strtoull(argv[4], NULL, 10));
    }
    printf("filled %" PRIu64 " pages\n", page_count * thread_count);
    (void)fflush(stdout);
    uint64_t rounds = 0;
    for (uint32_t i = 0; i < thread_count; i++) {
        if (pthread_create(&threads[i], NULL, run, &pieces[i]) != 0) {
            puts("no thread");
            return 2;
        }
    }
    for (uint32_t i = 0; i < thread_count; i++) {
        (void)pthread_join(threads[i], NULL);
        rounds += pieces[i].rounds;
    }
    printf("%s: rounds=%" PRIu64 " changes=%u wrong=%u\n",
           atomic_load(&wrong) == 0 ? "good" : "BAD", rounds, atomic_load(&changes),
           atomic_load(&wrong));
    return atomic_load(&wrong) == 0 ? 0 : 1;
}
