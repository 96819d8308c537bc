/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/rdma/raw.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/sys/sys.h"
#include "lib/wire/pageop.h"

#define WAIT_MS   20000
#define NS_PER_MS 1000000ull

static void bail(const char *what)
{
    printf("Bail out! raw client: %s\n", what);
    exit(1);
}

static int receive(const struct raw *raw, uint8_t *data, size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        struct pollfd item = {.fd = raw->fd, .events = POLLIN};
        if (poll(&item, 1, WAIT_MS) != 1) {
            return -ETIMEDOUT;
        }
        ssize_t count = recv(raw->fd, data + done, bytes - done, 0);
        if (count <= 0) {
            return -ECONNRESET;
        }
        done += (size_t)count;
    }
    return 0;
}

static int put(const struct raw *raw, const struct verbsop_message *message)
{
    uint8_t data[VERBSOP_BYTES];
    verbsop_encode(message, true, data);
    return send(raw->fd, data, sizeof(data), MSG_NOSIGNAL) == (ssize_t)sizeof(data) ? 0
                                                                                    : -ECONNRESET;
}

/* The next message of `kind`; notices in between are dropped. */
static int get(const struct raw *raw, uint8_t kind, struct verbsop_message *ret)
{
    for (;;) {
        uint8_t data[VERBSOP_BYTES];
        int error = receive(raw, data, sizeof(data));
        if (error == 0) {
            error = verbsop_decode(data, false, ret);
        }
        if (error != 0 || ret->kind == kind) {
            return error;
        }
    }
}

static void hello(const struct raw *raw)
{
    uint8_t data[PAGEOP_HELLO_BYTES];
    pageop_hello_encode(data);
    if (send(raw->fd, data, sizeof(data), MSG_NOSIGNAL) != (ssize_t)sizeof(data) ||
        receive(raw, data, sizeof(data)) != 0 || pageop_hello_decode(data) != 0) {
        bail("hello");
    }
}

void raw_open(struct raw *raw, const char *addresses)
{
    char text[FABRIC_ADDRESS_BYTES];
    char reason[VERBS_REASON_BYTES];
    struct fabric_address address;
    struct sockaddr_storage own;
    socklen_t length = sizeof(own);
    memset(raw, 0, sizeof(*raw));
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(addresses, ","), addresses);
    if (fabric_address_parse(text, &address) != 0) {
        bail(text);
    }
    raw->fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;
    (void)setsockopt(raw->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(raw->fd, (const struct sockaddr *)&address.storage, address.length) != 0 ||
        getsockname(raw->fd, (struct sockaddr *)&own, &length) != 0) {
        bail("connect");
    }
    hello(raw);
    if (verbs_port_open((const struct sockaddr *)&own, VERBS_GID_ANY, &raw->port, reason) != 0) {
        bail(reason);
    }
    raw->pd = ibv_alloc_pd(raw->port.context);
    raw->cq = ibv_create_cq(raw->port.context, 64, NULL, NULL, 0);
    raw->mr = ibv_reg_mr(raw->pd, raw->buffer, sizeof(raw->buffer), IBV_ACCESS_LOCAL_WRITE);
    if (raw->pd == NULL || raw->cq == NULL || raw->mr == NULL) {
        bail("resources");
    }
    if (raw_queue(raw) != VERBSOP_OK) {
        bail("queue");
    }
}

static void queue_close(struct raw *raw)
{
    struct ibv_wc unused;
    if (raw->queue != NULL) {
        CHECK(ibv_destroy_qp(raw->queue) == 0);
        raw->queue = NULL;
        while (ibv_poll_cq(raw->cq, 1, &unused) > 0) {
        }
    }
}

void raw_close(struct raw *raw)
{
    queue_close(raw);
    CHECK(ibv_dereg_mr(raw->mr) == 0);
    CHECK(ibv_destroy_cq(raw->cq) == 0);
    CHECK(ibv_dealloc_pd(raw->pd) == 0);
    verbs_port_close(&raw->port);
    (void)close(raw->fd);
}

int raw_queue(struct raw *raw)
{
    struct verbsop_message message = {.kind = VERBSOP_QUEUE};
    struct verbsop_message answer;
    struct ibv_qp_init_attr attributes = {
        .send_cq = raw->cq,
        .recv_cq = raw->cq,
        .cap = {.max_send_wr = 16, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1},
        .qp_type = IBV_QPT_RC};
    queue_close(raw);
    raw->queue = ibv_create_qp(raw->pd, &attributes);
    if (raw->queue == NULL) {
        return -ENOMEM;
    }
    verbs_queue_describe(&raw->port, raw->queue, &message.queue);
    message.queue.mtu = raw->say_mtu != 0 ? raw->say_mtu : message.queue.mtu;
    message.queue.gid_type = raw->say_gid_type != 0 ? raw->say_gid_type : message.queue.gid_type;
    int error = put(raw, &message);
    if (error == 0) {
        error = get(raw, VERBSOP_QUEUE, &answer);
    }
    if (error != 0 || answer.status != VERBSOP_OK) {
        return error != 0 ? error : answer.status;
    }
    memcpy(raw->nonces.client, message.queue.nonce, VERBSOP_NONCE_BYTES);
    memcpy(raw->nonces.node, answer.queue.nonce, VERBSOP_NONCE_BYTES);
    return verbs_queue_connect(&raw->port, raw->queue, &message.queue, &answer.queue, 0);
}

int raw_attach(struct raw *raw, uint32_t handle, const struct fabric_grant *grant,
               struct verbsop_window *ret)
{
    struct verbsop_message answer;
    struct verbsop_message message = {.kind = VERBSOP_ATTACH,
                                      .handle = handle,
                                      .sequence = ++raw->sequence,
                                      .attach = {.slab_index = grant->slab_index,
                                                 .incarnation = grant->incarnation,
                                                 .generation = grant->generation}};
    verbsop_prove(grant->key, &raw->nonces, &message, message.attach.proof);
    int error = put(raw, &message);
    if (error == 0) {
        error = get(raw, VERBSOP_ATTACH, &answer);
    }
    if (error != 0) {
        return error;
    }
    if (answer.status == VERBSOP_OK) {
        verbsop_unseal(grant->key, &raw->nonces, &answer, ret);
    }
    return answer.status;
}

void raw_detach(struct raw *raw, uint32_t handle)
{
    const struct verbsop_message message = {
        .kind = VERBSOP_DETACH, .handle = handle, .sequence = raw->sequence};
    CHECK(put(raw, &message) == 0);
}

int raw_access(struct raw *raw, bool write, uint32_t key, uint64_t address, uint32_t bytes)
{
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_MS * NS_PER_MS;
    struct ibv_send_wr *bad = NULL;
    struct ibv_wc wc;
    struct ibv_sge segment = {
        .addr = (uintptr_t)raw->buffer, .length = bytes, .lkey = raw->mr->lkey};
    struct ibv_send_wr send = {.sg_list = &segment,
                               .num_sge = 1,
                               .opcode = write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
                               .send_flags = IBV_SEND_SIGNALED,
                               .wr.rdma = {.remote_addr = address, .rkey = key}};
    if (ibv_post_send(raw->queue, &send, &bad) != 0) {
        return -EIO;
    }
    for (;;) {
        int count = ibv_poll_cq(raw->cq, 1, &wc);
        if (count != 0) {
            return count == 1 ? (int)wc.status : -EIO;
        }
        if (sys_monotonic_ns() > deadline_ns) {
            return -ETIMEDOUT;
        }
    }
}
