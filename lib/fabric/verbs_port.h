/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One port of an RDMA device, and queue pairs on it: what client and memory node share. Needs
 * rdma-core; programs that only want to know what there is use fabric_verbs.h.
 */
#ifndef DILOS_LIB_FABRIC_VERBS_PORT_H
#define DILOS_LIB_FABRIC_VERBS_PORT_H

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/compiler.h"
#include "lib/wire/verbsop.h"

#define VERBS_NAME_BYTES   64u
#define VERBS_REASON_BYTES 128u
#define VERBS_GIDS_MAX     256u
#define VERBS_GID_ANY      (-1)

struct verbs_port {
    struct ibv_context *context;
    char name[VERBS_NAME_BYTES]; /* of the device */
    uint8_t number;
    struct ibv_device_attr device;
    struct ibv_port_attr port;
    struct ibv_gid_entry gid; /* the one in use */
    bool on_demand;           /* registered memory need not be pinned for RC reads and writes */
};

/*
 * The port that carries `address`: RoCE by the GID that is this IP address, preferring v2;
 * InfiniBand, whose GIDs aren't addresses, takes the first active port. `gid_type` (enum
 * verbsop_gid_type) or VERBS_GID_ANY. Errors, in words in ret_reason (VERBS_REASON_BYTES): -ENODEV
 * no device; -EHOSTUNREACH none with that address or GID type; -ENETDOWN its port isn't active.
 */
int verbs_port_open(const struct sockaddr *address, int gid_type, struct verbs_port *ret,
                    char *ret_reason) MUST_CHECK;
void verbs_port_close(struct verbs_port *port);

/* The same address as a GID of another type (enum verbsop_gid_type). False: the port has none. */
bool verbs_port_use_gid(struct verbs_port *port, uint8_t gid_type) MUST_CHECK;

/* Bytes of an MTU as verbs and verbsop number it (1: 256 .. 5: 4096). */
static inline uint32_t verbs_mtu_bytes(unsigned mtu)
{
    return 128u << mtu;
}

/* What this end says of itself. The nonce is fresh. */
void verbs_queue_describe(const struct verbs_port *port, const struct ibv_qp *queue,
                          struct verbsop_queue *ret);

/*
 * Takes a new queue pair to the state in which it sends and serves, by what both ends said.
 * `access`: enum ibv_access_flags for the other end. Errors: -EINVAL the ends don't fit (other link
 * layer or GID type), -EIO the device refuses.
 */
int verbs_queue_connect(const struct verbs_port *port, struct ibv_qp *queue,
                        const struct verbsop_queue *local, const struct verbsop_queue *remote,
                        unsigned access) MUST_CHECK;

#endif
