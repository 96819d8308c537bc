/* SPDX-License-Identifier: Apache-2.0 */
/* What happens to the controller, and what it decides about it. Part of the core. */
#ifndef DILOS_CONTROLLER_CORE_EVENT_H
#define DILOS_CONTROLLER_CORE_EVENT_H

#include "controller/core/command.h"

enum core_event_kind {
    CORE_TICK,            /* time has passed */
    CORE_BOOT,            /* once, after loading: cluster_id (used if there is none yet) */
    CORE_NODE_REGISTER,   /* session, node, address, epoch_seen, held: reply */
    CORE_NODE_HEARTBEAT,  /* session */
    CORE_NODE_CLOSED,     /* session, reason */
    CORE_ACCESS_REFUSED,  /* session, access: reply */
    CORE_AGENT_REGISTER,  /* session, agent, address, epoch_seen, names: all that it runs: reply */
    CORE_AGENT_HEARTBEAT, /* session */
    CORE_AGENT_CLOSED,    /* session, reason */
    CORE_REPORT,          /* session, instance_id, state, exit_kind, exit_code, reason: reply */
    CORE_LAUNCH,          /* key, name, instance_id (new), agent_name, sizes, spec: reply */
    CORE_START_DONE,      /* instance_id, error: the agent's answer: reply */
    CORE_STOP,            /* name, grace_ms: reply */
    CORE_REMOVE,          /* name: reply */
    CORE_RESIZE,      /* instance_id, sizes, spec: its agent has done it: reply; reason: a setting
                       * was changed, that one, not a size */
    CORE_ACQUIRE,     /* session, key, instance_id, slab_count: reply */
    CORE_GRANT_DONE,  /* acquire, generation, node_slot, error, keys */
    CORE_RELEASE,     /* session, instance_id, released: reply */
    CORE_REVOKE_DONE, /* session, error */
    CORE_EVENT_COUNT
};

/* The numbers of ErrorCode in proto/dilos.proto. */
enum core_error {
    CORE_ERROR_INTERNAL,
    CORE_ERROR_INVALID,
    CORE_ERROR_NOT_FOUND,
    CORE_ERROR_EXISTS,
    CORE_ERROR_REFUSED,
    CORE_ERROR_UNAVAILABLE,
    CORE_ERROR_VERSION,
    CORE_ERROR_STALE_EPOCH,
    CORE_ERROR_TIMEOUT,
};

struct refusal {
    enum core_error code;
    char message[CORE_REASON_BYTES];
    char remedy[CORE_REASON_BYTES];
};

struct held_slab {
    uint32_t index;
    uint64_t generation;
};

struct released_slab {
    const char *node;
    uint32_t index;
    uint64_t generation;
};

/* The numbers of RefusedKind in proto/dilos.proto. */
enum core_refused_kind {
    CORE_REFUSED_UNKNOWN,
    CORE_REFUSED_WRONG_KEY,
    CORE_REFUSED_OLD_KEY,
    CORE_REFUSED_READ_ONLY,
    CORE_REFUSED_BEYOND_END,
    CORE_REFUSED_NOT_ATTACHED,
    CORE_REFUSED_BY_DEVICE,
    CORE_REFUSED_COUNT
};

/* What a memory node did not let somebody do. */
struct refused_access {
    enum core_refused_kind kind; /* as the node said it: may be any number */
    const char *fabric;
    const char *instance_id; /* empty: not known */
    const char *peer;        /* address; empty: not known */
    bool slab_known;
    uint32_t slab_index;
    uint64_t count;
};

/* Pointers are the caller's and only used during the call. */
struct core_event {
    enum core_event_kind kind;
    uint64_t token;   /* whom to answer; 0: nobody */
    uint64_t session; /* of a memory node or agent; never used twice */
    uint64_t epoch_seen;
    const char *cluster_id;
    const char *name;
    const char *agent_name; /* wanted; empty: any */
    const char *instance_id;
    const char *address;
    const char *reason;
    const char *exit_kind;
    int32_t exit_code;
    enum instance_state state;
    const struct node *node;
    const struct agent *agent;
    const struct held_slab *held;
    uint32_t held_count;
    const char *const *names; /* instance ids */
    uint32_t name_count;
    const uint8_t *key;
    uint64_t local_bytes, far_bytes;
    const uint8_t *spec;
    uint32_t spec_bytes;
    uint32_t grace_ms;
    uint32_t slab_count;
    const struct released_slab *released;
    uint32_t released_count;
    uint32_t acquire;
    uint64_t generation;
    uint32_t node_slot;
    const uint8_t (*keys)[CORE_KEY_BYTES]; /* in the order of the acquire's slabs on that node */
    const struct refusal *error;           /* NULL: it went well */
    const struct refused_access *access;
};

enum decision_kind { DECISION_NOTHING, DECISION_COMMAND, DECISION_REFUSE };

struct decision {
    enum decision_kind kind;
    struct command command;
    struct refusal refusal;
    uint64_t seen[BITMAP_WORDS(CORE_SLABS_PER_NODE_MAX)]; /* scratch */
};

/*
 * Whether an instance may have these sizes, as far as the pool is concerned. False: *ret says why
 * not.
 */
bool core_may_resize(const struct core *core, uint32_t instance, uint64_t local_bytes,
                     uint64_t far_bytes, struct refusal *ret);

/*
 * What to do about an event. `ret` is the caller's, since it is large. CORE_TICK gives one command
 * at a time; ask again after applying it until there is none.
 */
void core_decide(const struct core *core, const struct core_event *event, struct core_now now,
                 struct decision *ret);

#endif
