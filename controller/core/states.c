/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/core/states.h"

#include "lib/base/check.h"
#include "lib/base/state.h"

#define TO(state) STATE_TO(state)

static const uint32_t slab_moves[SLAB_STATE_COUNT] = {
    /* REVOKING: its memory node says that it is granted, and nobody here knows to whom. */
    [SLAB_FREE] = TO(SLAB_RESERVED) | TO(SLAB_REVOKING),
    /* REVOKING: the memory node refused, did not answer, or the instance ended meanwhile. */
    [SLAB_RESERVED] = TO(SLAB_GRANTED) | TO(SLAB_REVOKING) | TO(SLAB_LOST),
    [SLAB_GRANTED] = TO(SLAB_MIGRATING) | TO(SLAB_REVOKING) | TO(SLAB_LOST),
    [SLAB_MIGRATING] = TO(SLAB_GRANTED) | TO(SLAB_REVOKING) | TO(SLAB_LOST),
    /* FREE: memory nodes scrub before they acknowledge. */
    [SLAB_REVOKING] = TO(SLAB_SCRUBBING) | TO(SLAB_FREE),
    [SLAB_SCRUBBING] = TO(SLAB_FREE),
    [SLAB_LOST] = TO(SLAB_FREE) | TO(SLAB_REVOKING),
};

static const uint32_t node_moves[NODE_STATE_COUNT] = {
    [NODE_JOINING] = TO(NODE_UP) | TO(NODE_DOWN) | TO(NODE_GONE),
    /* JOINING, here and below: the controller started again. */
    [NODE_UP] = TO(NODE_SUSPECT) | TO(NODE_DOWN) | TO(NODE_DRAINING) | TO(NODE_JOINING),
    [NODE_SUSPECT] = TO(NODE_UP) | TO(NODE_DOWN) | TO(NODE_JOINING),
    [NODE_DOWN] = TO(NODE_UP) | TO(NODE_GONE) | TO(NODE_JOINING),
    [NODE_DRAINING] = TO(NODE_DRAINED) | TO(NODE_UP) | TO(NODE_DOWN) | TO(NODE_JOINING),
    [NODE_DRAINED] = TO(NODE_UP) | TO(NODE_DOWN) | TO(NODE_GONE) | TO(NODE_JOINING),
    [NODE_GONE] = TO(NODE_UP),
};

static const uint32_t instance_moves[INSTANCE_STATE_COUNT] = {
    [INSTANCE_PENDING] = TO(INSTANCE_PLACING) | TO(INSTANCE_FAILED),
    [INSTANCE_PLACING] = TO(INSTANCE_STARTING) | TO(INSTANCE_FAILED),
    [INSTANCE_STARTING] =
        TO(INSTANCE_RUNNING) | TO(INSTANCE_STOPPING) | TO(INSTANCE_EXITED) | TO(INSTANCE_FAILED),
    [INSTANCE_RUNNING] = TO(INSTANCE_STOPPING) | TO(INSTANCE_EXITED) | TO(INSTANCE_FAILED),
    [INSTANCE_STOPPING] = TO(INSTANCE_EXITED) | TO(INSTANCE_FAILED),
    [INSTANCE_EXITED] = 0,
    [INSTANCE_FAILED] = 0,
};

bool slab_may_move(enum slab_state from, enum slab_state to)
{
    return state_may_move(slab_moves, from, to);
}

bool node_may_move(enum node_state from, enum node_state to)
{
    return state_may_move(node_moves, from, to);
}

bool instance_may_move(enum instance_state from, enum instance_state to)
{
    return state_may_move(instance_moves, from, to);
}

const char *slab_state_name(enum slab_state state)
{
    static const char *const names[SLAB_STATE_COUNT] = {
        "free", "reserved", "granted", "migrating", "revoking", "scrubbing", "lost"};
    CHECK(state < SLAB_STATE_COUNT);
    return names[state];
}

const char *node_state_name(enum node_state state)
{
    static const char *const names[NODE_STATE_COUNT] = {"joining",  "up",      "suspect", "down",
                                                        "draining", "drained", "gone"};
    CHECK(state < NODE_STATE_COUNT);
    return names[state];
}

const char *instance_state_name(enum instance_state state)
{
    static const char *const names[INSTANCE_STATE_COUNT] = {
        "pending", "placing", "starting", "running", "stopping", "exited", "failed"};
    CHECK(state < INSTANCE_STATE_COUNT);
    return names[state];
}
