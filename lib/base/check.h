/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CHECK: an assertion about our own code that stays on in release builds. Never for a peer's
 * input: that gets an error. One condition each, so that the message says which.
 *
 * Freestanding. The program supplies check_failed(): lib/sys/check.c prints and aborts on a host,
 * the unikernel panics with a backtrace.
 */
#ifndef DILOS_LIB_BASE_CHECK_H
#define DILOS_LIB_BASE_CHECK_H

#include "lib/base/compiler.h"

NORETURN COLD void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (UNLIKELY(!(condition))) {                                                              \
            check_failed(#condition, __FILE__, __LINE__);                                          \
        }                                                                                          \
    } while (0)

#endif
