/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands: every change of the core's state is one. They are logged as bytes (codec.h) and
 * applied in order; applying depends on nothing but the state and the command.
 */
#ifndef DILOS_CONTROLLER_CORE_COMMAND_H
#define DILOS_CONTROLLER_CORE_COMMAND_H

#include "controller/core/core.h"

/* Numbers are stored: only ever add at the end. */
enum command_kind {
    COMMAND_NONE,
    COMMAND_BOOT,           /* a controller started: next epoch. cluster_id counts the first time */
    COMMAND_NODE_REGISTER,  /* new_node; extents: what has to be revoked or is lost */
    COMMAND_NODE_STATE,     /* node, state, reason */
    COMMAND_AGENT_REGISTER, /* new_agent */
    COMMAND_AGENT_DOWN,     /* agent, reason */
    COMMAND_LAUNCH,         /* key, new_instance (with agent), spec */
    COMMAND_INSTANCE_STATE, /* instance, state, exit_kind, exit_code, reason */
    COMMAND_RESERVE,        /* key, instance, generation, extents to reserve */
    COMMAND_GRANTED,        /* generation, extents: those still reserved under it are granted */
    COMMAND_GRANT_FAILED,   /* generation, extents: those still reserved under it are revoked */
    COMMAND_RELEASE,        /* extents (held, each with its generation) are revoked */
    COMMAND_REVOKED,        /* extents (revoking or lost) are free */
    COMMAND_REMOVE,         /* instance that has ended is forgotten */
    COMMAND_RESIZE,         /* instance, new_instance (sizes only), spec; reason: of a setting */
    COMMAND_ACCESS_REFUSED, /* node, state: 1 if instance counts, instance, reason */
    COMMAND_KIND_COUNT
};

struct command {
    enum command_kind kind;
    uint64_t time_ns;
    char cluster_id[CORE_ID_BYTES];
    uint32_t node, agent, instance; /* slots */
    uint32_t state;
    uint64_t generation; /* NODE_REGISTER: all that the node has seen are below */
    uint8_t key[CORE_KEY_BYTES];
    int32_t exit_code;
    char exit_kind[CORE_KIND_BYTES];
    char reason[CORE_REASON_BYTES];
    struct node new_node;
    struct agent new_agent;
    struct instance new_instance;
    struct instance_spec spec;
    uint32_t extent_count;
    struct extent extents[CORE_EXTENTS_MAX];
};

const char *command_name(enum command_kind kind);

/*
 * Makes the change. The command must come from core_decide() on this very state, or from the log in
 * its order (CHECK on what can't be otherwise). Nothing of core/flow.h is touched but acquires'
 * owners.
 */
void core_apply(struct core *core, const struct command *command);

#endif
