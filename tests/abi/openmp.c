/* SPDX-License-Identifier: Apache-2.0 */
/* OpenMP as programs use it: loops of each schedule, reductions, critical, tasks, sections. */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 200000

static int64_t fibonacci(int n)
{
    int64_t a = 0, b = 0;
    if (n < 2) {
        return n;
    }
#pragma omp task shared(a) if (n > 12)
    a = fibonacci(n - 1);
#pragma omp task shared(b) if (n > 12)
    b = fibonacci(n - 2);
#pragma omp taskwait
    return a + b;
}

int main(void)
{
    static uint32_t values[COUNT];
    int64_t sum = 0, ordered = 0, critical = 0, result = 0, sections = 0;
    int threads = 0;
    omp_set_num_threads(4);
#pragma omp parallel
    {
#pragma omp single
        threads = omp_get_num_threads();
    }
#pragma omp parallel for schedule(static)
    for (int i = 0; i < COUNT; i++) {
        values[i] = (uint32_t)i * 2654435761u >> 12;
    }
    for (int round = 0; round < 50; round++) {
#pragma omp parallel for schedule(dynamic, 1000) reduction(+ : sum)
        for (int i = 0; i < COUNT; i++) {
            sum += values[i] ^ (uint32_t)round;
        }
    }
#pragma omp parallel for schedule(guided) ordered
    for (int i = 0; i < 500; i++) {
#pragma omp ordered
        ordered = ordered * 31 % 1000003 + i;
    }
#pragma omp parallel
    for (int i = 0; i < 2000; i++) {
#pragma omp critical
        critical++;
    }
#pragma omp parallel sections reduction(+ : sections)
    {
#pragma omp section
        sections += 1;
#pragma omp section
        sections += 10;
#pragma omp section
        sections += 100;
    }
#pragma omp parallel
#pragma omp single
    result = fibonacci(22);
    printf("threads=%d sum=%lld ordered=%lld critical=%lld sections=%lld fibonacci=%lld\n", threads,
           (long long)sum, (long long)ordered, (long long)critical, (long long)sections,
           (long long)result);
    return 0;
}
