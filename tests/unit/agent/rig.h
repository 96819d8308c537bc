/* SPDX-License-Identifier: Apache-2.0 */
/* A far device with a front end, and a controller that grants slabs of the fake fabric. */
#ifndef DILOS_TESTS_AGENT_RIG_H
#define DILOS_TESTS_AGENT_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/far_device.h"
#include "tests/unit/agent/fake_fabric.h"
#include "tests/unit/agent/front_end.h"

#define RIG_WAIT_MS 20000u

struct rig {
    struct far_device *device;
    struct front_end front;
    char path[64];
    /* the controller */
    bool away;      /* asks stay unanswered */
    uint32_t owed;  /* slabs asked for while away */
    bool full;      /* asks are refused */
    uint32_t nodes; /* grants go round these */
    uint32_t next_node;
    bool granted[FAKE_NODES][FAKE_NODE_SLABS];
    uint64_t generation;
    /* what the device said */
    uint32_t asks, releases, refusals;
    uint32_t lost, broken, stopped, notes;
    char text[256];
    struct far_live live;
    bool has_live;
};

bool rig_open(struct rig *rig, uint64_t far_bytes, uint64_t features, uint16_t ring_start);
/* The same, where answers are held for delay_ns. */
bool rig_open_delayed(struct rig *rig, uint64_t far_bytes, uint64_t features, uint64_t delay_ns);
void rig_close(struct rig *rig);
/* Answers what the device has asked for. */
void rig_pump(struct rig *rig);
/* Waits for one answer of the queue while the controller works. False: none came. */
bool rig_wait(struct rig *rig, uint32_t queue, struct front_done *ret);
/* Until *value is at least `least`. */
bool rig_wait_for(struct rig *rig, const uint32_t *value, uint32_t least);
/* One request on queue 0 with one segment of the front end's memory; its status, or -1. */
int rig_do(struct rig *rig, uint32_t type, uint64_t offset, uint32_t memory_offset, uint32_t bytes);
int rig_discard(struct rig *rig, uint32_t type, uint64_t offset, uint64_t bytes);
/* Until exactly `count` slabs are granted. */
bool rig_wait_granted(struct rig *rig, uint32_t count);
uint32_t rig_granted(const struct rig *rig);

#endif
