/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_verbs_probe.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "lib/sys/sys.h"

#define WAIT_NS    500000000ull
#define PAGES      2u
#define CQ_ENTRIES 16
#define READ_BYTES 64u

/* Two queue pairs of one port, connected to each other, and a page of two under a window. */
struct probe {
    struct ibv_cq *cq;
    struct ibv_qp *asks;
    struct ibv_qp *serves;
    struct ibv_mr *region;
    struct ibv_mr *target;
    struct ibv_mw *window;
    uint8_t *memory;
    uint8_t to[READ_BYTES];
};

static struct ibv_qp *make_queue(struct ibv_pd *pd, struct ibv_cq *cq)
{
    struct ibv_qp_init_attr attributes = {
        .send_cq = cq,
        .recv_cq = cq,
        .cap = {.max_send_wr = 4, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC};
    return ibv_create_qp(pd, &attributes);
}

static int join(const struct verbs_port *port, const struct probe *probe)
{
    struct verbsop_queue asks;
    struct verbsop_queue serves;
    verbs_queue_describe(port, probe->asks, &asks);
    verbs_queue_describe(port, probe->serves, &serves);
    int error = verbs_queue_connect(port, probe->serves, &serves, &asks, IBV_ACCESS_REMOTE_READ);
    return error != 0 ? error : verbs_queue_connect(port, probe->asks, &asks, &serves, 0);
}

static int open_parts(struct probe *probe, const struct verbs_port *port, struct ibv_pd *pd)
{
    probe->memory = aligned_alloc(PAGE_BYTES, PAGES * PAGE_BYTES);
    probe->cq = ibv_create_cq(port->context, CQ_ENTRIES, NULL, NULL, 0);
    if (probe->memory == NULL || probe->cq == NULL) {
        return -ENOMEM;
    }
    probe->asks = make_queue(pd, probe->cq);
    probe->serves = make_queue(pd, probe->cq);
    probe->region = ibv_reg_mr(pd, probe->memory, PAGES * PAGE_BYTES,
                               IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND);
    probe->target = ibv_reg_mr(pd, probe->to, sizeof(probe->to), IBV_ACCESS_LOCAL_WRITE);
    probe->window = ibv_alloc_mw(pd, IBV_MW_TYPE_2);
    if (probe->asks == NULL || probe->serves == NULL || probe->region == NULL ||
        probe->target == NULL || probe->window == NULL) {
        return -ENOMEM;
    }
    return join(port, probe);
}

static void close_parts(struct probe *probe)
{
    if (probe->window != NULL) {
        (void)ibv_dealloc_mw(probe->window);
    }
    if (probe->asks != NULL) {
        (void)ibv_destroy_qp(probe->asks);
    }
    if (probe->serves != NULL) {
        (void)ibv_destroy_qp(probe->serves);
    }
    if (probe->region != NULL) {
        (void)ibv_dereg_mr(probe->region);
    }
    if (probe->target != NULL) {
        (void)ibv_dereg_mr(probe->target);
    }
    if (probe->cq != NULL) {
        (void)ibv_destroy_cq(probe->cq);
    }
    free(probe->memory);
}

/* The completion's status, or -errno. */
static int run(const struct probe *probe, struct ibv_qp *queue, struct ibv_send_wr *send)
{
    struct ibv_send_wr *bad = NULL;
    struct ibv_wc wc;
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_NS;
    send->send_flags = IBV_SEND_SIGNALED;
    if (ibv_post_send(queue, send, &bad) != 0) {
        return -EIO;
    }
    while (sys_monotonic_ns() < deadline_ns) {
        int count = ibv_poll_cq(probe->cq, 1, &wc);
        if (count != 0) {
            return count == 1 ? (int)wc.status : -EIO;
        }
        (void)sched_yield();
    }
    return -ETIMEDOUT;
}

static int read_at(struct probe *probe, uint64_t offset)
{
    struct ibv_sge segment = {
        .addr = (uintptr_t)probe->to, .length = sizeof(probe->to), .lkey = probe->target->lkey};
    struct ibv_send_wr send = {
        .sg_list = &segment,
        .num_sge = 1,
        .opcode = IBV_WR_RDMA_READ,
        .wr.rdma = {.remote_addr = (uintptr_t)probe->memory + offset, .rkey = probe->window->rkey}};
    return run(probe, probe->asks, &send);
}

static int bind_first_page(struct probe *probe)
{
    struct ibv_send_wr send = {
        .opcode = IBV_WR_BIND_MW,
        .bind_mw = {.mw = probe->window,
                    .rkey = ibv_inc_rkey(probe->window->rkey),
                    .bind_info = {.mr = probe->region,
                                  .addr = (uintptr_t)probe->memory,
                                  .length = PAGE_BYTES,
                                  .mw_access_flags = IBV_ACCESS_REMOTE_READ}}};
    int status = run(probe, probe->serves, &send);
    probe->window->rkey = send.bind_mw.rkey;
    return status;
}

bool vprobe_bounds(const struct verbs_port *port, struct ibv_pd *pd)
{
    struct probe probe = {0};
    bool good = open_parts(&probe, port, pd) == 0 && bind_first_page(&probe) == IBV_WC_SUCCESS &&
                read_at(&probe, PAGE_BYTES - READ_BYTES) == IBV_WC_SUCCESS &&
                read_at(&probe, PAGE_BYTES - READ_BYTES + 1) == IBV_WC_REM_ACCESS_ERR;
    close_parts(&probe);
    return good;
}
