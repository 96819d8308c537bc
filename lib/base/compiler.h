/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words that C11 lacks. Freestanding; may be included by everything, includes nothing of ours.
 */
#ifndef DILOS_LIB_BASE_COMPILER_H
#define DILOS_LIB_BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

/* The structure that holds `member`, from a pointer to that member. */
#define container_of(pointer, type, member)                                                        \
    ((type *)((char *)(uintptr_t)(pointer)-offsetof(type, member)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* `unit` is a power of two. */
#define ALIGN_DOWN(value, unit) ((value) & ~((uint64_t)(unit)-1))
#define ALIGN_UP(value, unit)   ALIGN_DOWN((value) + ((uint64_t)(unit)-1), unit)
#define IS_ALIGNED(value, unit) (((value) & ((uint64_t)(unit)-1)) == 0)
#define IS_POWER_OF_TWO(value)  ((value) != 0 && ((value) & ((value)-1)) == 0)

/* CLEANUP(f) T x: calls f(&x) when x leaves its scope. */
#define CLEANUP(function) __attribute__((cleanup(function)))
#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first_index)                                                     \
    __attribute__((format(printf, format_index, first_index)))
#define NORETURN __attribute__((noreturn))
/* On a path whose functions the linker puts next to each other. */
#define HOT __attribute__((hot))
/* All that it calls is inlined, and all that that calls, but what is NOINLINE or COLD. */
#define FLATTEN  __attribute__((flatten))
#define NOINLINE __attribute__((noinline))
/* Hardly ever called: what leads to it is kept away from what surrounds it, too. */
#define COLD __attribute__((cold, noinline))
/* What the compiler is to lay out as the way that is mostly taken, on a path that is HOT. */
#define LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
/* For what is too large for the compiler's taste and yet cheaper in place. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define GIB (1024ull * MIB)
#define TIB (1024ull * GIB)

#define PAGE_SHIFT 12
#define PAGE_BYTES 4096ull

#endif
