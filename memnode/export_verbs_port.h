/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device's side of the RDMA export: the registered arena, queue pairs, and windows on slabs.
 * A window is usable on one queue pair alone: a memory window of type 2B (IBTA 1.4, 10.6.7.2.2), or
 * on devices without them a region of its own in a protection domain of the queue pair's own.
 * Belongs to the export's thread.
 */
#ifndef DILOS_MEMNODE_EXPORT_VERBS_PORT_H
#define DILOS_MEMNODE_EXPORT_VERBS_PORT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fabric/verbs_port.h"
#include "memnode/arena.h"

#define EXPORT_VERBS_REGION_BYTES GIB
#define EXPORT_VERBS_SPARES       16u /* closed windows that a queue keeps for the next */

struct vport {
    struct verbs_port port;
    const struct arena *arena;
    bool windows;
    bool bounds; /* a window ends where it should; else each slab is a region, whose ends count */
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    uint32_t region_slabs; /* slabs in one region */
    uint32_t region_count;
    struct ibv_mr **regions; /* of many slabs */
    struct ibv_mr **own;     /* one a slab: NULL unless its memory was replaced */
    bool *unusable;          /* one a slab: it was replaced and can't be registered */
    bool *stuck;             /* one a slab: the device didn't close a window on it */
    bool lost;
    uint32_t window_count; /* of all queues, open or spare */
    uint32_t windows_max;  /* for tests; 0: the device's */
    /* Called for each completion that is not of the operation under way: the queue `id` is broken.
     */
    void (*broken)(void *context, uint64_t id);
    void *context;
};

struct vwindow {
    bool open;
    uint32_t slab;
    struct ibv_mw *mw; /* with windows */
    struct ibv_mr *mr; /* without */
    uint32_t remote_key;
};

struct vqueue {
    struct ibv_pd *pd; /* its own, without windows */
    struct ibv_qp *qp;
    uint64_t id;
    bool broken;
    struct ibv_mw *spares[EXPORT_VERBS_SPARES];
    uint32_t spare_count;
};

/* Takes over what verbs_port_open gave, also on failure. Errors, in words in ret_reason
 * (VERBS_REASON_BYTES): -ENOMEM. */
int vport_open(struct vport *port, const struct verbs_port *opened, const struct arena *arena,
               bool windows, char *ret_reason) MUST_CHECK;
void vport_close(struct vport *port);
/* As export_verbs_replaced. */
void vport_replaced(struct vport *port, uint32_t slab);
/* Takes completions and events of the device; may call `broken`. */
void vport_look(struct vport *port);

/* Errors: -ENOSPC the device has no more. */
int vqueue_open(struct vport *port, uint64_t id, struct vqueue *ret) MUST_CHECK;
/* All its windows must be closed. */
void vqueue_close(struct vport *port, struct vqueue *queue);
/* -EADDRNOTAVAIL: the port has no GID of the client's type. -EINVAL, -EIO. Fills *ret_local. */
int vqueue_connect(struct vport *port, struct vqueue *queue, const struct verbsop_queue *remote,
                   struct verbsop_queue *ret_local) MUST_CHECK;

/* Errors: -ENOSPC no window or region left, -EIO the queue is broken. */
int vwindow_open(struct vport *port, struct vqueue *queue, uint32_t slab, bool writable,
                 struct vwindow *ret) MUST_CHECK;
/* The key opens nothing any more; else port->stuck says that it may. */
void vwindow_close(struct vport *port, struct vqueue *queue, struct vwindow *window);

#endif
