/* SPDX-License-Identifier: Apache-2.0 */
/* Claim quicksort: sorts MIB MiB of random 64-bit integers in place. Arguments: MIB [SEED]. */
#include "bench/guest/bench.h"

#define SMALL 16
#define DEPTH 64

static void insertion_sort(uint64_t *from, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        uint64_t value = from[i];
        int64_t j = i;
        for (; j > 0 && from[j - 1] > value; j--) {
            from[j] = from[j - 1];
        }
        from[j] = value;
    }
}

static void swap(uint64_t *a, uint64_t *b)
{
    uint64_t kept = *a;
    *a = *b;
    *b = kept;
}

/* Hoare's partition around the median of three; both parts are shorter than `count`. */
static int64_t partition(uint64_t *at, int64_t count)
{
    int64_t middle = count / 2;
    int64_t last = count - 1;
    if (at[middle] < at[0]) {
        swap(&at[middle], &at[0]);
    }
    if (at[last] < at[0]) {
        swap(&at[last], &at[0]);
    }
    if (at[last] < at[middle]) {
        swap(&at[last], &at[middle]);
    }
    uint64_t pivot = at[middle];
    int64_t i = 0;
    int64_t j = last;
    for (;;) {
        while (at[i] < pivot) {
            i++;
        }
        while (at[j] > pivot) {
            j--;
        }
        if (i >= j) {
            return j + 1;
        }
        swap(&at[i++], &at[j--]);
    }
}

/* The shorter part waits on the stack, so that it is never deep. */
static void sort(uint64_t *at, int64_t count)
{
    struct {
        uint64_t *at;
        int64_t count;
    } waiting[DEPTH];
    int depth = 0;
    waiting[depth].at = at;
    waiting[depth++].count = count;
    while (depth > 0) {
        depth--;
        at = waiting[depth].at;
        count = waiting[depth].count;
        while (count > SMALL) {
            int64_t split = partition(at, count);
            if (split > count - split) {
                waiting[depth].at = at;
                waiting[depth++].count = split;
                at += split;
                count -= split;
            } else {
                waiting[depth].at = at + split;
                waiting[depth++].count = count - split;
                count = split;
            }
        }
        insertion_sort(at, count);
    }
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 1;
    if (mib == 0) {
        bench_die(BENCH_USAGE, "usage: quicksort MIB [SEED]");
    }
    uint64_t count = mib * BENCH_MIB / sizeof(uint64_t);
    uint64_t *numbers = bench_memory(count * sizeof(*numbers));
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        numbers[i] = bench_random(&state) >> 16;
        sum += numbers[i];
    }
    uint64_t start_ns = bench_now_ns();
    sort(numbers, (int64_t)count);
    uint64_t ns = bench_now_ns() - start_ns;
    uint64_t checksum = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (i > 0 && numbers[i - 1] > numbers[i]) {
            bench_die(BENCH_WRONG, "not sorted");
        }
        checksum = bench_mix(checksum, numbers[i]);
        sum -= numbers[i];
    }
    if (sum != 0) {
        bench_die(BENCH_WRONG, "not the same numbers");
    }
    bench_result(count, ns, checksum);
    return 0;
}
