/* SPDX-License-Identifier: Apache-2.0 */
/* Life cycles of slabs, memory nodes and instances. The numbers are those of proto/dilos.proto. */
#ifndef DILOS_CONTROLLER_CORE_STATES_H
#define DILOS_CONTROLLER_CORE_STATES_H

#include <stdbool.h>
#include <stdint.h>

enum slab_state {
    SLAB_FREE,      /* Zeroed, and no key for it exists anywhere. */
    SLAB_RESERVED,  /* Chosen for an instance; its memory node was asked and has not answered. */
    SLAB_GRANTED,   /* The instance's agent has, or may have, a key that works. */
    SLAB_MIGRATING, /* Granted, and being copied to another slab. */
    SLAB_REVOKING,  /* Taken back; a key may work until the memory node acknowledges. */
    SLAB_SCRUBBING, /* No key works, but the contents are not zeroed yet. */
    SLAB_LOST, /* Was granted, and its contents are gone; a key may still have to be revoked. */
    SLAB_STATE_COUNT
};

enum node_state {
    NODE_JOINING,  /* Known, and has not registered since the controller started. */
    NODE_UP,       /* Registered, heartbeats are in time. */
    NODE_SUSPECT,  /* Heartbeats are late; it gets no new slabs. */
    NODE_DOWN,     /* No session: nothing can be granted or revoked there. */
    NODE_DRAINING, /* Up, and its slabs are being moved away. */
    NODE_DRAINED,  /* Up, and holds nothing. */
    NODE_GONE,     /* Removed by the operator; remembered for the history. */
    NODE_STATE_COUNT
};

enum instance_state {
    INSTANCE_PENDING,  /* Accepted, no agent is chosen. */
    INSTANCE_PLACING,  /* An agent is being chosen. */
    INSTANCE_STARTING, /* Its agent was told to start it. */
    INSTANCE_RUNNING,  /* The agent says that the guest runs. */
    INSTANCE_STOPPING, /* The operator asked for its end. */
    INSTANCE_EXITED,   /* The program ended by itself, whatever its status. */
    INSTANCE_FAILED,   /* Ended for another reason, which is recorded. */
    INSTANCE_STATE_COUNT
};

bool slab_may_move(enum slab_state from, enum slab_state to);
bool node_may_move(enum node_state from, enum node_state to);
bool instance_may_move(enum instance_state from, enum instance_state to);

const char *slab_state_name(enum slab_state state);
const char *node_state_name(enum node_state state);
const char *instance_state_name(enum instance_state state);

static inline bool instance_ended(enum instance_state state)
{
    return state == INSTANCE_EXITED || state == INSTANCE_FAILED;
}

/* The agent may use a key of this slab, as far as the controller knows. */
static inline bool slab_is_held(enum slab_state state)
{
    return state == SLAB_RESERVED || state == SLAB_GRANTED || state == SLAB_MIGRATING;
}

#endif
