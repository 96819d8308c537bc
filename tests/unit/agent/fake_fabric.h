/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fabric in this process's memory, in place of lib/fabric: slabs are found by node and index,
 * completions come late and in any order, and nodes can die. Slabs are scrubbed when they are
 * granted, as a memory node does.
 */
#ifndef DILOS_TESTS_AGENT_FAKE_FABRIC_H
#define DILOS_TESTS_AGENT_FAKE_FABRIC_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_NODES      4u
#define FAKE_NODE_SLABS 64u
#define FAKE_SLAB_BYTES (1u << 20)

/* Shared with the thread that uses the fabric: only through atomics. */
struct fake_fabric {
    bool dead[FAKE_NODES];    /* every operation fails, none reaches the memory */
    bool refuses[FAKE_NODES]; /* connections */
    bool silent;              /* nothing completes */
    uint32_t busy_permille;   /* posts that answer -EAGAIN */
    uint32_t delay_polls_max; /* completions wait for so many polls */
    uint32_t repeat_permille; /* polls that bring an earlier completion once more */
    uint32_t repeats;         /* so many were */
    uint32_t attached;        /* slabs */
    uint64_t reads, writes;   /* operations */
    uint64_t bytes_read, bytes_written;
};
extern struct fake_fabric fake_fabric;

/* Fills every slab with rubbish: what was never written must not be read. */
void fake_fabric_reset(void);

#endif
