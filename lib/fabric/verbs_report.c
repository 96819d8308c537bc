/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/fabric/fabric_verbs.h"
#include "lib/fabric/verbs_port.h"
#include "lib/sys/sys.h"

uint32_t fabric_verbs_devices(char *ret_names, size_t bytes)
{
    int count = 0;
    size_t used = 0;
    struct ibv_device **devices = ibv_get_device_list(&count);
    ret_names[0] = '\0';
    for (int i = 0; devices != NULL && i < count && used < bytes; i++) {
        used += (size_t)snprintf(ret_names + used, bytes - used, "%s%s", i == 0 ? "" : " ",
                                 ibv_get_device_name(devices[i]));
    }
    if (devices != NULL) {
        ibv_free_device_list(devices);
    }
    return devices == NULL ? 0 : (uint32_t)count;
}

static int numa_node(const char *device)
{
    char path[160];
    char *text = NULL;
    size_t bytes = 0;
    (void)snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device/numa_node", device);
    if (sys_read_file(path, 64, &text, &bytes) != 0) {
        return -1;
    }
    int node = (int)strtol(text, NULL, 10);
    free(text);
    return node;
}

/* Gb/s of a lane and lanes of a link, as the specification's bits (IBTA 1.4, PortInfo). */
static uint32_t link_gbits(const struct ibv_port_attr *port)
{
    static const struct {
        uint8_t bit;
        uint32_t tenths;
    } speeds[] = {{1, 25},   {2, 50},   {4, 100},  {8, 100},
                  {16, 140}, {32, 250}, {64, 500}, {128, 1000}};
    static const uint32_t widths[][2] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
    uint32_t tenths = 0;
    uint32_t lanes = 0;
    for (unsigned i = 0; i < ARRAY_LEN(speeds); i++) {
        tenths = port->active_speed == speeds[i].bit ? speeds[i].tenths : tenths;
    }
    for (unsigned i = 0; i < ARRAY_LEN(widths); i++) {
        lanes = port->active_width == widths[i][0] ? widths[i][1] : lanes;
    }
    return tenths * lanes / 10;
}

static const char *gid_type_name(uint32_t type)
{
    static const char *const names[] = {"IB", "RoCE v1", "RoCE v2"};
    return type < ARRAY_LEN(names) ? names[type] : "unknown";
}

/* The IPv4 address that a GID is, or "". */
static void gid_address(const union ibv_gid *gid, char *to)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    to[0] = '\0';
    if (memcmp(gid->raw, mapped, sizeof(mapped)) == 0) {
        (void)inet_ntop(AF_INET, gid->raw + sizeof(mapped), to, FABRIC_ADDRESS_BYTES);
    }
}

/* The GID that is an IPv4 address, v2 before v1; else the first. */
static void fill_gid(struct ibv_context *context, struct fabric_verbs_port *port)
{
    struct ibv_gid_entry entries[VERBS_GIDS_MAX];
    ssize_t count = ibv_query_gid_table(context, entries, VERBS_GIDS_MAX, 0);
    int best = -1;
    uint32_t best_type = 0;
    for (ssize_t i = 0; i < count; i++) {
        char address[FABRIC_ADDRESS_BYTES];
        if (entries[i].port_num != port->number) {
            continue;
        }
        gid_address(&entries[i].gid, address);
        bool better = port->address[0] == '\0'
                          ? address[0] != '\0' || best < 0
                          : address[0] != '\0' && entries[i].gid_type > best_type;
        if (better) {
            best = (int)i;
            best_type = entries[i].gid_type;
            memcpy(port->address, address, sizeof(address));
        }
    }
    if (best >= 0) {
        (void)inet_ntop(AF_INET6, entries[best].gid.raw, port->gid, sizeof(port->gid));
        (void)snprintf(port->gid_type, sizeof(port->gid_type), "%s", gid_type_name(best_type));
    }
}

static bool on_demand(struct ibv_context *context)
{
    struct ibv_device_attr_ex attributes;
    return ibv_query_device_ex(context, NULL, &attributes) == 0 &&
           (attributes.odp_caps.general_caps & IBV_ODP_SUPPORT) != 0;
}

static uint32_t positive(int value)
{
    return value > 0 ? (uint32_t)value : 0;
}

static bool fill_port(struct ibv_context *context, const struct ibv_device_attr *device,
                      uint8_t number, struct fabric_verbs_port *ret)
{
    struct ibv_port_attr port;
    if (ibv_query_port(context, number, &port) != 0) {
        return false;
    }
    *ret = (struct fabric_verbs_port){
        .number = number,
        .active = port.state == IBV_PORT_ACTIVE,
        .infiniband = port.link_layer != IBV_LINK_LAYER_ETHERNET,
        .mtu_bytes = verbs_mtu_bytes(port.active_mtu),
        .mtu_bytes_max = verbs_mtu_bytes(port.max_mtu),
        .gbits = link_gbits(&port),
        .queues_max = positive(device->max_qp),
        .windows_max = positive(device->max_mw),
        .regions_max = positive(device->max_mr),
        .reads_max = positive(MIN(device->max_qp_rd_atom, device->max_qp_init_rd_atom)),
        .windows_2b = (device->device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0,
        .on_demand = on_demand(context),
    };
    (void)snprintf(ret->device, sizeof(ret->device), "%s", ibv_get_device_name(context->device));
    (void)snprintf(ret->state, sizeof(ret->state), "%s",
                   ret->active ? "active" : (port.state == IBV_PORT_DOWN ? "down" : "not ready"));
    ret->numa_node = numa_node(ret->device);
    fill_gid(context, ret);
    return true;
}

uint32_t fabric_verbs_ports(struct fabric_verbs_port *ret, uint32_t max)
{
    int device_count = 0;
    uint32_t count = 0;
    struct ibv_device **devices = ibv_get_device_list(&device_count);
    for (int i = 0; devices != NULL && i < device_count; i++) {
        struct ibv_device_attr device;
        struct ibv_context *context = ibv_open_device(devices[i]);
        if (context == NULL) {
            continue;
        }
        if (ibv_query_device(context, &device) == 0) {
            for (uint8_t number = 1; number <= device.phys_port_cnt && count < max; number++) {
                count += fill_port(context, &device, number, &ret[count]) ? 1 : 0;
            }
        }
        (void)ibv_close_device(context);
    }
    if (devices != NULL) {
        ibv_free_device_list(devices);
    }
    return count;
}

void fabric_verbs_port_text(const struct fabric_verbs_port *port, char *to)
{
    char rate[32] = "";
    char numa[32] = "";
    if (port->gbits != 0) {
        (void)snprintf(rate, sizeof(rate), " %u Gb/s", port->gbits);
    }
    if (port->numa_node >= 0) {
        (void)snprintf(numa, sizeof(numa), ", NUMA node %d", port->numa_node);
    }
    (void)snprintf(
        to, FABRIC_VERBS_TEXT_BYTES,
        "%s/%u %s, %s%s, MTU %u of %u, GID %s (%s), %u queue pairs, %u windows%s, %u "
        "regions, %u reads at once%s%s",
        port->device, port->number, port->state, port->infiniband ? "InfiniBand" : "Ethernet", rate,
        port->mtu_bytes, port->mtu_bytes_max, port->gid[0] == '\0' ? "none" : port->gid,
        port->gid_type[0] == '\0' ? "-" : port->gid_type, port->queues_max, port->windows_max,
        port->windows_2b ? " (type 2B)" : " (not of type 2B)", port->regions_max, port->reads_max,
        port->on_demand ? ", on-demand paging" : "", numa);
}
