/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs over RDMA: not there yet, it is an issue of its own. What stands is the finding of devices
 * (lib/fabric/fabric_verbs.h) and this refusal. */
#ifndef DILOS_MEMNODE_EXPORT_VERBS_H
#define DILOS_MEMNODE_EXPORT_VERBS_H

#include <stddef.h>

#include "lib/base/compiler.h"

/*
 * Whether this node can serve RDMA: 0, or -ENODEV (no device) or -EOPNOTSUPP (there are devices,
 * this version doesn't use them). `bytes` of ret_detail say what was found, also for 0.
 */
int export_verbs_probe(char *ret_detail, size_t bytes) MUST_CHECK;

#endif
