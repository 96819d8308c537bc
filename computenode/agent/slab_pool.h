/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slabs of one instance and the memory nodes that they lie on: connects to nodes, attaches
 * granted slabs, keeps spares in hand, says how many more to ask for, gives back what holds
 * nothing. Owned by the data thread.
 */
#ifndef DILOS_AGENT_SLAB_POOL_H
#define DILOS_AGENT_SLAB_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/guest_memory.h"
#include "computenode/agent/slab_map.h"
#include "lib/base/compiler.h"
#include "lib/fabric/fabric.h"
#include "lib/fabric/steady.h"

#define SLAB_POOL_PEERS_MAX 64u
#define SLAB_POOL_SPARES    2u
#define SLAB_POOL_ASK_MAX   16u
/* Grants in a row that could not be used, after which waiting writes fail. */
#define SLAB_POOL_GRANT_FAILURES_MAX 8u
#define SLAB_POOL_NAME_BYTES         64u
#define SLAB_POOL_TEXT_BYTES         192u

/* A slab as the controller granted it. Strings are copied. */
struct slab_grant {
    const char *node;
    struct fabric_endpoint endpoint;
    struct fabric_grant fabric;
};

/* What identifies a slab towards the controller. */
struct slab_identity {
    char node[SLAB_POOL_NAME_BYTES];
    uint32_t slab_index;
    uint64_t generation;
};

struct slab_pool_peer {
    char node[SLAB_POOL_NAME_BYTES];
    struct fabric_peer *fabric; /* of lib/fabric/steady.h; NULL: the place is free */
    bool dead;
    uint32_t slab_count;
};

struct slab_pool_config {
    uint64_t slab_bytes;
    uint64_t far_bytes;          /* 0: no far memory */
    struct fabric_choice choice; /* its strings outlive the pool */
    /* A slab is no longer used here: the controller may have it. */
    void (*release)(void *context, const struct slab_identity *slab);
    /* Something that an operator should see in the instance's log. */
    void (*note)(void *context, const char *text);
    void *context;
};

struct slab_pool {
    struct slab_pool_config config;
    struct slab_map *map;
    struct list spares; /* attached, hold nothing */
    uint32_t spare_count;
    uint32_t attaching;
    uint32_t held;           /* all slabs: mapped, spare and attaching */
    bool asked;              /* a request to the controller is under way */
    bool missed;             /* since the refusal, a write failed for want of a slab */
    bool refused;            /* the last one was refused: no spares until something changes */
    uint32_t grant_failures; /* in a row */
    const struct guest_memory *memory;
    uint32_t peer_count; /* places that were ever used: those from here on are free */
    struct slab_pool_peer peers[SLAB_POOL_PEERS_MAX];
};

/* Errors: -EINVAL slab_bytes, -ENOMEM. `memory` may still be empty. */
int slab_pool_init(struct slab_pool *pool, const struct slab_pool_config *config,
                   const struct guest_memory *memory) MUST_CHECK;
/* Closes peers (what is in flight is forgotten) and frees all slabs without a word to anybody. */
void slab_pool_fini(struct slab_pool *pool);

/* Guest memory is about to be unmapped, with nothing in flight: the fabrics forget it. */
void slab_pool_forget_memory(struct slab_pool *pool);
/* Guest memory was mapped anew: names it to the fabrics. Errors: those of fabric_register. */
int slab_pool_register_memory(struct slab_pool *pool) MUST_CHECK;

/*
 * Begins to use a granted slab: connects if need be, and attaches; slab_pool_attached() must follow
 * when `token` completes. On errors the slab was given back: -ENOSPC too many peers, -EINVAL
 * another slab size, -ENOMEM, -EMFILE, -EAGAIN.
 */
int slab_pool_grant(struct slab_pool *pool, const struct slab_grant *grant, uint64_t token,
                    struct slab **ret) MUST_CHECK;
/* status 0: the slab is a spare now. Else it was given back. */
void slab_pool_attached(struct slab_pool *pool, struct slab *slab, int status);

/* Maps a spare at `number`. NULL: none in hand, or no memory. */
struct slab *slab_pool_take(struct slab_pool *pool, uint64_t number);
/* A mapped slab that holds nothing and has nothing in flight: becomes a spare or goes back. */
void slab_pool_put_back(struct slab_pool *pool, struct slab *slab);

/* Gives back spares beyond SLAB_POOL_SPARES: an answer that came when others had come free. */
void slab_pool_trim(struct slab_pool *pool);

/* How many slabs to ask the controller for now, for `waiting` that requests wait for. */
uint32_t slab_pool_ask(const struct slab_pool *pool, uint32_t waiting);

/* Looks after peers that died: their spares go. */
void slab_pool_check_peers(struct slab_pool *pool);

struct fabric_peer *slab_pool_fabric(const struct slab_pool *pool, const struct slab *slab);
const char *slab_pool_node(const struct slab_pool *pool, const struct slab *slab);

#endif
