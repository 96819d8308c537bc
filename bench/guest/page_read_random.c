/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claim page_read_random: what one random read of a page that is in far memory costs a program.
 *
 * Fills PAGES pages, each with a function of its address; sends them all to far memory
 * (MADV_PAGEOUT); then touches every page once, in a random order, so that each access is one
 * page fault, and checks what it read. Prints one JSON line a round:
 *   {"pages": N, "faults": MAJOR_FAULTS, "ns_per_page": X}
 * A wrong byte ends it with status 1: a figure from wrong data is none.
 *
 * Arguments: pages, rounds, seed. An ordinary Linux program: it runs the same under Linux.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define PAGE_WORDS   512
#define ATTEMPTS_MAX 100

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t expected(uint64_t page, uint64_t word)
{
    return (page * PAGE_WORDS + word) * UINT64_C(0x9e3779b97f4a7c15) ^ page;
}

static void shuffle(uint32_t *order, uint32_t count, uint64_t *state)
{
    for (uint32_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (uint32_t i = count - 1; i > 0; i--) {
        uint32_t j = (uint32_t)(next_random(state) % (i + 1));
        uint32_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

static long major_faults(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_majflt : -1;
}

/*
 * Sends all pages away. Advice is only that: a page whose write has just begun stays. So it is
 * repeated until mincore(2) finds no page left, or nearly.
 */
static bool send_away(const uint64_t *memory, uint32_t pages)
{
    void *start = (void *)(uintptr_t)memory;
    size_t bytes = (size_t)pages * PAGE_WORDS * 8;
    unsigned char *resident = malloc(pages);
    uint32_t left = pages;
    for (int attempt = 0; resident != NULL && attempt < ATTEMPTS_MAX && left > pages / 1000;
         attempt++) {
        if (madvise(start, bytes, MADV_PAGEOUT) != 0 || mincore(start, bytes, resident) != 0) {
            perror("madvise(MADV_PAGEOUT) or mincore");
            break;
        }
        left = 0;
        for (uint32_t i = 0; i < pages; i++) {
            left += resident[i] & 1;
        }
    }
    free(resident);
    if (left > pages / 1000) {
        (void)fprintf(stderr, "%u of %u pages can't be sent away\n", left, pages);
    }
    return left <= pages / 1000;
}

/* One round; false when a page held other bytes than it must. */
static bool run_round(const uint64_t *memory, const uint32_t *order, uint32_t pages)
{
    if (!send_away(memory, pages)) {
        return false;
    }
    long faults = major_faults();
    uint64_t start_ns = now_ns();
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < pages; i++) {
        uint64_t word = order[i] % PAGE_WORDS;
        wrong |= memory[(uint64_t)order[i] * PAGE_WORDS + word] ^ expected(order[i], word);
    }
    uint64_t total_ns = now_ns() - start_ns;
    if (wrong != 0) {
        (void)fprintf(stderr, "a page held wrong data\n");
        return false;
    }
    printf("{\"pages\": %u, \"faults\": %ld, \"ns_per_page\": %.1f}\n", pages,
           major_faults() - faults, (double)total_ns / pages);
    return true;
}

int main(int argc, char **argv)
{
    uint32_t pages = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 8192;
    int rounds = argc > 2 ? atoi(argv[2]) : 3;
    uint64_t state = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 88172645463325252u;
    uint64_t *memory = mmap(NULL, (size_t)pages * PAGE_WORDS * 8, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t *order = malloc(sizeof(*order) * pages);
    if (pages == 0 || memory == MAP_FAILED || order == NULL) {
        (void)fprintf(stderr, "usage: page_read_random [PAGES [ROUNDS [SEED]]]\n");
        return 2;
    }
    for (uint64_t page = 0; page < pages; page++) {
        for (uint64_t word = 0; word < PAGE_WORDS; word++) {
            memory[page * PAGE_WORDS + word] = expected(page, word);
        }
    }
    for (int round = 0; round < rounds; round++) {
        shuffle(order, pages, &state);
        if (!run_round(memory, order, pages)) {
            return 1;
        }
    }
    return 0;
}
