/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/slab_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

int slab_pool_init(struct slab_pool *pool, const struct slab_pool_config *config,
                   const struct guest_memory *memory)
{
    memset(pool, 0, sizeof(*pool));
    pool->config = *config;
    pool->memory = memory;
    list_init(&pool->spares);
    return slab_map_open(config->slab_bytes, &pool->map);
}

void slab_pool_fini(struct slab_pool *pool)
{
    for (struct slab *slab = slab_map_next(pool->map, 0); slab != NULL;) {
        slab_map_remove(pool->map, slab);
        (void)slab_close(slab);
        slab = slab_map_next(pool->map, 0);
    }
    list_for_each_safe (node, &pool->spares) {
        (void)slab_close(list_entry(node, struct slab, link));
    }
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        if (pool->peers[i].fabric != NULL) {
            pool->peers[i].fabric = fabric_close(pool->peers[i].fabric);
        }
    }
    pool->map = slab_map_close(pool->map);
}

struct fabric_peer *slab_pool_fabric(const struct slab_pool *pool, const struct slab *slab)
{
    return pool->peers[slab->peer_index].fabric;
}

const char *slab_pool_node(const struct slab_pool *pool, const struct slab *slab)
{
    return pool->peers[slab->peer_index].node;
}

static int peer_register(const struct slab_pool *pool, struct fabric_peer *fabric)
{
    for (uint32_t i = 0; i < pool->memory->region_count; i++) {
        const struct guest_region *region = &pool->memory->regions[i];
        int r = fabric_register(fabric, region->host, region->bytes);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

void slab_pool_forget_memory(struct slab_pool *pool)
{
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        if (pool->peers[i].fabric != NULL) {
            fabric_unregister_all(pool->peers[i].fabric);
        }
    }
}

int slab_pool_register_memory(struct slab_pool *pool)
{
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        struct slab_pool_peer *peer = &pool->peers[i];
        if (peer->fabric != NULL && !peer->dead) {
            int r = peer_register(pool, peer->fabric);
            if (r < 0) {
                return r;
            }
        }
    }
    return 0;
}

/* A node that was started again elsewhere is another peer. */
static int peer_find(struct slab_pool *pool, const struct slab_grant *grant, uint32_t *ret)
{
    uint32_t vacant = SLAB_POOL_PEERS_MAX;
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        struct slab_pool_peer *peer = &pool->peers[i];
        if (peer->fabric == NULL) {
            vacant = MIN(vacant, i);
        } else if (!peer->dead && fabric_alive(peer->fabric) &&
                   strcmp(peer->node, grant->node) == 0 &&
                   fabric_steady_is_at(peer->fabric, &grant->endpoint)) {
            *ret = i;
            return 0;
        }
    }
    if (vacant == SLAB_POOL_PEERS_MAX) {
        return -ENOSPC;
    }
    *ret = vacant;
    return 1;
}

static int prepare_connection(void *context, struct fabric_peer *connection)
{
    return peer_register(context, connection);
}

static void note_connection(void *context, const char *text)
{
    const struct slab_pool *pool = context;
    pool->config.note(pool->config.context, text);
}

static int peer_connect(struct slab_pool *pool, struct slab_pool_peer *peer,
                        const struct slab_grant *grant)
{
    const struct fabric_steady_config config = {.endpoint = grant->endpoint,
                                                .choice = pool->config.choice,
                                                .times = FABRIC_STEADY_TIMES,
                                                .prepare = prepare_connection,
                                                .note = note_connection,
                                                .context = pool};
    struct fabric_peer *fabric;
    int r = fabric_steady_open(&config, &fabric);
    if (r < 0) {
        return r;
    }
    memset(peer, 0, sizeof(*peer));
    peer->fabric = fabric;
    (void)snprintf(peer->node, sizeof(peer->node), "%s", grant->node);
    return 0;
}

static int peer_for(struct slab_pool *pool, const struct slab_grant *grant, uint32_t *ret)
{
    int r = peer_find(pool, grant, ret);
    if (r > 0) {
        pool->peer_count = MAX(pool->peer_count, *ret + 1);
        r = peer_connect(pool, &pool->peers[*ret], grant);
    }
    return r;
}

static void release(struct slab_pool *pool, const char *node, uint32_t slab_index,
                    uint64_t generation)
{
    struct slab_identity identity = {.slab_index = slab_index, .generation = generation};
    (void)snprintf(identity.node, sizeof(identity.node), "%s", node);
    pool->config.release(pool->config.context, &identity);
}

/* A peer without slabs is closed, so that its place can be taken. */
static void peer_let_go(struct slab_pool_peer *peer)
{
    peer->slab_count--;
    if (peer->dead && peer->slab_count == 0) {
        peer->fabric = fabric_close(peer->fabric);
    }
}

static void slab_give_back(struct slab_pool *pool, struct slab *slab)
{
    struct slab_pool_peer *peer = &pool->peers[slab->peer_index];
    fabric_detach(peer->fabric, slab->fabric_slab);
    release(pool, peer->node, slab->slab_index, slab->generation);
    peer_let_go(peer);
    pool->held--;
    pool->refused = false;
    pool->missed = false;
    (void)slab_close(slab);
}

