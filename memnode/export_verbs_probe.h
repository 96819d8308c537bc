/* SPDX-License-Identifier: Apache-2.0 */
/* What a device does, tried rather than believed. */
#ifndef DILOS_MEMNODE_EXPORT_VERBS_PROBE_H
#define DILOS_MEMNODE_EXPORT_VERBS_PROBE_H

#include <stdbool.h>

#include "lib/fabric/verbs_port.h"

/*
 * Whether a memory window ends where it was bound to end, by a read beyond it from a queue pair of
 * our own. Soft-RoCE (Linux 6.1) checks the region's bounds only. False also if it can't be tried.
 * Blocks for two seconds at most.
 */
bool vprobe_bounds(const struct verbs_port *port, struct ibv_pd *pd);

#endif
