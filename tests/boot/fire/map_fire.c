/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random mmap, munmap, mremap, madvise and mprotect over more memory than there are frames, with a
 * model of what every page must hold: words that are a function of the region, the page and the
 * page's version; version 0 is zeros. Any other byte ends it with status 1.
 *
 * Arguments: steps, most pages of a region, seed. An ordinary Linux program.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define REGION_COUNT 24
#define PAGE_WORDS   512
#define WORD_STEP    37 /* words of a page that are written and checked */
#define TOUCHES      16

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

struct region {
    uint64_t *memory; /* NULL: not mapped */
    size_t page_count;
    uint32_t *versions;
};

static struct region regions[REGION_COUNT];
static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t expected(size_t index, size_t page, uint32_t version, size_t word)
{
    uint64_t mixed = (index * 1000003 + page) * UINT64_C(0x9e3779b97f4a7c15) + version;
    return version == 0 ? 0 : mixed ^ word * UINT64_C(0x123456789);
}

static void write_page(size_t index, size_t page, uint32_t version)
{
    struct region *r = &regions[index];
    r->versions[page] = version;
    for (size_t word = 0; word < PAGE_WORDS; word += WORD_STEP) {
        r->memory[page * PAGE_WORDS + word] = expected(index, page, version, word);
    }
}

static void check_page(size_t index, size_t page)
{
    struct region *r = &regions[index];
    for (size_t word = 0; word < PAGE_WORDS; word += WORD_STEP) {
        uint64_t is = r->memory[page * PAGE_WORDS + word];
        uint64_t must = expected(index, page, r->versions[page], word);
        if (is != must) {
            printf("wrong data: region %zu page %zu word %zu holds %llx, must be %llx\n", index,
                   page, word, (unsigned long long)is, (unsigned long long)must);
            exit(1);
        }
    }
}

static void check_region(size_t index)
{
    for (size_t page = 0; page < regions[index].page_count; page++) {
        check_page(index, page);
    }
}

static void map_region(struct region *r, size_t page_count)
{
    r->memory = mmap(NULL, page_count * PAGE_WORDS * 8, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    r->versions = calloc(page_count, sizeof(*r->versions));
    r->page_count = page_count;
    if (r->memory == MAP_FAILED || r->versions == NULL) {
        fail("mmap");
    }
}

static void unmap_region(size_t index)
{
    struct region *r = &regions[index];
    check_region(index);
    if (munmap(r->memory, r->page_count * PAGE_WORDS * 8) != 0) {
        fail("munmap");
    }
    free(r->versions);
    r->memory = NULL;
}

static void resize_region(struct region *r, size_t page_count)
{
    r->memory = mremap(r->memory, r->page_count * PAGE_WORDS * 8, page_count * PAGE_WORDS * 8,
                       MREMAP_MAYMOVE);
    r->versions = realloc(r->versions, page_count * sizeof(*r->versions));
    if (r->memory == MAP_FAILED || r->versions == NULL) {
        fail("mremap");
    }
    if (page_count > r->page_count) {
        memset(r->versions + r->page_count, 0, (page_count - r->page_count) * sizeof(*r->versions));
    }
    r->page_count = page_count;
}

static void advise(struct region *r, size_t first, size_t count, int advice)
{
    if (madvise(r->memory + first * PAGE_WORDS, count * PAGE_WORDS * 8, advice) != 0) {
        fail("madvise");
    }
    if (advice == MADV_DONTNEED) {
        memset(r->versions + first, 0, count * sizeof(*r->versions));
    }
}

static void protect_and_read(size_t index, size_t first, size_t count)
{
    struct region *r = &regions[index];
    uint64_t *at = r->memory + first * PAGE_WORDS;
    if (mprotect(at, count * PAGE_WORDS * 8, PROT_READ) != 0) {
        fail("mprotect");
    }
    for (size_t page = first; page < first + count; page += 7) {
        check_page(index, page);
    }
    if (mprotect(at, count * PAGE_WORDS * 8, PROT_READ | PROT_WRITE) != 0) {
        fail("mprotect");
    }
}

static void touch(size_t index)
{
    for (int i = 0; i < TOUCHES; i++) {
        size_t page = next_random() % regions[index].page_count;
        check_page(index, page);
        if ((next_random() & 1) != 0) {
            write_page(index, page, (uint32_t)next_random() | 1);
        }
    }
}

static void step(size_t pages_max)
{
    size_t index = next_random() % REGION_COUNT;
    struct region *r = &regions[index];
    if (r->memory == NULL) {
        map_region(r, 1 + next_random() % pages_max);
        return;
    }
    size_t first = next_random() % r->page_count;
    size_t count = 1 + next_random() % (r->page_count - first);
    switch (next_random() % 50) {
    case 0:
        unmap_region(index);
        break;
    case 1:
        advise(r, first, count, MADV_DONTNEED);
        break;
    case 2:
        resize_region(r, 1 + next_random() % pages_max);
        break;
    case 3:
        protect_and_read(index, first, count);
        break;
    case 4:
        advise(r, first, count, MADV_PAGEOUT);
        break;
    default:
        touch(index);
        break;
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        (void)fprintf(stderr, "usage: map_fire STEPS PAGES SEED\n");
        return 2;
    }
    long steps = atol(argv[1]);
    size_t pages_max = strtoul(argv[2], NULL, 10);
    random_state = strtoull(argv[3], NULL, 10) * 2 + 1;
    for (long i = 0; i < steps; i++) {
        step(pages_max);
    }
    for (size_t index = 0; index < REGION_COUNT; index++) {
        if (regions[index].memory != NULL) {
            check_region(index);
        }
    }
    printf("%ld steps, every page right\n", steps);
    return 0;
}
