/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds memory to what was written to it: memcheck MIB ROUNDS SEED.
 *
 * Every word of every page is a function of page, version and place. Each round visits all pages in
 * an order that depends on seed and round; each page is compared word by word with its version, and
 * half of the pages are then written with a new one. The versions live in memory that is paged as
 * well. The output depends on the arguments only, so it equals that of a run on any machine.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_WORDS 512u

/* A bijection of 64 bits (the finalizer of SplitMix64). */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t first_word(uint64_t page, uint32_t version, uint64_t seed)
{
    return mix(mix(page ^ seed) ^ version);
}

static void write_page(uint64_t *words, uint64_t page, uint32_t version, uint64_t seed)
{
    uint64_t first = first_word(page, version, seed);
    for (uint64_t i = 0; i < PAGE_WORDS; i++) {
        words[i] = first + i * 0x9e3779b97f4a7c15u;
    }
}

/* Returns the number of wrong words. */
static uint32_t check_page(const uint64_t *words, uint64_t page, uint32_t version, uint64_t seed)
{
    uint64_t first = first_word(page, version, seed);
    uint32_t wrong = 0;
    for (uint64_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t wanted = first + i * 0x9e3779b97f4a7c15u;
        if (words[i] != wanted && wrong++ == 0) {
            printf("page %" PRIu64 " version %" PRIu32 " word %" PRIu64 ": is 0x%016" PRIx64
                   ", was written as 0x%016" PRIx64 "\n",
                   page, version, i, words[i], wanted);
        }
    }
    return wrong;
}

static uint64_t *map(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(2);
    }
    return at;
}

static uint64_t greatest_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Visits each page once: a step that has no divisor in common with the number of pages. */
static uint64_t choose_step(uint64_t page_count, uint64_t seed)
{
    uint64_t step = page_count < 3 ? 1 : mix(seed) % (page_count - 1) + 1;
    while (greatest_divisor(step, page_count) != 1) {
        step = step % page_count + 1;
    }
    return step;
}

static uint64_t run_round(uint64_t *words, uint32_t *versions, uint64_t page_count, uint64_t seed,
                          uint64_t round)
{
    uint64_t step = choose_step(page_count, seed ^ round), wrong = 0;
    uint64_t page = mix(seed + round) % page_count;
    for (uint64_t i = 0; i < page_count; i++, page = (page + step) % page_count) {
        wrong += check_page(words + page * PAGE_WORDS, page, versions[page], seed);
        if ((mix(page ^ mix(round ^ seed)) & 1) == 0) {
            versions[page]++;
            write_page(words + page * PAGE_WORDS, page, versions[page], seed);
        }
    }
    return wrong;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: memcheck MIB ROUNDS SEED\n");
        return 2;
    }
    uint64_t page_count = strtoull(argv[1], NULL, 10) * 256, rounds = strtoull(argv[2], NULL, 10);
    uint64_t seed = strtoull(argv[3], NULL, 10);
    if (page_count == 0) {
        return 2;
    }
    uint64_t *words = map(page_count * PAGE_WORDS * sizeof(uint64_t));
    uint32_t *versions = (uint32_t *)map(page_count * sizeof(uint32_t));
    for (uint64_t page = 0; page < page_count; page++) {
        for (uint64_t i = 0; i < PAGE_WORDS; i += 64) {
            if (words[page * PAGE_WORDS + i] != 0) {
                printf("page %" PRIu64 ": fresh memory is not zero\n", page);
                return 1;
            }
        }
        write_page(words + page * PAGE_WORDS, page, 0, seed);
    }
    printf("filled %" PRIu64 " pages\n", page_count);
    (void)fflush(stdout);
    uint64_t wrong = 0, sum = 0;
    for (uint64_t round = 0; round < rounds && wrong == 0; round++) {
        wrong += run_round(words, versions, page_count, seed, round);
    }
    for (uint64_t page = 0; page < page_count; page++) {
        sum = mix(sum ^ words[page * PAGE_WORDS] ^ versions[page]);
    }
    printf("%s: %" PRIu64 " rounds over %" PRIu64 " pages, %" PRIu64 " wrong words, sum %016" PRIx64
           "\n",
           wrong == 0 ? "good" : "BAD", rounds, page_count, wrong, sum);
    return wrong == 0 ? 0 : 1;
}
