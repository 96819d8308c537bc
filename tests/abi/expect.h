/* SPDX-License-Identifier: Apache-2.0 */
/* For programs that say only what is wrong, and at their end "failures=N". */
#ifndef DILOS_TESTS_ABI_EXPECT_H
#define DILOS_TESTS_ABI_EXPECT_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

static int failures;

static inline void expect(const char *what, int good)
{
    if (!good) {
        failures++;
        printf("not ok - %s (errno %d)\n", what, errno);
    }
}

/* The exit status of the program. */
static inline int expect_done(void)
{
    printf("failures=%d\n", failures);
    return failures != 0;
}

static inline void pause_ms(long ms)
{
    struct timespec ts = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&ts, &ts) != 0) {
    }
}

static inline int64_t clock_ms(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
