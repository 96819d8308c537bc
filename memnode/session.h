/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node's side of the control plane: registers with the controller, sends heartbeats, grants and
 * revokes as told. Runs on the loop's thread. Without a controller the exports go on; the session
 * keeps trying to reach it.
 */
#ifndef DILOS_MEMNODE_SESSION_H
#define DILOS_MEMNODE_SESSION_H

#include "lib/sys/config.h"
#include "memnode/check.h"
#include "memnode/node.h"
#include "memnode/state.h"

#define SESSION_SLABS_MAX 4096u /* of one grant or revoke */

struct event_base;
struct session;

/* Pointers have to outlive the session. */
struct session_config {
    struct event_base *base;
    const char *controller;
    const char *name;
    const char *host;                   /* failure domain */
    const struct config_list *labels;   /* "key=value", checked */
    const struct check_report *machine; /* outlives the session; NULL: not looked at */
    struct node *node;
    struct state *state;
};

/* Errors: -EINVAL the controller's address, -ENOMEM. */
int session_open(const struct session_config *config, struct session **ret) MUST_CHECK;
struct session *session_close(struct session *session);

#endif
