/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller as a library: sockets, sessions and timers around an engine, on one libevent loop.
 * main.c is a thin user of it, tests another.
 */
#ifndef DILOS_CONTROLLER_CONTROLLER_H
#define DILOS_CONTROLLER_CONTROLLER_H

#include "controller/engine.h"

struct event_base;
struct controller;

#define CONTROLLER_LISTEN_MAX 16u

struct controller_config {
    struct core_times times;
    uint32_t slabs_per_node;
    struct store *store;
    const char *const *addresses;
    uint32_t address_count; /* up to CONTROLLER_LISTEN_MAX */
    bool insecure;
    /* The store failed: nothing more is answered, the process should end. */
    void (*on_broken)(void *context, int error);
    void *context;
};

/*
 * Loads, begins an epoch, listens. Errors: of the store, of rpc_listen; ret_error gets the address
 * that failed, or NULL.
 */
int controller_open(struct event_base *base, const struct controller_config *config,
                    struct controller **ret, const char **ret_error) MUST_CHECK;
struct controller *controller_close(struct controller *controller);
/* The address with the real port. */
const char *controller_address(const struct controller *controller, uint32_t index);
const struct core *controller_core(const struct controller *controller);

#endif
