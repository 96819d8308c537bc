/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RDMA. Finds devices, and says honestly that pages don't move over them yet: one-sided reads and
 * writes, memory windows and registration are an issue of their own.
 */
#include "lib/fabric/fabric_verbs.h"

#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>

#include "lib/fabric/provider.h"

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

int fabric_verbs_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                         struct fabric_peer **ret, char *ret_reason)
{
    (void)endpoint;
    (void)deadline_ns;
    (void)ret;
    (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "not there yet in this version");
    return -EHOSTUNREACH;
}
