/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs for agents on the same host: their memory, passed over a unix socket after the key check
 * (lib/wire/pageop.h). On a thread of its own. */
#ifndef DILOS_MEMNODE_EXPORT_SHM_H
#define DILOS_MEMNODE_EXPORT_SHM_H

#include <stdbool.h>

#include "memnode/export.h"

#define EXPORT_SHM_UNMAP_TIMEOUT_MS 500u

struct export_shm;

/*
 * Listens on `path` (mode 0600). A stale socket file is replaced. Errors, with text naming cause
 * and remedy in ret_error (EXPORT_ERROR_BYTES): -EINVAL path too long; -EADDRINUSE a live process
 * listens there; other errno of the system.
 */
int export_shm_open(const struct export_context *context, const char *path, struct export_shm **ret,
                    char *ret_error) MUST_CHECK;
/* Removes the socket file. */
struct export_shm *export_shm_close(struct export_shm *export);

enum export_shm_use {
    EXPORT_SHM_NEVER,    /* nobody ever got the slab's memory */
    EXPORT_SHM_UNMAPPED, /* all who got it say that they unmapped it */
    EXPORT_SHM_UNKNOWN,  /* somebody who got it is gone or silent, and may still map it */
};

/*
 * Tells everybody who has these slabs, whose grants are invalid already, to unmap them, and waits
 * up to EXPORT_SHM_UNMAP_TIMEOUT_MS for the answers; who is silent loses the connection. ret_uses
 * has `count` entries. In neither case than NEVER may the slab's file be used again. Not on the
 * export's own thread.
 */
void export_shm_revoke(struct export_shm *export, const uint32_t *slabs, uint32_t count,
                       enum export_shm_use *ret_uses);

#endif
