/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that uses its memory at random, and a model of what each page must hold. Every load
 * is compared with the model.
 */
#ifndef DILOS_TESTS_UNIT_UNIKERNEL_HAMMER_H
#define DILOS_TESTS_UNIT_UNIKERNEL_HAMMER_H

#include <stdint.h>

#include "computenode/unikernel/host/host.h"

struct hammer {
    struct host_config host;
    uint32_t page_count; /* of the window of addresses that it plays in, at most HAMMER_PAGES_MAX */
    uint32_t op_count;
    uint32_t map_ops_per_1000; /* of the operations, so many change mappings */
    bool errors; /* failures of the device are planted: an access that fails is tried again */
    bool no_remap;
};

#define HAMMER_PAGES_MAX  4096
#define HAMMER_FILE_PAGES 64

struct hammer_result {
    uint64_t wrong; /* loads, or results of calls, that differ from the model */
    uint64_t loads;
    uint64_t failures; /* accesses that failed with -EIO, -ENOSPC, -ENOMEM */
    struct gueststats stats;
    uint64_t violations;
    uint64_t far_pages_left; /* on the device after everything was unmapped */
};

void hammer_run(const struct hammer *h, struct hammer_result *ret);

#endif
