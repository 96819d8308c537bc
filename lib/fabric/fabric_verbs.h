/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine has for RDMA, without using it. */
#ifndef DILOS_LIB_FABRIC_FABRIC_VERBS_H
#define DILOS_LIB_FABRIC_FABRIC_VERBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fabric/address.h"

#define FABRIC_VERBS_NAMES_BYTES 256u
#define FABRIC_VERBS_NAME_BYTES  64u
#define FABRIC_VERBS_TEXT_BYTES  320u

/* How many verbs devices there are; their names, separated by blanks, in ret_names. */
uint32_t fabric_verbs_devices(char *ret_names, size_t bytes);

struct fabric_verbs_port {
    char device[FABRIC_VERBS_NAME_BYTES];
    uint8_t number;
    bool active;
    bool infiniband;                    /* else RoCE */
    char state[16];                     /* "active", "down", ... */
    char address[FABRIC_ADDRESS_BYTES]; /* of its best GID that is an IP address, or "" */
    char gid[48];
    char gid_type[16]; /* "IB", "RoCE v1", "RoCE v2" */
    uint32_t mtu_bytes;
    uint32_t mtu_bytes_max;
    uint32_t gbits; /* per second; 0: the device doesn't say */
    int numa_node;  /* -1: none */
    uint32_t queues_max;
    uint32_t windows_max;
    uint32_t regions_max;
    uint32_t reads_max; /* outstanding, of one queue pair */
    bool windows_2b;
    bool on_demand;
};

/* Every port of every device that can be opened. Returns how many, at most `max`. */
uint32_t fabric_verbs_ports(struct fabric_verbs_port *ret, uint32_t max);
/* "rxe0/1 active, 4096 of 4096 byte MTU, ..." in FABRIC_VERBS_TEXT_BYTES. */
void fabric_verbs_port_text(const struct fabric_verbs_port *port, char *to);

#endif
