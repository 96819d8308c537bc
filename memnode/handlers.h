/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller may ask of a node: grant and revoke. Each answers its request at once. */
#ifndef DILOS_MEMNODE_HANDLERS_H
#define DILOS_MEMNODE_HANDLERS_H

#include "lib/rpc/rpc.h"
#include "memnode/node.h"
#include "memnode/state.h"

struct handlers {
    struct node *node;
    struct state *state;
};

/* `request` is NULL for a notice: then nothing is done. */
void handlers_grant(const struct handlers *handlers, struct rpc_request *request,
                    const Dilos__SlabGrant *message);
void handlers_revoke(const struct handlers *handlers, struct rpc_request *request,
                     const Dilos__SlabRevoke *message);

#endif
