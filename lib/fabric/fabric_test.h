/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests only: a way into fabric_connect, and a provider that makes trouble. Programs don't
 * include this header (tools/layers), so nothing outside of a test can switch it on.
 */
#ifndef DILOS_LIB_FABRIC_FABRIC_TEST_H
#define DILOS_LIB_FABRIC_FABRIC_TEST_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/fabric/fabric.h"

/* Gets each peer that fabric_connect made and returns the one that its caller gets. */
typedef int fabric_wrap(void *context, struct fabric_peer *peer, struct fabric_peer **ret);

/* NULL: none any more. Not thread safe: before the threads that connect. */
void fabric_set_test_wrap(fabric_wrap *wrap, void *context);

/* What goes wrong, in requests (or polls) per 1,000, drawn from `seed`. */
struct fabric_trouble {
    uint64_t seed;
    uint32_t fail_permille;      /* completes with -EIO without reaching the memory node */
    uint32_t busy_permille;      /* the post returns -EAGAIN */
    uint32_t delay_permille;     /* the completion is held back ... */
    uint32_t delay_polls_max;    /* ... for up to so many polls, others overtake it */
    uint32_t repeat_permille;    /* of polls that bring an earlier completion once more */
    uint64_t die_after_requests; /* then the peer is dead; 0: never */
};

/* Takes over `inner` (closes it with itself; also on failure). Errors: -ENOMEM. */
int fabric_trouble_wrap(struct fabric_peer *inner, const struct fabric_trouble *trouble,
                        struct fabric_peer **ret) MUST_CHECK;

#endif
