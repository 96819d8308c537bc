/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a thread polls in vain before it sleeps. To be woken takes longer than most pauses
 * between two requests, so the budget doubles when a wait turns out to have been short, and is
 * halved when it was long: who is busy is polled through, one that rests costs one short poll for
 * each time that it wakes up.
 */
#ifndef DILOS_LIB_SYS_POLL_BUDGET_H
#define DILOS_LIB_SYS_POLL_BUDGET_H

#include <stdint.h>

struct poll_budget {
    uint64_t ns; /* the budget now: min_ns to max_ns */
    uint64_t min_ns;
    uint64_t max_ns;
    uint64_t short_ns; /* a wait below it was short */
};

/* Begins with the shortest. */
void poll_budget_init(struct poll_budget *budget, uint64_t min_ns, uint64_t max_ns,
                      uint64_t short_ns);
/* A wait has ended after `waited_ns`. */
void poll_budget_waited(struct poll_budget *budget, uint64_t waited_ns);

#endif
