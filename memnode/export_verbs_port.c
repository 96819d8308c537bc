/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_verbs_port.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "memnode/export_verbs_probe.h"

#define CQ_ENTRIES       4096
#define SENDS_MAX        8u
#define COMPLETIONS_MAX  16
#define LOCAL_TIMEOUT_NS 1000000000ull
/* wr_id: the queue's id, and whether it is the receive that nobody ever sends to. */
#define ID_SEND(id) ((id) << 1)
#define ID_RECV(id) ((id) << 1 | 1)

/* ---- the arena */

static struct ibv_mr *register_slabs(const struct vport *port, uint32_t first, uint32_t count)
{
    /* No remote rights: its keys open nothing but windows. */
    return ibv_reg_mr(port->pd, arena_slab_base(port->arena, first),
                      count * arena_slab_bytes(port->arena),
                      IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
}

static int register_arena(struct vport *port)
{
    uint32_t slab_count = arena_slab_count(port->arena);
    uint64_t slab_bytes = arena_slab_bytes(port->arena);
    port->region_slabs =
        port->bounds ? (uint32_t)MAX(1u, EXPORT_VERBS_REGION_BYTES / slab_bytes) : 1;
    port->region_count = (slab_count + port->region_slabs - 1) / port->region_slabs;
    port->regions = calloc(port->region_count, sizeof(struct ibv_mr *));
    port->own = calloc(slab_count, sizeof(struct ibv_mr *));
    port->unusable = calloc(slab_count, sizeof(bool));
    port->stuck = calloc(slab_count, sizeof(bool));
    if (port->regions == NULL || port->own == NULL || port->unusable == NULL ||
        port->stuck == NULL) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; port->windows && i < port->region_count; i++) {
        uint32_t first = i * port->region_slabs;
        port->regions[i] = register_slabs(port, first, MIN(port->region_slabs, slab_count - first));
        if (port->regions[i] == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

static struct ibv_mr *region_of(const struct vport *port, uint32_t slab)
{
    return port->own[slab] != NULL ? port->own[slab] : port->regions[slab / port->region_slabs];
}

void vport_replaced(struct vport *port, uint32_t slab)
{
    if (!port->windows) {
        return; /* each window registers what is there */
    }
    if (port->own[slab] != NULL) {
        (void)ibv_dereg_mr(port->own[slab]);
    }
    port->own[slab] = register_slabs(port, slab, 1);
    port->unusable[slab] = port->own[slab] == NULL;
}

/* ---- the port */

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

static int open_queues(struct vport *port)
{
    struct ibv_context *context = port->port.context;
    port->pd = ibv_alloc_pd(context);
    port->channel = ibv_create_comp_channel(context);
    if (port->pd == NULL || port->channel == NULL) {
        return -ENOMEM;
    }
    port->cq =
        ibv_create_cq(context, MIN(CQ_ENTRIES, port->port.device.max_cqe), NULL, port->channel, 0);
    if (port->cq == NULL || ibv_req_notify_cq(port->cq, 0) != 0 ||
        set_nonblocking(port->channel->fd) != 0 || set_nonblocking(context->async_fd) != 0) {
        return -ENOMEM;
    }
    return 0;
}

int vport_open(struct vport *port, const struct verbs_port *opened, const struct arena *arena,
               bool windows, char *ret_reason)
{
    *port = (struct vport){.port = *opened, .arena = arena};
    port->windows =
        windows && (opened->device.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0;
    int error = open_queues(port);
    if (error != 0) {
        (void)snprintf(ret_reason, VERBS_REASON_BYTES, "%.48s has no completion queue left",
                       opened->name);
    } else {
        port->bounds = port->windows && vprobe_bounds(&port->port, port->pd);
        error = register_arena(port);
        if (error != 0) {
            (void)snprintf(ret_reason, VERBS_REASON_BYTES, "%.32s can't register the arena: %s",
                           opened->name,
                           errno == ENOMEM ? "raise the locked-memory limit" : strerror(errno));
        }
    }
    if (error != 0) {
        vport_close(port);
    }
    return error;
}

void vport_close(struct vport *port)
{
    uint32_t slab_count = arena_slab_count(port->arena);
    for (uint32_t i = 0; port->own != NULL && i < slab_count; i++) {
        if (port->own[i] != NULL) {
            (void)ibv_dereg_mr(port->own[i]);
        }
    }
    for (uint32_t i = 0; port->regions != NULL && i < port->region_count; i++) {
        if (port->regions[i] != NULL) {
            (void)ibv_dereg_mr(port->regions[i]);
        }
    }
    free(port->own);
    free(port->regions);
    free(port->unusable);
    free(port->stuck);
    if (port->cq != NULL) {
        (void)ibv_destroy_cq(port->cq);
    }
    if (port->channel != NULL) {
        (void)ibv_destroy_comp_channel(port->channel);
    }
    if (port->pd != NULL) {
        (void)ibv_dealloc_pd(port->pd);
    }
    verbs_port_close(&port->port);
}

/* Takes completions; true if the one of `wait_id` was among them, with its outcome. */
static bool take_completions(struct vport *port, uint64_t wait_id, bool *ret_good)
{
    struct ibv_wc completions[COMPLETIONS_MAX];
    bool seen = false;
    int count = COMPLETIONS_MAX;
    while (count == COMPLETIONS_MAX) {
        count = ibv_poll_cq(port->cq, COMPLETIONS_MAX, completions);
        for (int i = 0; i < count; i++) {
            const struct ibv_wc *wc = &completions[i];
            if (wait_id != 0 && wc->wr_id == ID_SEND(wait_id)) {
                seen = true;
                *ret_good = wc->status == IBV_WC_SUCCESS;
            } else if (wc->status != IBV_WC_SUCCESS) {
                port->broken(port->context, wc->wr_id >> 1);
            }
        }
    }
    return seen;
}

static void take_events(struct vport *port)
{
    struct ibv_async_event event;
    while (!port->lost && ibv_get_async_event(port->port.context, &event) == 0) {
        port->lost = event.event_type == IBV_EVENT_DEVICE_FATAL;
        ibv_ack_async_event(&event);
    }
}

void vport_look(struct vport *port)
{
    struct ibv_cq *cq;
    void *context;
    bool unused;
    while (ibv_get_cq_event(port->channel, &cq, &context) == 0) {
        ibv_ack_cq_events(cq, 1);
    }
    (void)ibv_req_notify_cq(port->cq, 0);
    (void)take_completions(port, 0, &unused);
    take_events(port);
}

/* ---- window objects */

static bool is_exhausted(const struct vport *port)
{
    return port->windows_max != 0 && port->window_count >= port->windows_max;
}

static struct ibv_mw *mw_make(struct vport *port)
{
    struct ibv_mw *mw = is_exhausted(port) ? NULL : ibv_alloc_mw(port->pd, IBV_MW_TYPE_2);
    port->window_count += mw != NULL ? 1 : 0;
    return mw;
}

/* False: the device keeps it. */
static bool mw_free(struct vport *port, struct ibv_mw *mw)
{
    bool gone = ibv_dealloc_mw(mw) == 0;
    port->window_count -= gone ? 1 : 0;
    return gone;
}

/* ---- queues */

/* Never filled by anybody: it comes back when the queue pair breaks. */
static int post_sentinel(struct vqueue *queue)
{
    struct ibv_recv_wr receive = {.wr_id = ID_RECV(queue->id)};
    struct ibv_recv_wr *bad = NULL;
    return ibv_post_recv(queue->qp, &receive, &bad) == 0 ? 0 : -EIO;
}

int vqueue_open(struct vport *port, uint64_t id, struct vqueue *ret)
{
    struct vqueue queue = {.id = id};
    struct ibv_qp_init_attr attributes = {
        .send_cq = port->cq,
        .recv_cq = port->cq,
        .cap = {.max_send_wr = SENDS_MAX, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC,
    };
    if (!port->windows) {
        queue.pd = ibv_alloc_pd(port->port.context);
        if (queue.pd == NULL) {
            return -ENOSPC;
        }
    }
    queue.qp = ibv_create_qp(port->windows ? port->pd : queue.pd, &attributes);
    if (queue.qp == NULL) {
        if (queue.pd != NULL) {
            (void)ibv_dealloc_pd(queue.pd);
        }
        return -ENOSPC;
    }
    *ret = queue;
    return 0;
}

/* What fails here is the device's loss alone: it holds no window any more. */
void vqueue_close(struct vport *port, struct vqueue *queue)
{
    while (queue->spare_count != 0) {
        (void)mw_free(port, queue->spares[--queue->spare_count]);
    }
    if (queue->qp != NULL) {
        (void)ibv_destroy_qp(queue->qp);
        queue->qp = NULL;
    }
    if (queue->pd != NULL) {
        (void)ibv_dealloc_pd(queue->pd);
        queue->pd = NULL;
    }
}

int vqueue_connect(struct vport *port, struct vqueue *queue, const struct verbsop_queue *remote,
                   struct verbsop_queue *ret_local)
{
    struct verbs_port used = port->port;
    if (!verbs_port_use_gid(&used, remote->gid_type)) {
        return -EADDRNOTAVAIL;
    }
    verbs_queue_describe(&used, queue->qp, ret_local);
    int error = verbs_queue_connect(&used, queue->qp, ret_local, remote,
                                    IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE);
    return error == 0 ? post_sentinel(queue) : error;
}

/* ---- windows */

/* An operation that the device does on its own, whatever the other end does. */
static int do_local(struct vport *port, struct vqueue *queue, struct ibv_send_wr *send)
{
    struct ibv_send_wr *bad = NULL;
    bool good = false;
    uint64_t deadline_ns = sys_monotonic_ns() + LOCAL_TIMEOUT_NS;
    send->wr_id = ID_SEND(queue->id);
    send->send_flags = IBV_SEND_SIGNALED;
    if (queue->broken || ibv_post_send(queue->qp, send, &bad) != 0) {
        return -EIO;
    }
    while (!take_completions(port, queue->id, &good)) {
        if (sys_monotonic_ns() > deadline_ns) {
            queue->broken = true;
            return -EIO;
        }
        (void)sched_yield();
    }
    queue->broken = queue->broken || !good;
    return good ? 0 : -EIO;
}

static int open_mw(struct vport *port, struct vqueue *queue, uint32_t slab, unsigned access,
                   struct vwindow *ret)
{
    struct ibv_mw *mw =
        queue->spare_count != 0 ? queue->spares[--queue->spare_count] : mw_make(port);
    if (mw == NULL) {
        return -ENOSPC;
    }
    struct ibv_send_wr send = {
        .opcode = IBV_WR_BIND_MW,
        .bind_mw = {.mw = mw,
                    .rkey = ibv_inc_rkey(mw->rkey),
                    .bind_info = {.mr = region_of(port, slab),
                                  .addr = (uintptr_t)arena_slab_base(port->arena, slab),
                                  .length = arena_slab_bytes(port->arena),
                                  .mw_access_flags = access}},
    };
    int error = do_local(port, queue, &send);
    if (error != 0) {
        (void)mw_free(port, mw);
        return error;
    }
    mw->rkey = send.bind_mw.rkey;
    *ret = (struct vwindow){.open = true, .slab = slab, .mw = mw, .remote_key = mw->rkey};
    return 0;
}

static int open_mr(struct vport *port, const struct vqueue *queue, uint32_t slab, unsigned access,
                   struct vwindow *ret)
{
    struct ibv_mr *mr =
        is_exhausted(port)
            ? NULL
            : ibv_reg_mr(queue->pd, arena_slab_base(port->arena, slab),
                         arena_slab_bytes(port->arena), (int)(access | IBV_ACCESS_LOCAL_WRITE));
    if (mr == NULL) {
        return -ENOSPC;
    }
    port->window_count++;
    *ret = (struct vwindow){.open = true, .slab = slab, .mr = mr, .remote_key = mr->rkey};
    return 0;
}

int vwindow_open(struct vport *port, struct vqueue *queue, uint32_t slab, bool writable,
                 struct vwindow *ret)
{
    unsigned access = IBV_ACCESS_REMOTE_READ | (writable ? IBV_ACCESS_REMOTE_WRITE : 0);
    if (port->unusable[slab]) {
        return -ENOSPC;
    }
    return port->windows ? open_mw(port, queue, slab, access, ret)
                         : open_mr(port, queue, slab, access, ret);
}

static bool close_mw(struct vport *port, struct vqueue *queue, struct ibv_mw *mw)
{
    struct ibv_send_wr send = {.opcode = IBV_WR_LOCAL_INV, .invalidate_rkey = mw->rkey};
    if (do_local(port, queue, &send) == 0 && queue->spare_count < EXPORT_VERBS_SPARES) {
        queue->spares[queue->spare_count++] = mw;
        return true;
    }
    /*
     * On a broken queue nothing else works; a window that isn't there any more opens nothing.
     */
    return mw_free(port, mw);
}

static bool close_mr(struct vport *port, struct ibv_mr *mr)
{
    bool gone = ibv_dereg_mr(mr) == 0;
    port->window_count -= gone ? 1 : 0;
    return gone;
}

void vwindow_close(struct vport *port, struct vqueue *queue, struct vwindow *window)
{
    bool closed =
        window->mr != NULL ? close_mr(port, window->mr) : close_mw(port, queue, window->mw);
    if (!closed && !port->lost) {
        port->stuck[window->slab] = true;
    }
    *window = (struct vwindow){0};
}
