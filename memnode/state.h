/* SPDX-License-Identifier: Apache-2.0 */
/* What a node keeps on disk: who it is, and the highest epoch that it has seen. */
#ifndef DILOS_MEMNODE_STATE_H
#define DILOS_MEMNODE_STATE_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/sys/sys.h"

#define STATE_ERROR_BYTES 384u

struct state;

/*
 * Opens (makes) the folder and locks it: one process a folder. Errors, with text naming cause and
 * remedy in ret_error (STATE_ERROR_BYTES): -EWOULDBLOCK another process has it; -EINVAL a file in
 * it is broken; errno of the system.
 */
int state_open(const char *folder, struct state **ret, char *ret_error) MUST_CHECK;
struct state *state_close(struct state *state);

/* Chosen at the first start; SYS_ID_BYTES - 1 hexadecimal digits. */
const char *state_node_id(const struct state *state);
uint64_t state_epoch(const struct state *state);

/*
 * A message came under `epoch`. A new highest one is on disk before this returns. Errors: -ESTALE
 * it is older than one seen before; errno of the system if it could not be kept.
 */
int state_see_epoch(struct state *state, uint64_t epoch) MUST_CHECK;

#endif
