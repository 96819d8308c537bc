/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/fabric/fabric_verbs.h"
#include "memnode/export_shm.h"
#include "memnode/export_tcp.h"

struct node {
    struct arena *arena;
    struct grants *grants;
    struct export_counters counters;
    struct incidents *incidents;
    struct export_tcp *tcp;
    struct export_shm *shm;
    char *shm_path;
    struct export_verbs *verbs;
    char verbs_reason[EXPORT_ERROR_BYTES];
    /* What is known about each slab until it is clean again, for a revoke that has to be repeated.
     */
    enum export_shm_use *uses;
};

/* Without verbs the node serves by its other fabrics, and says why. */
static int open_verbs(struct node *node, const struct export_context *context,
                      const struct node_config *config, char *ret_error)
{
    char names[FABRIC_VERBS_NAMES_BYTES];
    if (!config->verbs_wanted && fabric_verbs_devices(names, sizeof(names)) == 0) {
        (void)snprintf(node->verbs_reason, sizeof(node->verbs_reason), "%s", NODE_NO_DEVICE);
        return 0;
    }
    int error = arena_pin(node->arena);
    (void)snprintf(node->verbs_reason, sizeof(node->verbs_reason), "out of memory");
    if (error == 0) {
        struct export_verbs *verbs = NULL;
        error = export_verbs_open(context, &config->listen_verbs, &verbs, node->verbs_reason);
        __atomic_store_n(&node->verbs, verbs, __ATOMIC_RELEASE);
    }
    if (error != 0 && config->verbs_wanted) {
        (void)snprintf(ret_error, NODE_ERROR_BYTES, "%s", node->verbs_reason);
        return error;
    }
    if (error != 0) {
        arena_unpin(node->arena);
    }
    return 0;
}

static void fence(void *context, uint32_t slab, uint64_t generation, uint32_t incarnation)
{
    struct node *node = context;
    struct export_verbs *verbs = __atomic_load_n(&node->verbs, __ATOMIC_ACQUIRE);
    if (verbs != NULL) {
        export_verbs_fence(verbs, slab, generation, incarnation);
    }
}

