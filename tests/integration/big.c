/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program whose initialized data is larger than the memory of a small instance:
 *   big SECONDS  checks that all of it is as it was linked, changes it, checks it again; sleeps
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WORDS (24u << 17)

/* All of it is in the file, not zeros that need no room there. */
static volatile uint64_t data[WORDS] = {[0] = 1, [WORDS - 1] = 2};

static int check(uint64_t changed)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t linked = i == 0 ? 1 : i == WORDS - 1 ? 2 : 0;
        if (data[i] != linked + changed * i) {
            printf("word %u is %llu\n", i, (unsigned long long)data[i]);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (check(0) != 0) {
        return 1;
    }
    for (uint32_t i = 0; i < WORDS; i++) {
        data[i] += 3ull * i;
    }
    if (check(3) != 0) {
        return 1;
    }
    puts("good");
    (void)fflush(stdout);
    (void)sleep(argc > 1 ? (unsigned)atoi(argv[1]) : 0);
    return 0;
}
