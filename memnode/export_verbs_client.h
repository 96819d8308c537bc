/* SPDX-License-Identifier: Apache-2.0 */
/* One client of the RDMA export: its control connection, its queue pair, its slabs. On the export's
 * thread. */
#ifndef DILOS_MEMNODE_EXPORT_VERBS_CLIENT_H
#define DILOS_MEMNODE_EXPORT_VERBS_CLIENT_H

#include "lib/base/list.h"
#include "memnode/export.h"
#include "memnode/export_verbs_port.h"
#include "memnode/worker.h"

/* Messages that wait for the socket; a client that lets more of them wait is let go. */
#define VCLIENT_OUTPUT_MAX 256u

struct vbinding {
    bool bound;
    bool revoked; /* the client was told and has not let go of it yet */
    uint32_t slab;
    uint32_t sequence;
    struct vwindow window;
};

/* The latest connection of a client that attached a slab, under its latest grant. */
struct vfence {
    uint64_t generation;
    uint32_t incarnation;
};

/* What the clients of one export share. */
struct vgroup {
    struct list clients;
    struct vfence *fences; /* by slab */
};

struct vclient {
    struct worker_source source;
    struct list node;
    struct worker *worker;
    const struct export_context *context;
    struct vgroup *group;
    struct vport *port;
    uint64_t id;
    int fd; /* -1: closed, waits to be freed */
    bool greeted;
    bool wants_output;
    uint64_t opened_ns;
    struct vqueue queue;
    bool has_queue;
    struct verbsop_nonces nonces;
    struct vbinding *bindings; /* by handle */
    uint32_t binding_count;
    uint32_t revoked_count;
    char instance[GRANTS_INSTANCE_BYTES]; /* of the last slab that it opened */

    uint8_t input[VERBSOP_BYTES];
    uint32_t input_bytes;
    uint8_t output[VCLIENT_OUTPUT_MAX * VERBSOP_BYTES];
    uint32_t output_bytes;
};

/* Takes the socket over, also on failure, and joins the group until vclient_free. Errors: -ENOMEM
 * and those of worker_add. */
int vclient_open(struct worker *worker, const struct export_context *context, struct vgroup *group,
                 struct vport *port, int fd, uint64_t id) MUST_CHECK;
/* Closes its windows, its queue and its socket; `reason` (may be NULL) is a counter. vclient_free
 * follows after the batch. */
void vclient_shut(struct vclient *client, atomic_uint_fast64_t *reason);
void vclient_free(struct vclient *client);
/*
 * A client's new connection (`client`, or NULL: one over another fabric) takes the slab over: what
 * its earlier ones still carry finds no window any more. False: this is itself an earlier one.
 */
bool vgroup_fence(struct vgroup *group, const struct vclient *client, uint32_t slab,
                  uint64_t generation, uint32_t incarnation);
/* Closes its windows on the slab and tells it so. */
void vclient_revoke(struct vclient *client, uint32_t slab);

#endif
