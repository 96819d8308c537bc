/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More memory than the machine has: 48 MiB, every page holding a function of its address and of a
 * version that counts its writes; pages are written and checked in random order, some are given
 * back with MADV_DONTNEED and must read as zeros. Exit status 1 and the address if one is wrong.
 */
#include "tests/boot/guests/guest.h"

#define PAGE_COUNT    12288u
#define PAGE_WORDS    512u
#define STEP_COUNT    40000u
#define MADV_DONTNEED 4

static uint8_t versions[PAGE_COUNT]; /* 0: reads as zeros */
static uint64_t seed = 42;

static uint32_t random_u32(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(seed >> 33);
}

static uint64_t word_of(uint32_t page, uint32_t word)
{
    uint64_t mixed = ((uint64_t)page << 20 | word << 8 | versions[page]) + 1;
    return versions[page] == 0 ? 0 : mixed * UINT64_C(0x9e3779b97f4a7c15);
}

static void write_page(uint64_t *memory, uint32_t page)
{
    versions[page] = (uint8_t)(versions[page] % 250 + 1);
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        memory[(size_t)page * PAGE_WORDS + i] = word_of(page, i);
    }
}

static int check_page(const uint64_t *memory, uint32_t page)
{
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        if (memory[(size_t)page * PAGE_WORDS + i] != word_of(page, i)) {
            guest_say_number("wrong page", page);
            return 1;
        }
    }
    return 0;
}

static int step(uint64_t *memory)
{
    uint32_t page = random_u32() % PAGE_COUNT;
    uint32_t what = random_u32() % 16;
    if (what == 0) {
        versions[page] = 0;
        return (int)guest_syscall(SYS_MADVISE, (long)(memory + (size_t)page * PAGE_WORDS), 4096,
                                  MADV_DONTNEED, 0, 0, 0);
    }
    if (what < 6) {
        write_page(memory, page);
    }
    return check_page(memory, page);
}

int guest_main(int argc, char **argv)
{
    uint64_t *memory = guest_map((size_t)PAGE_COUNT * PAGE_WORDS * 8);
    if ((long)memory < 0) {
        return 2;
    }
    for (uint32_t i = 0; i < PAGE_COUNT; i++) {
        write_page(memory, i);
    }
    for (uint32_t i = 0; i < STEP_COUNT; i++) {
        if (step(memory) != 0) {
            return 1;
        }
    }
    for (uint32_t i = 0; i < PAGE_COUNT; i++) {
        if (check_page(memory, i) != 0) {
            return 1;
        }
    }
    guest_say_number("checked", PAGE_COUNT);
    return (int)guest_syscall(SYS_MUNMAP, (long)memory, (long)PAGE_COUNT * 4096, 0, 0, 0, 0);
}