static int grant_attach(struct slab_pool *pool, const struct slab_grant *grant, uint64_t token,
                        struct slab **ret)
{
    if (grant->fabric.slab_bytes != pool->config.slab_bytes) {
        return -EINVAL;
    }
    uint32_t peer_index;
    int r = peer_for(pool, grant, &peer_index);
    if (r < 0) {
        return r;
    }
    struct slab *slab = slab_open(pool->config.slab_bytes);
    if (slab == NULL) {
        return -ENOMEM;
    }
    r = fabric_attach(pool->peers[peer_index].fabric, &grant->fabric, token, &slab->fabric_slab);
    if (r < 0) {
        (void)slab_close(slab);
        return r;
    }
    slab->peer_index = peer_index;
    slab->slab_index = grant->fabric.slab_index;
    slab->generation = grant->fabric.generation;
    pool->peers[peer_index].slab_count++;
    *ret = slab;
    return 0;
}

int slab_pool_grant(struct slab_pool *pool, const struct slab_grant *grant, uint64_t token,
                    struct slab **ret)
{
    int r = grant_attach(pool, grant, token, ret);
    if (r < 0) {
        release(pool, grant->node, grant->fabric.slab_index, grant->fabric.generation);
        pool->grant_failures++;
        return r;
    }
    pool->attaching++;
    pool->held++;
    return 0;
}

void slab_pool_attached(struct slab_pool *pool, struct slab *slab, int status)
{
    CHECK(pool->attaching > 0);
    pool->attaching--;
    if (status != 0) {
        char text[SLAB_POOL_TEXT_BYTES];
        (void)snprintf(text, sizeof(text), "memory node %s: slab %u can't be used: %s",
                       slab_pool_node(pool, slab), slab->slab_index, strerror(-status));
        pool->config.note(pool->config.context, text);
        slab_give_back(pool, slab);
        pool->grant_failures++;
        return;
    }
    pool->refused = false;
    pool->missed = false;
    pool->grant_failures = 0;
    list_append(&pool->spares, &slab->link);
    pool->spare_count++;
}

static struct slab *spare_pop(struct slab_pool *pool)
{
    struct slab *slab = list_entry(list_first(&pool->spares), struct slab, link);
    list_remove(&slab->link);
    pool->spare_count--;
    return slab;
}

void slab_pool_trim(struct slab_pool *pool)
{
    while (pool->spare_count > SLAB_POOL_SPARES) {
        slab_give_back(pool, spare_pop(pool));
    }
}

struct slab *slab_pool_take(struct slab_pool *pool, uint64_t number)
{
    while (pool->spare_count > 0) {
        struct slab *slab = spare_pop(pool);
        if (!fabric_alive(slab_pool_fabric(pool, slab))) {
            slab_give_back(pool, slab);
            continue;
        }
        if (slab_map_put(pool->map, number, slab) == 0) {
            return slab;
        }
        list_prepend(&pool->spares, &slab->link);
        pool->spare_count++;
        return NULL;
    }
    return NULL;
}

void slab_pool_put_back(struct slab_pool *pool, struct slab *slab)
{
    CHECK(slab->pages_set == 0);
    CHECK(slab->in_flight == 0);
    slab_map_remove(pool->map, slab);
    if (slab->lost || pool->spare_count >= SLAB_POOL_SPARES) {
        slab_give_back(pool, slab);
        return;
    }
    list_append(&pool->spares, &slab->link);
    pool->spare_count++;
}

uint32_t slab_pool_ask(const struct slab_pool *pool, uint32_t waiting)
{
    if (pool->asked || pool->config.far_bytes == 0) {
        return 0;
    }
    uint64_t limit =
        (pool->config.far_bytes + pool->config.slab_bytes - 1) / pool->config.slab_bytes;
    uint64_t spares = pool->refused ? (pool->missed ? 1 : 0) : SLAB_POOL_SPARES;
    uint64_t wanted = waiting + spares;
    uint64_t coming = pool->spare_count + pool->attaching;
    uint64_t ask = wanted > coming ? wanted - coming : 0;
    /* Spares stay within what the instance may hold; whether it may have more is not ours to say.*/
    uint64_t room = limit > pool->held ? limit - pool->held : 0;
    uint64_t needed = waiting + (pool->missed ? 1 : 0);
    uint64_t least = needed > coming ? needed - coming : 0;
    ask = MAX(MIN(ask, room), least);
    return (uint32_t)MIN(ask, SLAB_POOL_ASK_MAX);
}

static void peer_drop_spares(struct slab_pool *pool, uint32_t peer_index)
{
    list_for_each_safe (node, &pool->spares) {
        struct slab *slab = list_entry(node, struct slab, link);
        if (slab->peer_index == peer_index) {
            list_remove(&slab->link);
            pool->spare_count--;
            slab_give_back(pool, slab);
        }
    }
}

void slab_pool_check_peers(struct slab_pool *pool)
{
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        struct slab_pool_peer *peer = &pool->peers[i];
        if (peer->fabric == NULL || peer->dead || fabric_alive(peer->fabric)) {
            continue;
        }
        peer->dead = true;
        peer_drop_spares(pool, i);
        if (peer->fabric != NULL && peer->slab_count == 0) {
            peer->fabric = fabric_close(peer->fabric);
        }
    }
}
