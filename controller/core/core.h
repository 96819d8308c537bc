/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller's mind. Pure: no I/O, clock, randomness, log or allocation; it lives in one block
 * of zeroed memory that the caller gives (core_bytes). Not thread safe.
 *
 * Two halves:
 * - the state proper (members, slabs, instances, request keys, history), changed only by
 *   core_apply() of a command. Commands are logged; the same commands give the same state.
 * - what is true only while this process runs (sessions, requests on their way: core/flow.h).
 *
 * An event goes through core_decide(), which gives a command, a refusal or nothing, and never
 * changes anything. core_step() (core/flow.h) ties all this together.
 */
#ifndef DILOS_CONTROLLER_CORE_CORE_H
#define DILOS_CONTROLLER_CORE_CORE_H

#include <stddef.h>

#include "controller/core/types.h"
#include "lib/base/bitmap.h"
#include "lib/base/compiler.h"

/* How long silence is tolerated. */
struct core_times {
    uint32_t heartbeat_ms;   /* members are asked to speak so often */
    uint32_t suspect_ms;     /* a memory node's silence until it gets no new slabs */
    uint32_t down_ms;        /* a memory node's silence until its session is closed */
    uint32_t agent_grace_ms; /* without a session, until an agent's instances are given up */
};

struct core_now {
    uint64_t mono_ms; /* for deadlines; only differences mean something */
    uint64_t wall_ns; /* since 1970, for records */
};

/* Derived from a node's slab table. */
struct node_slabs {
    uint32_t count[SLAB_STATE_COUNT];
    uint32_t top;       /* every slab from here on is free */
    uint32_t host_slot; /* lowest node slot with the same host */
    uint32_t dirty_first, dirty_end;
};

/* While this process runs: a memory node's session. */
struct node_link {
    uint64_t session; /* 0: none */
    uint64_t seen_ms;
    char address[CORE_ADDRESS_BYTES];
    bool revoke_sent; /* at most one revocation is on its way */
    uint64_t revoke_after_ms;
    uint32_t revoke_count;
    uint32_t revoke_slabs[CORE_REVOKE_SLABS_MAX];
};

struct agent_link {
    uint64_t session; /* 0: none */
    uint64_t seen_ms; /* without a session: when it was lost */
    char address[CORE_ADDRESS_BYTES];
};

struct acquired_slab {
    uint32_t node;
    uint32_t index;
    bool waiting; /* the memory node has not answered */
    bool granted;
    uint8_t key[CORE_KEY_BYTES]; /* never logged or stored; wiped when the request is done */
};

/* While this process runs: a request for slabs that waits for memory nodes. */
struct acquire {
    bool used;
    bool again;   /* a repeated request: the slabs are granted already, only keys are asked for */
    bool replied; /* its reply is on the way out; freed by core_acquire_done */
    uint64_t token;
    uint64_t generation;
    uint64_t serial; /* of the instance */
    uint32_t instance;
    uint32_t wanted;
    uint32_t tries;
    uint8_t key[CORE_KEY_BYTES];
    uint64_t failed_nodes[BITMAP_WORDS(CORE_NODES_MAX)];
    char failure[CORE_REASON_BYTES]; /* what the last failing memory node said */
    uint32_t slab_count;
    struct acquired_slab slabs[CORE_ACQUIRE_SLABS_MAX];
};

/* Which records differ from what the store has. */
struct core_dirty {
    uint64_t nodes[BITMAP_WORDS(CORE_NODES_MAX)];
    uint64_t agents[BITMAP_WORDS(CORE_AGENTS_MAX)];
    uint64_t instances[BITMAP_WORDS(CORE_INSTANCES_MAX)];
    uint64_t specs[BITMAP_WORDS(CORE_INSTANCES_MAX)];
    uint64_t keys[BITMAP_WORDS(CORE_KEYS_MAX)];
    uint64_t history[BITMAP_WORDS(CORE_HISTORY_MAX)];
};

/* Numbers that only grow. */
struct core_meta {
    char cluster_id[CORE_ID_BYTES];
    uint64_t epoch;
    uint64_t applied_index;   /* commands applied */
    uint64_t next_generation; /* from 1 */
    uint64_t next_serial;     /* from 1 */
    uint64_t history_count;
    uint64_t key_count;
};

struct core {
    struct core_times times;
    uint32_t slabs_per_node;

    struct core_meta meta;
    struct node nodes[CORE_NODES_MAX];
    struct agent agents[CORE_AGENTS_MAX];
    struct instance instances[CORE_INSTANCES_MAX];
    struct instance_spec specs[CORE_INSTANCES_MAX];
    struct request_key keys[CORE_KEYS_MAX];
    struct history history[CORE_HISTORY_MAX];

    struct node_slabs slabs_of[CORE_NODES_MAX];
    uint32_t owned[CORE_INSTANCES_MAX][CORE_NODES_MAX]; /* slabs with this owner, in any state */
    uint32_t held[CORE_INSTANCES_MAX];                  /* of those, reserved or granted */
    struct core_dirty dirty;

    uint64_t booted_ms;
    struct node_link node_links[CORE_NODES_MAX];
    struct agent_link agent_links[CORE_AGENTS_MAX];
    bool missing[CORE_INSTANCES_MAX]; /* its agent registered without it */
    struct acquire acquires[CORE_ACQUIRES_MAX];
    uint64_t refused_count;

    struct slab slabs[]; /* slabs_per_node for each node slot */
};

/* Bytes of a core with so many slabs a node (1..CORE_SLABS_PER_NODE_MAX). */
size_t core_bytes(uint32_t slabs_per_node);
/* `memory`: core_bytes() of zeroes. */
struct core *core_init(void *memory, uint32_t slabs_per_node, const struct core_times *times);

/* Slots by name or id; CORE_NONE if there is none. */
uint32_t core_find_node(const struct core *core, const char *name);
uint32_t core_find_agent(const struct core *core, const char *name);
uint32_t core_find_instance(const struct core *core, const char *name);
uint32_t core_find_instance_id(const struct core *core, const char *instance_id);
uint32_t core_find_serial(const struct core *core, uint64_t serial);
uint32_t core_node_of_session(const struct core *core, uint64_t session);
uint32_t core_agent_of_session(const struct core *core, uint64_t session);
/* The entry of a remembered request, or NULL. */
const struct request_key *core_find_key(const struct core *core, const uint8_t *key);

/*
 * Slab size of the pool: of the nodes that are connected or hold something; 0 if there is none.
 * `except`: a node slot that doesn't count.
 */
uint64_t core_pool_slab_bytes(const struct core *core, uint32_t except);
/* Up, with a session, not cordoned: may get slabs. */
bool core_node_usable(const struct core *core, uint32_t node);
uint64_t core_free_bytes(const struct core *core);
uint32_t core_live_count(const struct core *core, uint32_t agent);
/* How many slabs the instance may hold. */
uint32_t core_quota_slabs(const struct core *core, const struct instance *instance);

/* Forgets what differs from the store: everything was just stored or loaded. */
void core_clean(struct core *core);
/* Which nodes share a host, after node records changed. */
void core_derive_hosts(struct core *core);
/* After loading: makes all that is derived from the slab tables and node records. */
void core_derive(struct core *core);

#endif
