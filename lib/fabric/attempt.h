/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of lib/fabric: an attempt to connect on a thread of its own, so that whoever moves data
 * never waits for a connection. Tries again with back-off until it works, until the deadline, or
 * until nobody has listened for a while.
 */
#ifndef DILOS_LIB_FABRIC_ATTEMPT_H
#define DILOS_LIB_FABRIC_ATTEMPT_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/fabric/fabric.h"

#define ATTEMPT_BACKOFF_MS_MIN 20u
#define ATTEMPT_BACKOFF_MS_MAX 500u

/* What the texts of an endpoint and a choice point to, once they have been copied. */
struct fabric_texts {
    char *items[7];
};

/*
 * Copies the texts of both and lets them point to the copies. Returns false without memory; free
 * in either case.
 */
bool fabric_texts_copy(struct fabric_texts *texts, struct fabric_endpoint *endpoint,
                       struct fabric_choice *choice) MUST_CHECK;
void fabric_texts_free(struct fabric_texts *texts);

struct attempt;

struct attempt_config {
    struct fabric_endpoint endpoint; /* copied, as all texts */
    struct fabric_choice choice;
    uint32_t connect_ms;  /* for one try */
    uint64_t deadline_ns; /* 0: one try only */
    uint32_t refused_ms;  /* so long "nobody listens there" may be the only answer */
    int wake_fd;          /* an eventfd, written when it is done; open until attempt_take() or
                             attempt_abandon() */
};

/* Errors: -ENOMEM, -EAGAIN no thread. */
int attempt_open(const struct attempt_config *config, struct attempt **ret) MUST_CHECK;

/*
 * -EINPROGRESS: not yet. Else the attempt is over and gone: 0 with *ret, or the last error of
 * fabric_connect. ret_reason (>= 128 bytes) as in fabric_connect. Never blocks.
 */
int attempt_take(struct attempt *attempt, struct fabric_peer **ret, char *ret_reason) MUST_CHECK;

/* Nobody wants it any more. Does not wait for its thread. NULL is fine. Returns NULL. */
struct attempt *attempt_abandon(struct attempt *attempt);

#endif
