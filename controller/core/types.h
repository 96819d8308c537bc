/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller knows, as plain structures. Their states are in controller/core/states.h. */
#ifndef DILOS_CONTROLLER_CORE_TYPES_H
#define DILOS_CONTROLLER_CORE_TYPES_H

#include <stdbool.h>
#include <stdint.h>

#include "controller/core/limits.h"
#include "controller/core/states.h"

#define CORE_NONE UINT32_MAX /* no slot */

struct label {
    char key[CORE_NAME_BYTES];
    char value[CORE_NAME_BYTES];
};

struct labels {
    uint32_t count;
    struct label items[CORE_LABELS_MAX];
};

/* How a memory node's data is reached; empty texts: not offered. */
struct endpoint {
    char host_id[CORE_ID_BYTES];
    char tcp_address[CORE_ADDRESS_BYTES];
    char shm_path[CORE_ADDRESS_BYTES];
    char verbs_address[CORE_ADDRESS_BYTES];
};

struct node {
    bool used;
    enum node_state state;
    bool cordoned; /* gets no new slabs */
    char name[CORE_NAME_BYTES];
    char node_id[CORE_ID_BYTES];
    char arena_id[CORE_ID_BYTES];
    char host[CORE_NAME_BYTES];
    struct labels labels;
    uint64_t slab_bytes;
    uint32_t slab_count;
    struct endpoint endpoint;
};

struct slab {
    uint64_t generation; /* of the grant; 0: free */
    uint16_t owner;      /* instance slot + 1; 0: none, or forgotten while revoking */
    uint8_t state;       /* enum slab_state */
};

struct agent {
    bool used;
    bool up; /* has a session, or may still come back within the grace time */
    char name[CORE_NAME_BYTES];
    char agent_id[CORE_ID_BYTES];
    char host[CORE_NAME_BYTES];
    char host_id[CORE_ID_BYTES];
    char accelerator[CORE_KIND_BYTES];
    struct labels labels;
    uint64_t memory_bytes;
    uint32_t cpu_count;
};

struct instance {
    bool used;
    enum instance_state state;
    uint64_t serial; /* never used twice, unlike the slot */
    char name[CORE_NAME_BYTES];
    char instance_id[CORE_ID_BYTES];
    uint32_t agent; /* slot */
    uint64_t local_bytes;
    uint64_t far_bytes;
    char exit_kind[CORE_KIND_BYTES];
    int32_t exit_code;
    char reason[CORE_REASON_BYTES];
    char lost[CORE_REASON_BYTES]; /* how slabs of it were lost; empty: none was */
    uint64_t created_ns;          /* since 1970; 0: not yet */
    uint64_t started_ns;
    uint64_t ended_ns;
};

/* The instance's specification as it came, opaque here. */
struct instance_spec {
    uint32_t bytes;
    uint8_t data[CORE_SPEC_BYTES];
};

/* A request that was answered (or is being answered), so that its repetition gets the same. */
struct request_key {
    uint8_t key[CORE_KEY_BYTES];
    uint64_t serial;     /* of the instance; 0: empty entry */
    uint64_t generation; /* of an acquired set of slabs; 0: a launch */
};

struct history {
    uint64_t index; /* from 1; 0: empty entry */
    uint64_t time_ns;
    char kind[CORE_KIND_BYTES];
    char subject[CORE_NAME_BYTES];
    char detail[CORE_REASON_BYTES];
};

/* A run of slabs of one node that are in one state, of one owner and generation. */
struct extent {
    uint32_t node; /* slot */
    uint32_t first;
    uint32_t count;
    enum slab_state state;
    uint32_t owner; /* instance slot + 1, or 0 */
    uint64_t generation;
};

/* Copies as much as fits and ends it with NUL. */
void core_text(char *to, uint32_t bytes, const char *from);

#endif
