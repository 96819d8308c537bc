/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the RDMA export that keeps to no rule: it sets a queue pair up as the fabric does,
 * then posts whatever key, address and length it is told to.
 */
#ifndef DILOS_TESTS_RDMA_RAW_H
#define DILOS_TESTS_RDMA_RAW_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fabric/fabric.h"
#include "lib/fabric/verbs_port.h"

#define RAW_BUFFER_BYTES 65536u

struct raw {
    int fd;
    struct verbs_port port;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_mr *mr;
    struct ibv_qp *queue;
    struct verbsop_nonces nonces;
    /* What it says of itself, instead of the truth; 0: the truth. */
    uint8_t say_mtu;
    uint8_t say_gid_type;
    uint32_t sequence;
    uint8_t buffer[RAW_BUFFER_BYTES];
};

/* `addresses` as node_verbs_addresses gives them: the first is taken. Aborts the test if it can't.
 */
void raw_open(struct raw *raw, const char *addresses);
void raw_close(struct raw *raw);

/* A new queue pair in place of the last one; the node closes all slabs of that. Returns the node's
 * status (enum verbsop_status), or -errno. */
int raw_queue(struct raw *raw);
/* Opens a slab under `handle`. Returns the node's status, or -errno. */
int raw_attach(struct raw *raw, uint32_t handle, const struct fabric_grant *grant,
               struct verbsop_window *ret);
void raw_detach(struct raw *raw, uint32_t handle);

/* One operation between the buffer's beginning and [address, address + bytes); waits for its
 * completion. Returns its status (enum ibv_wc_status), or -errno. */
int raw_access(struct raw *raw, bool write, uint32_t key, uint64_t address, uint32_t bytes);

#endif
