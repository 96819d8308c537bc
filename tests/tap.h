/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests speak TAP (version 12), one line a case, so that deploy/test counts cases.
 *
 *   static void test_empty(void) { EXPECT(list_empty(&head)); }
 *   int main(void) { TAP_RUN(test_empty); return tap_done(); }
 *
 * A failed EXPECT is reported with both values and fails its case; the case goes on.
 */
#ifndef DILOS_TESTS_TAP_H
#define DILOS_TESTS_TAP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int tap_case_count;
static int tap_failed_count;
static bool tap_case_ok;

static inline void tap_fail(const char *file, int line, const char *what)
{
    tap_case_ok = false;
    printf("# %s:%d: %s\n", file, line, what);
}

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            tap_fail(__FILE__, __LINE__, "expected " #condition);                                  \
        }                                                                                          \
    } while (0)

#define EXPECT_EQ(a, b)                                                                            \
    do {                                                                                           \
        long long tap_a = (long long)(a), tap_b = (long long)(b);                                  \
        if (tap_a != tap_b) {                                                                      \
            tap_fail(__FILE__, __LINE__, "expected " #a " == " #b);                                \
            printf("#   left %lld (0x%llx), right %lld (0x%llx)\n", tap_a,                         \
                   (unsigned long long)tap_a, tap_b, (unsigned long long)tap_b);                   \
        }                                                                                          \
    } while (0)

#define EXPECT_STR(a, b)                                                                           \
    do {                                                                                           \
        const char *tap_a = (a), *tap_b = (b);                                                     \
        if (strcmp(tap_a, tap_b) != 0) {                                                           \
            tap_fail(__FILE__, __LINE__, "expected " #a " equals " #b);                            \
            printf("#   left \"%s\", right \"%s\"\n", tap_a, tap_b);                               \
        }                                                                                          \
    } while (0)

#define TAP_RUN(function)                                                                          \
    do {                                                                                           \
        tap_case_ok = true;                                                                        \
        function();                                                                                \
        tap_case_count++;                                                                          \
        tap_failed_count += tap_case_ok ? 0 : 1;                                                   \
        printf("%s %d - %s\n", tap_case_ok ? "ok" : "not ok", tap_case_count, #function);          \
        (void)fflush(stdout);                                                                      \
    } while (0)

#define TAP_SKIP(function, reason)                                                                 \
    printf("ok %d - %s # SKIP %s\n", ++tap_case_count, #function, reason)

static inline int tap_done(void)
{
    printf("1..%d\n", tap_case_count);
    return tap_failed_count == 0 ? 0 : 1;
}

#endif
