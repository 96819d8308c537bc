/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/verbs_port.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "lib/sys/sys.h"

/* 4.096 us << 16 = 0.27 s without an acknowledgement, seven times (IBTA 1.4, 9.7.6.1.3). */
#define ACK_TIMEOUT 16
#define RETRIES     7
/* A delay that nobody sees: the node posts no receives that anything is sent to. */
#define RNR_TIMER 12
#define HOP_LIMIT 64

/* The GID of an IP address: IPv4 is mapped into IPv6 (RFC 4291, 2.5.5.2). */
static bool address_gid(const struct sockaddr *address, uint8_t *ret)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        memset(ret, 0, 10);
        memset(ret + 10, 0xff, 2);
        memcpy(ret + 12, &in->sin_addr, 4);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        memcpy(ret, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        return true;
    }
    return false;
}

static bool gid_fits(const struct ibv_gid_entry *entry, const uint8_t *gid, int gid_type)
{
    if (gid_type != VERBS_GID_ANY && (int)entry->gid_type != gid_type) {
        return false;
    }
    return memcmp(entry->gid.raw, gid, sizeof(entry->gid.raw)) == 0;
}

/* The best GID for the address on this device; false: none. */
static bool find_gid(struct ibv_context *context, const uint8_t *gid, int gid_type,
                     struct ibv_gid_entry *ret)
{
    struct ibv_gid_entry entries[VERBS_GIDS_MAX];
    ssize_t count = ibv_query_gid_table(context, entries, VERBS_GIDS_MAX, 0);
    bool found = false;
    for (ssize_t i = 0; i < count; i++) {
        if (gid_fits(&entries[i], gid, gid_type) &&
            (!found || entries[i].gid_type > ret->gid_type)) {
            *ret = entries[i];
            found = true;
        }
    }
    return found;
}

