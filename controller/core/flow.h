/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One step of the controller: an event is decided, its command applied and handed out for the log,
 * and what has to be done about it is queued as actions. Whoever performs the actions must first
 * make the commands durable. Part of the core.
 */
#ifndef DILOS_CONTROLLER_CORE_FLOW_H
#define DILOS_CONTROLLER_CORE_FLOW_H

#include "controller/core/event.h"

enum action_kind {
    ACTION_REPLY_EMPTY,
    ACTION_REPLY_ERROR,    /* refusal */
    ACTION_REPLY_NODE,     /* a memory node is registered: node */
    ACTION_REPLY_AGENT,    /* an agent is registered: agent */
    ACTION_REPLY_INSTANCE, /* instance */
    ACTION_REPLY_SLABS, /* acquire: its granted slabs with their keys; core_acquire_done() after */
    ACTION_GRANT,  /* acquire, generation, node: ask; CORE_GRANT_DONE must follow, exactly one */
    ACTION_REVOKE, /* session, node: ask for node_links[node].revoke_slabs; CORE_REVOKE_DONE */
    ACTION_START,  /* token, agent, instance_id: ask; CORE_START_DONE with that token must follow */
    ACTION_SIGNAL, /* agent, instance_id, signal, grace_ms; no answer is waited for */
    ACTION_CLOSE,  /* session: it is dead or replaced; its CLOSED event will be ignored */
    ACTION_CHANGED, /* instance changed its state, or (CORE_NONE) was removed: instance_id */
};

struct action {
    enum action_kind kind;
    uint64_t token;
    uint64_t session;
    uint64_t generation;
    uint32_t node, agent, instance, acquire; /* slots */
    uint32_t signal, grace_ms;
    char instance_id[CORE_ID_BYTES];
    struct refusal refusal;
};

/* A step queues fewer than this. */
#define ACTIONS_PER_STEP (4 * CORE_INSTANCES_MAX + 4 * CORE_NODES_MAX + 64)
#define ACTIONS_MAX      (2 * ACTIONS_PER_STEP)

struct action_queue {
    uint32_t count;
    struct action items[ACTIONS_MAX];
};

/* Called for each command after it was applied. */
typedef void core_log(void *context, struct command *command);

/*
 * `actions` has room for ACTIONS_PER_STEP. Also does what time and state demand by themselves:
 * members whose silence is too long, instances that lost their memory or agent, revocations.
 */
void core_step(struct core *core, const struct core_event *event, struct core_now now,
               struct decision *scratch, struct action_queue *actions, core_log *log,
               void *context);

/* After ACTION_REPLY_SLABS was performed: wipes the keys. */
void core_acquire_done(struct core *core, uint32_t acquire);

/* Signals of Linux that the controller sends. */
#define CORE_SIGKILL 9u
#define CORE_SIGTERM 15u

#define CORE_GRACE_DEFAULT_MS 10000u

#endif
