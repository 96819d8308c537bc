/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says about itself: counters and health codes, as messages. */
#ifndef DILOS_MEMNODE_REPORT_H
#define DILOS_MEMNODE_REPORT_H

#include "memnode/node.h"
#include "proto/dilos.pb-c.h"

#define REPORT_COUNTERS   20u
#define REPORT_HEALTH     10u
#define REPORT_TEXT_BYTES 192u

/* Holds everything that the messages point to. Don't copy. */
struct report {
    Dilos__Counter counters[REPORT_COUNTERS];
    Dilos__Counter *counter_list[REPORT_COUNTERS];
    uint32_t counter_count;
    Dilos__Health health[REPORT_HEALTH];
    Dilos__Health *health_list[REPORT_HEALTH];
    char detail[REPORT_HEALTH][REPORT_TEXT_BYTES];
    char remedy[REPORT_HEALTH][REPORT_TEXT_BYTES];
    uint32_t health_count;
};

void report_fill(struct report *report, const struct node *node);

#endif
