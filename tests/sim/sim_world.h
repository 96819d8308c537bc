/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller's simulation is made of: members, messages, time (sim_controller.c). */
#ifndef DILOS_TESTS_SIM_SIM_WORLD_H
#define DILOS_TESTS_SIM_SIM_WORLD_H

#include "controller/core/slabs.h"
#include "controller/engine.h"
#include "lib/base/check.h"

#define NODES        4
#define SLABS        24
#define AGENTS       3
#define RUNNING_MAX  6 /* per agent */
#define HELD_MAX     64
#define MESSAGES_MAX 4096
#define STEPS        1200
#define SEEDS        24

enum message_kind {
    GRANT,
    REVOKE,
    GRANT_ANSWER,
    REVOKE_ANSWER,
    START,
    START_ANSWER,
    SIGNAL,
    SLABS_REPLY
};

struct message {
    enum message_kind kind;
    uint64_t at_ms, session, generation, token;
    uint32_t acquire, node, count, signal;
    bool ok;
    uint8_t key[CORE_KEY_BYTES];
    uint32_t slabs[CORE_ACQUIRE_SLABS_MAX];
    uint64_t generations[CORE_ACQUIRE_SLABS_MAX];
    uint32_t nodes[CORE_ACQUIRE_SLABS_MAX];
    char instance_id[CORE_ID_BYTES];
};

struct sim_node {
    uint64_t session, arena, last_ms, epoch;
    uint64_t granted[SLABS]; /* generation; 0: to nobody */
    uint64_t highest[SLABS]; /* ever, in this arena */
};

struct held {
    uint32_t node, slab;
    uint64_t generation, arena;
};

struct running {
    char id[CORE_ID_BYTES];
    uint32_t held_count;
    bool asking;
    uint8_t key[CORE_KEY_BYTES];
    struct held held[HELD_MAX];
};

struct sim_agent {
    uint64_t session, life, last_ms, epoch;
    struct running running[RUNNING_MAX];
};

struct world {
    uint64_t random, now_ms, next_session, next_id;
    struct store *store;
    struct engine *engine;
    struct sim_node nodes[NODES];
    struct sim_agent agents[AGENTS];
    struct message *messages;
    uint32_t message_count;
    bool quiet;
    bool planted; /* the bug: revocations count as acknowledged when they are sent */
    uint32_t violations;
    uint32_t replies, launched, ended, restarts, slabs_given;
};

uint32_t pick(struct world *w, uint32_t below);
void violated(struct world *w, const char *what);
void event(struct world *w, struct core_event e);
void flush(struct world *w);
const char *node_name(uint32_t node);
const char *agent_name(uint32_t agent);
/* A message that arrives some time later, in order per session, as a stream gives them. */
struct message *post(struct world *w, uint64_t session, uint64_t *last_ms);

/* Answers to the controller's calls. */
extern const struct refusal lost;
void answer_grant(struct world *w, const struct message *m, bool ok);
void answer_start(struct world *w, const struct message *m, const struct refusal *error);
void agent_reports(struct world *w, uint64_t session, const char *id, enum instance_state state);

/* All messages whose time has come. */
void deliver_due(struct world *w);

#endif
