/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A core for tests, with members that register by one call; what it does is kept in `actions` and
 * `last`. Memory is mapped fresh.
 */
#ifndef DILOS_TESTS_UNIT_CONTROLLER_CORE_RIG_H
#define DILOS_TESTS_UNIT_CONTROLLER_CORE_RIG_H

#include <stdlib.h>
#include <sys/mman.h>

#include "controller/core/codec.h"
#include "controller/core/flow.h"
#include "controller/core/slabs.h"
#include "tests/tap.h"

#define RIG_SLABS 64u

struct rig {
    struct core *core;
    struct decision *scratch;
    struct action_queue *actions;
    uint32_t command_count;
    uint64_t now_ms;
    uint64_t session;
};

static void rig_log(void *context, struct command *command)
{
    struct rig *rig = context;
    rig->command_count++;
    (void)command;
}

static inline void rig_event(struct rig *rig, struct core_event event)
{
    struct core_now now = {.mono_ms = rig->now_ms, .wall_ns = rig->now_ms * 1000000};
    rig->actions->count = 0;
    core_step(rig->core, &event, now, rig->scratch, rig->actions, rig_log, rig);
}

static inline void rig_init(struct rig *rig)
{
    static const struct core_times times = {1000, 3000, 10000, 10000};
    memset(rig, 0, sizeof(*rig));
    void *memory = mmap(NULL, core_bytes(RIG_SLABS), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    rig->core = core_init(memory, RIG_SLABS, &times);
    rig->scratch = calloc(1, sizeof(*rig->scratch));
    rig->actions = calloc(1, sizeof(*rig->actions));
    rig->now_ms = 1000;
    rig_event(rig, (struct core_event){.kind = CORE_BOOT, .cluster_id = "test"});
}

static inline void rig_fini(struct rig *rig)
{
    (void)munmap(rig->core, core_bytes(RIG_SLABS));
    free(rig->scratch);
    free(rig->actions);
}

static inline const struct action *rig_find(const struct rig *rig, enum action_kind kind)
{
    for (uint32_t i = 0; i < rig->actions->count; i++) {
        if (rig->actions->items[i].kind == kind) {
            return &rig->actions->items[i];
        }
    }
    return NULL;
}

/* The refusal of the last event; NULL if there is none. */
static inline const struct refusal *rig_refusal(const struct rig *rig)
{
    const struct action *action = rig_find(rig, ACTION_REPLY_ERROR);
    return action == NULL ? NULL : &action->refusal;
}

/* Returns the session. */
static inline uint64_t rig_node(struct rig *rig, const char *name, const char *id,
                                const char *arena, const char *host, uint32_t slabs)
{
    struct node node = {.slab_bytes = MIB, .slab_count = slabs};
    core_text(node.name, sizeof(node.name), name);
    core_text(node.node_id, sizeof(node.node_id), id);
    core_text(node.arena_id, sizeof(node.arena_id), arena);
    core_text(node.host, sizeof(node.host), host);
    rig_event(rig, (struct core_event){.kind = CORE_NODE_REGISTER,
                                       .token = 1,
                                       .session = ++rig->session,
                                       .node = &node,
                                       .address = "10.0.0.1:99"});
    return rig->session;
}

static inline uint64_t rig_agent(struct rig *rig, const char *name, const char *const *running,
                                 uint32_t count)
{
    struct agent agent = {.cpu_count = 1};
    core_text(agent.name, sizeof(agent.name), name);
    core_text(agent.agent_id, sizeof(agent.agent_id), name);
    rig_event(rig, (struct core_event){.kind = CORE_AGENT_REGISTER,
                                       .token = 2,
                                       .session = ++rig->session,
                                       .agent = &agent,
                                       .address = "unix",
                                       .names = running,
                                       .name_count = count});
    return rig->session;
}

/* The name is the instance id too. */
static inline void rig_launch(struct rig *rig, const char *name, uint64_t far_bytes, uint8_t key)
{
    const uint8_t keys[CORE_KEY_BYTES] = {key, 1};
    rig_event(rig, (struct core_event){.kind = CORE_LAUNCH,
                                       .token = 3,
                                       .key = keys,
                                       .name = name,
                                       .instance_id = name,
                                       .agent_name = "",
                                       .local_bytes = MIB,
                                       .far_bytes = far_bytes,
                                       .spec = keys,
                                       .spec_bytes = sizeof(keys)});
}

static inline void rig_acquire(struct rig *rig, uint64_t session, const char *id, uint32_t slabs,
                               uint8_t key)
{
    const uint8_t keys[CORE_KEY_BYTES] = {key, 2};
    rig_event(rig, (struct core_event){.kind = CORE_ACQUIRE,
                                       .token = 4,
                                       .session = session,
                                       .key = keys,
                                       .instance_id = id,
                                       .slab_count = slabs});
}

/* Answers all grants that the last event asked for; the last of them has the reply. */
static inline void rig_grant(struct rig *rig, bool ok)
{
    static const uint8_t keys[CORE_ACQUIRE_SLABS_MAX][CORE_KEY_BYTES] = {{7}};
    static const struct refusal no = {.code = CORE_ERROR_UNAVAILABLE, .message = "no"};
    struct action asked[CORE_NODES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < rig->actions->count; i++) {
        if (rig->actions->items[i].kind == ACTION_GRANT) {
            asked[count++] = rig->actions->items[i];
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        rig_event(rig, (struct core_event){.kind = CORE_GRANT_DONE,
                                           .acquire = asked[i].acquire,
                                           .generation = asked[i].generation,
                                           .node_slot = asked[i].node,
                                           .error = ok ? NULL : &no,
                                           .keys = keys});
    }
}

static inline void rig_report(struct rig *rig, uint64_t session, const char *id,
                              enum instance_state state)
{
    rig_event(rig, (struct core_event){.kind = CORE_REPORT,
                                       .token = 5,
                                       .session = session,
                                       .instance_id = id,
                                       .state = state,
                                       .exit_kind = "exited",
                                       .reason = ""});
}

#endif
