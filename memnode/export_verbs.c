/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_verbs.h"

#include <errno.h>
#include <stdio.h>

#include "lib/fabric/fabric_verbs.h"

int export_verbs_probe(char *ret_detail, size_t bytes)
{
    char names[128];
    uint32_t count = fabric_verbs_devices(names, sizeof(names));
    if (count == 0) {
        (void)snprintf(ret_detail, bytes, "no RDMA device");
        return -ENODEV;
    }
    (void)snprintf(ret_detail, bytes, "%u RDMA device(s), not used by this version: %s", count,
                   names);
    return -EOPNOTSUPP;
}