/* An InfiniBand port that is up; its first GID. */
static bool find_infiniband(struct ibv_context *context, struct ibv_gid_entry *ret)
{
    struct ibv_device_attr device;
    if (ibv_query_device(context, &device) != 0) {
        return false;
    }
    for (uint8_t number = 1; number <= device.phys_port_cnt; number++) {
        struct ibv_port_attr port;
        if (ibv_query_port(context, number, &port) == 0 && port.state == IBV_PORT_ACTIVE &&
            port.link_layer == IBV_LINK_LAYER_INFINIBAND &&
            ibv_query_gid_ex(context, number, 0, ret, 0) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_on_demand(struct ibv_context *context)
{
    struct ibv_device_attr_ex attributes;
    const uint32_t wanted = IBV_ODP_SUPPORT_READ | IBV_ODP_SUPPORT_WRITE;
    if (ibv_query_device_ex(context, NULL, &attributes) != 0) {
        return false;
    }
    return (attributes.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0 &&
           (attributes.odp_caps.per_transport_caps.rc_odp_caps & wanted) == wanted;
}

/* The context becomes the port's, also on failure. */
static int fill_port(struct ibv_context *context, const struct ibv_gid_entry *gid,
                     struct verbs_port *ret, char *ret_reason)
{
    struct verbs_port port = {.context = context, .number = (uint8_t)gid->port_num, .gid = *gid};
    (void)snprintf(port.name, sizeof(port.name), "%s", ibv_get_device_name(context->device));
    if (ibv_query_device(context, &port.device) != 0 ||
        ibv_query_port(context, port.number, &port.port) != 0) {
        (void)snprintf(ret_reason, VERBS_REASON_BYTES, "the device %.48s doesn't answer",
                       port.name);
        verbs_port_close(&port);
        return -ENODEV;
    }
    if (port.port.state != IBV_PORT_ACTIVE) {
        (void)snprintf(ret_reason, VERBS_REASON_BYTES, "port %u of %.48s is %s", port.number,
                       port.name, ibv_port_state_str(port.port.state));
        verbs_port_close(&port);
        return -ENETDOWN;
    }
    port.on_demand = has_on_demand(context);
    *ret = port;
    return 0;
}

static bool device_fits(struct ibv_context *context, const uint8_t *gid, int gid_type,
                        struct ibv_gid_entry *ret)
{
    if (find_gid(context, gid, gid_type, ret)) {
        return true;
    }
    return (gid_type == VERBS_GID_ANY || gid_type == VERBSOP_GID_IB) &&
           find_infiniband(context, ret);
}

int verbs_port_open(const struct sockaddr *address, int gid_type, struct verbs_port *ret,
                    char *ret_reason)
{
    uint8_t gid[16];
    int count = 0;
    int error = -EHOSTUNREACH;
    struct ibv_device **devices = ibv_get_device_list(&count);
    (void)snprintf(ret_reason, VERBS_REASON_BYTES, "%s",
                   count == 0 ? "no RDMA device" : "no RDMA device has this address");
    if (devices == NULL || count == 0 || !address_gid(address, gid)) {
        error = -ENODEV;
    }
    for (int i = 0; i < count && error == -EHOSTUNREACH; i++) {
        struct ibv_gid_entry entry;
        struct ibv_context *context = ibv_open_device(devices[i]);
        if (context == NULL) {
            (void)snprintf(ret_reason, VERBS_REASON_BYTES, "%.48s can't be opened: %s",
                           ibv_get_device_name(devices[i]), strerror(errno));
        } else if (device_fits(context, gid, gid_type, &entry)) {
            error = fill_port(context, &entry, ret, ret_reason);
        } else {
            (void)ibv_close_device(context);
        }
    }
    if (devices != NULL) {
        ibv_free_device_list(devices);
    }
    return error;
}

void verbs_port_close(struct verbs_port *port)
{
    if (port->context != NULL) {
        (void)ibv_close_device(port->context);
        port->context = NULL;
    }
}

bool verbs_port_use_gid(struct verbs_port *port, uint8_t gid_type)
{
    if (port->gid.gid_type == gid_type) {
        return true;
    }
    struct ibv_gid_entry entry;
    if (!find_gid(port->context, port->gid.gid.raw, gid_type, &entry)) {
        return false;
    }
    port->gid = entry;
    return true;
}

static uint8_t at_most_255(int value)
{
    return (uint8_t)MAX(0, MIN(value, 255));
}

void verbs_queue_describe(const struct verbs_port *port, const struct ibv_qp *queue,
                          struct verbsop_queue *ret)
{
    uint32_t packet;
    sys_random(&packet, sizeof(packet));
    *ret = (struct verbsop_queue){
        .number = queue->qp_num,
        .packet = packet & VERBSOP_NUMBER_MAX,
        .lid = port->port.lid,
        .mtu = (uint8_t)port->port.active_mtu,
        .link = port->port.link_layer == IBV_LINK_LAYER_ETHERNET ? VERBSOP_LINK_ETHERNET
                                                                 : VERBSOP_LINK_INFINIBAND,
        .gid_type = (uint8_t)port->gid.gid_type,
        .reads_in = at_most_255(port->device.max_qp_rd_atom),
        .reads_out = at_most_255(port->device.max_qp_init_rd_atom),
    };
    memcpy(ret->gid, port->gid.gid.raw, sizeof(ret->gid));
    sys_random(ret->nonce, sizeof(ret->nonce));
}

static int to_init(const struct verbs_port *port, struct ibv_qp *queue, unsigned access)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_INIT,
                                     .pkey_index = 0,
                                     .port_num = port->number,
                                     .qp_access_flags = access};
    return ibv_modify_qp(queue, &attributes,
                         IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static int to_receive(const struct verbs_port *port, struct ibv_qp *queue,
                      const struct verbsop_queue *local, const struct verbsop_queue *remote)
{
    struct ibv_qp_attr attributes = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = (enum ibv_mtu)MIN(local->mtu, remote->mtu),
        .dest_qp_num = remote->number,
        .rq_psn = remote->packet,
        .max_dest_rd_atomic = MIN(local->reads_in, remote->reads_out),
        .min_rnr_timer = RNR_TIMER,
        .ah_attr = {.port_num = port->number, .dlid = remote->lid},
    };
    /* RoCE always has the global header; InfiniBand needs it from one subnet to another. */
    if (local->link == VERBSOP_LINK_ETHERNET || memcmp(local->gid, remote->gid, 8) != 0) {
        attributes.ah_attr.is_global = 1;
        memcpy(attributes.ah_attr.grh.dgid.raw, remote->gid, sizeof(remote->gid));
        attributes.ah_attr.grh.sgid_index = (uint8_t)port->gid.gid_index;
        attributes.ah_attr.grh.hop_limit = HOP_LIMIT;
    }
    return ibv_modify_qp(queue, &attributes,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

static int to_send(struct ibv_qp *queue, const struct verbsop_queue *local,
                   const struct verbsop_queue *remote)
{
    struct ibv_qp_attr attributes = {.qp_state = IBV_QPS_RTS,
                                     .timeout = ACK_TIMEOUT,
                                     .retry_cnt = RETRIES,
                                     .rnr_retry = RETRIES,
                                     .sq_psn = local->packet,
                                     .max_rd_atomic = MIN(local->reads_out, remote->reads_in)};
    return ibv_modify_qp(queue, &attributes,
                         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                             IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
}

int verbs_queue_connect(const struct verbs_port *port, struct ibv_qp *queue,
                        const struct verbsop_queue *local, const struct verbsop_queue *remote,
                        unsigned access)
{
    if (local->link != remote->link || local->gid_type != remote->gid_type) {
        return -EINVAL;
    }
    if (to_init(port, queue, access) != 0 || to_receive(port, queue, local, remote) != 0 ||
        to_send(queue, local, remote) != 0) {
        return -EIO;
    }
    return 0;
}
