/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread polls in vain before it sleeps. To be woken costs a kick (an exit of the guest,
 * which under emulation takes QEMU's lock) and a switch: some 70 us, more than most pauses between
 * two far reads of a program that pages. So the budget doubles when a sleep turns out to have been
 * shorter than the longest budget, and is halved when it was longer: a guest that pages is polled
 * through, one that rests costs one short poll for each time that it wakes up.
 */
#ifndef DILOS_AGENT_POLL_BUDGET_H
#define DILOS_AGENT_POLL_BUDGET_H

#include <stdint.h>

#define POLL_BUDGET_GROWTH 20u /* the longest is so many times the shortest */

struct poll_budget {
    uint64_t ns; /* the budget now */
    uint64_t min_ns;
    uint64_t max_ns;
};

void poll_budget_init(struct poll_budget *budget, uint64_t min_ns);
/* A sleep has ended after `slept_ns`. */
void poll_budget_slept(struct poll_budget *budget, uint64_t slept_ns);

#endif