static int open_parts(struct node *node, const struct node_config *config, char *ret_error)
{
    int error = arena_open(&config->arena, &node->arena, ret_error);
    if (error != 0) {
        return error;
    }
    node->uses = calloc(arena_slab_count(node->arena), sizeof(node->uses[0]));
    error = grants_open(arena_slab_count(node->arena), &node->grants);
    if (error == 0) {
        error = incidents_open(&node->incidents);
    }
    if (node->uses == NULL || error != 0) {
        (void)snprintf(ret_error, NODE_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    const struct export_context context = {.arena = node->arena,
                                           .grants = node->grants,
                                           .counters = &node->counters,
                                           .incidents = node->incidents,
                                           .fence = fence,
                                           .fence_context = node};
    if (config->listen_tcp != NULL) {
        error =
            export_tcp_open(&context, config->listen_tcp, config->insecure, &node->tcp, ret_error);
    }
    if (error == 0 && config->shm_socket != NULL) {
        node->shm_path = strdup(config->shm_socket);
        error = node->shm_path == NULL ? -ENOMEM : 0;
    }
    if (error == 0 && config->shm_socket != NULL) {
        error = export_shm_open(&context, config->shm_socket, &node->shm, ret_error);
    }
    if (error == 0 && config->verbs) {
        error = open_verbs(node, &context, config, ret_error);
    }
    return error;
}

int node_open(const struct node_config *config, struct node **ret, char *ret_error)
{
    struct node *node = calloc(1, sizeof(*node));
    if (node == NULL) {
        (void)snprintf(ret_error, NODE_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    int error = open_parts(node, config, ret_error);
    if (error != 0) {
        (void)node_close(node);
        return error;
    }
    *ret = node;
    return 0;
}

struct node *node_close(struct node *node)
{
    if (node == NULL) {
        return NULL;
    }
    node->tcp = export_tcp_close(node->tcp); /* first: its thread calls fence() */
    node->shm = export_shm_close(node->shm);
    node->verbs = export_verbs_close(node->verbs);
    node->incidents = incidents_close(node->incidents);
    node->grants = grants_close(node->grants);
    node->arena = arena_close(node->arena);
    free(node->shm_path);
    free(node->uses);
    free(node);
    return NULL;
}

const struct arena *node_arena(const struct node *node)
{
    return node->arena;
}

const struct grants *node_grants(const struct node *node)
{
    return node->grants;
}

const struct export_counters *node_counters(const struct node *node)
{
    return &node->counters;
}

struct incidents *node_incidents(const struct node *node)
{
    return node->incidents;
}

const char *node_tcp_address(const struct node *node)
{
    return node->tcp == NULL ? NULL : export_tcp_address(node->tcp);
}

const char *node_shm_path(const struct node *node)
{
    return node->shm == NULL ? NULL : node->shm_path;
}

const char *node_verbs_addresses(const struct node *node)
{
    return node->verbs == NULL ? NULL : export_verbs_addresses(node->verbs);
}

const char *node_verbs_reason(const struct node *node)
{
    return node->verbs_reason;
}

bool node_verbs_status(const struct node *node, struct export_verbs_status *ret)
{
    if (node->verbs == NULL) {
        return false;
    }
    export_verbs_status(node->verbs, ret);
    return true;
}

int node_grant(struct node *node, const char *instance, uint64_t generation, bool read_only,
               const uint32_t *slabs, uint32_t count, uint8_t *ret_keys, uint32_t *ret_slab)
{
    for (uint32_t i = 0; i < count; i++) {
        int error = grants_may_add(node->grants, slabs[i], instance, generation);
        if (error == 0) {
            error = arena_slab_prepare(node->arena, slabs[i]);
        }
        if (error != 0) {
            *ret_slab = slabs[i];
            return error;
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        /* Only this thread changes grants, so what was possible above still is. */
        CHECK(grants_add(node->grants, slabs[i], instance, generation, read_only,
                         ret_keys + (size_t)i * PAGEOP_KEY_BYTES) == 0);
    }
    return 0;
}

static int clean(struct node *node, uint32_t slab)
{
    enum export_shm_use *use = &node->uses[slab];
    int error = *use == EXPORT_SHM_NEVER
                    ? arena_slab_scrub(node->arena, slab)
                    : arena_slab_replace(node->arena, slab, *use == EXPORT_SHM_UNMAPPED);
    if (error == 0 && *use != EXPORT_SHM_NEVER && node->verbs != NULL) {
        export_verbs_replaced(node->verbs, slab);
    }
    if (error == 0) {
        *use = EXPORT_SHM_NEVER;
        grants_freed(node->grants, slab);
    }
    return error;
}

/* All keys are invalid already: no connection can attach these slabs again. */
static int detach_and_clean(struct node *node, const uint32_t *slabs, uint32_t count,
                            enum export_shm_use *uses)
{
    int error = node->verbs == NULL ? 0 : export_verbs_revoke(node->verbs, slabs, count);
    if (error != 0) {
        return error;
    }
    if (node->tcp != NULL) {
        export_tcp_revoke(node->tcp, slabs, count);
    }
    if (node->shm != NULL) {
        export_shm_revoke(node->shm, slabs, count, uses);
    }
    for (uint32_t i = 0; i < count; i++) {
        node->uses[slabs[i]] = MAX(node->uses[slabs[i]], uses[i]);
        int failed = clean(node, slabs[i]);
        error = error == 0 ? failed : error;
    }
    return error;
}

static bool contains(const uint32_t *slabs, uint32_t count, uint32_t slab)
{
    for (uint32_t i = 0; i < count; i++) {
        if (slabs[i] == slab) {
            return true;
        }
    }
    return false;
}

int node_revoke(struct node *node, const uint32_t *slabs, const uint64_t *generations,
                uint32_t count)
{
    uint32_t revoked_count = 0;
    int error = 0;
    if (count == 0) {
        return 0;
    }
    uint32_t *revoked = calloc(count, sizeof(*revoked));
    enum export_shm_use *uses = calloc(count, sizeof(*uses));
    if (revoked == NULL || uses == NULL) {
        error = -ENOMEM;
    }
    for (uint32_t i = 0; i < count && error == 0; i++) {
        if (grants_revoke(node->grants, slabs[i], generations[i]) &&
            !contains(revoked, revoked_count, slabs[i])) {
            revoked[revoked_count++] = slabs[i];
        }
    }
    if (revoked_count != 0) {
        error = detach_and_clean(node, revoked, revoked_count, uses);
    }
    free(revoked);
    free(uses);
    return error;
}
