/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A memory node without its controller: the arena, the grants, the exports, and the two things that
 * are done to them. One thread calls these functions; the exports have threads of their own.
 */
#ifndef DILOS_MEMNODE_NODE_H
#define DILOS_MEMNODE_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "memnode/arena.h"
#include "memnode/export.h"
#include "memnode/export_verbs.h"
#include "memnode/grants.h"
#include "memnode/incidents.h"

#define NODE_ERROR_BYTES 512u
#define NODE_NO_DEVICE   "no RDMA device" /* a reason of node_verbs_reason */

struct node;

struct node_config {
    struct arena_config arena;
    const char *listen_tcp; /* NULL: no TCP */
    bool insecure;
    const char *shm_socket; /* NULL: no shared memory */
    bool verbs;
    struct export_verbs_config listen_verbs;
    bool verbs_wanted; /* the node doesn't start without */
};

/* Errors, with text naming cause and remedy in ret_error (NODE_ERROR_BYTES): of arena_open,
 * export_tcp_open, export_shm_open and export_verbs_open. */
int node_open(const struct node_config *config, struct node **ret, char *ret_error) MUST_CHECK;
struct node *node_close(struct node *node);

const struct arena *node_arena(const struct node *node);
const struct grants *node_grants(const struct node *node);
const struct export_counters *node_counters(const struct node *node);
struct incidents *node_incidents(const struct node *node);
/* NULL if it isn't offered. */
const char *node_tcp_address(const struct node *node);
const char *node_shm_path(const struct node *node);
const char *node_verbs_addresses(const struct node *node);
/* Why it isn't, in words, or "". */
const char *node_verbs_reason(const struct node *node);
/* False: not offered. */
bool node_verbs_status(const struct node *node, struct export_verbs_status *ret);

/*
 * Grants all these slabs or none. ret_keys gets `count` times PAGEOP_KEY_BYTES. Granting the same
 * again gives the same keys. Errors: of grants_add, -ENOMEM; *ret_slab is the one that it is about.
 */
int node_grant(struct node *node, const char *instance, uint64_t generation, bool read_only,
               const uint32_t *slabs, uint32_t count, uint8_t *ret_keys,
               uint32_t *ret_slab) MUST_CHECK;

/*
 * Takes slabs back: keys invalid, detached everywhere, contents gone; then returns 0, and they are
 * free. What isn't granted under that generation is already as wanted. Blocks for at most
 * EXPORT_SHM_UNMAP_TIMEOUT_MS and the time that zeroing takes. Errors: -EIO or errno of the system
 * for a slab that could not be cleaned: it stays unusable; call again.
 */
int node_revoke(struct node *node, const uint32_t *slabs, const uint64_t *generations,
                uint32_t count) MUST_CHECK;

#endif
