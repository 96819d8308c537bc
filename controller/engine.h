/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a core: events in, commands into the store, and only then actions out. All events between
 * two flushes share one transaction (group commit).
 */
#ifndef DILOS_CONTROLLER_ENGINE_H
#define DILOS_CONTROLLER_ENGINE_H

#include "controller/core/flow.h"
#include "controller/store.h"

struct engine;

struct engine_config {
    struct core_times times;
    uint32_t slabs_per_node;
    struct store *store;    /* stays the caller's */
    const char *cluster_id; /* for a store that has none yet */
    /* Does one action. May call engine_event(). */
    void (*perform)(void *context, const struct action *action);
    /* Something waits for engine_flush(); called once until then. */
    void (*wake)(void *context);
    void *context;
};

/*
 * Loads the store and begins a new epoch, durably. Errors: of the store; -ENOMEM. The core's memory
 * is address space that only fills as it is used.
 */
int engine_open(const struct engine_config *config, struct core_now now,
                struct engine **ret) MUST_CHECK;
struct engine *engine_close(struct engine *engine);
struct core *engine_core(struct engine *engine);
void engine_event(struct engine *engine, const struct core_event *event, struct core_now now);
/*
 * Makes all commands durable, then performs the actions, and those that come of it, in order.
 * Error: of the store; nothing was performed or answered, and the engine can't be used any more:
 * the core is ahead of the store. Start again from the store.
 */
int engine_flush(struct engine *engine) MUST_CHECK;

#endif
