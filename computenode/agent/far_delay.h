/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes far memory seem farther: a request that is done is answered only `ns` later. For
 * experiments (dilos-agent --far-delay): what a program would do over a slower fabric. All requests
 * are held equally long, so they leave in the order in which they came.
 */
#ifndef DILOS_AGENT_FAR_DELAY_H
#define DILOS_AGENT_FAR_DELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/far_request.h"

#define FAR_DELAY_US_MAX UINT64_C(100000)

struct far_delay {
    struct list held; /* oldest first */
    uint64_t ns;
};

/* ns: up to FAR_DELAY_US_MAX. */
void far_delay_init(struct far_delay *delay, uint64_t ns);

/* The request is done and in no list; `now_ns` never goes back. */
void far_delay_put(struct far_delay *delay, struct far_request *request, uint64_t now_ns);

/* One whose time has come, in no list any more; NULL: there is none. UINT64_MAX: everyone's has. */
struct far_request *far_delay_take(struct far_delay *delay, uint64_t now_ns);

static inline bool far_delay_holds(const struct far_delay *delay)
{
    return !list_empty(&delay->held);
}

#endif
