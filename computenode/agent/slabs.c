/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs of instances: asked for with a key that makes asking again harmless, and given back. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent_internal.h"
#include "lib/sys/log.h"

#define RELEASE_MAX 64u /* slabs in one message */

static bool held_add(struct member *member, const Dilos__GrantedSlab *slab)
{
    if (member->held_count == member->held_capacity) {
        uint32_t capacity = MAX(16u, member->held_capacity * 2);
        struct held_slab *grown =
            capacity > AGENT_HELD_MAX ? NULL : realloc(member->held, capacity * sizeof(*grown));
        if (grown == NULL) {
            return false;
        }
        member->held = grown;
        member->held_capacity = capacity;
    }
    struct held_slab *held = &member->held[member->held_count++];
    memset(held, 0, sizeof(*held));
    held->slab.slab_index = slab->slab_index;
    held->slab.generation = slab->generation;
    (void)strncpy(held->slab.node, slab->node, sizeof(held->slab.node) - 1);
    return true;
}

static bool same(const struct slab_identity *a, const struct slab_identity *b)
{
    return a->slab_index == b->slab_index && a->generation == b->generation &&
           strcmp(a->node, b->node) == 0;
}

static const Dilos__Endpoint *endpoint_of(const Dilos__SlabAcquireReply *reply, const char *node)
{
    for (size_t i = 0; i < reply->n_endpoints; i++) {
        if (strcmp(reply->endpoints[i]->node, node) == 0) {
            return reply->endpoints[i]->endpoint;
        }
    }
    return NULL;
}

static const char *offered(const char *text)
{
    return text == NULL || text[0] == '\0' ? NULL : text;
}

static bool grant_from(const Dilos__SlabAcquireReply *reply, const Dilos__GrantedSlab *slab,
                       struct slab_grant *ret)
{
    const Dilos__Endpoint *endpoint = endpoint_of(reply, slab->node);
    if (endpoint == NULL || slab->key.len != FABRIC_KEY_BYTES ||
        strlen(slab->node) >= SLAB_POOL_NAME_BYTES) {
        return false;
    }
    *ret = (struct slab_grant){
        .node = slab->node,
        .endpoint = {.node = slab->node,
                     .host_id = offered(endpoint->host_id),
                     .tcp_address = offered(endpoint->tcp_address),
                     .shm_path = offered(endpoint->shm_path),
                     .verbs_address = offered(endpoint->verbs_address)},
        .fabric = {.slab_index = slab->slab_index,
                   .generation = slab->generation,
                   .slab_bytes = slab->slab_bytes},
    };
    memcpy(ret->fabric.key, slab->key.data, FABRIC_KEY_BYTES);
    return true;
}

static void take_grants(struct member *member, const Dilos__SlabAcquireReply *reply)
{
    struct slab_grant grants[SLAB_POOL_ASK_MAX];
    uint32_t count = 0;
    for (size_t i = 0; i < reply->n_slabs && count < SLAB_POOL_ASK_MAX; i++) {
        if (held_add(member, reply->slabs[i]) &&
            grant_from(reply, reply->slabs[i], &grants[count])) {
            count++;
        } else {
            log_error("grant-unusable", "instance=%s node=%s slab=%u",
                      instance_name(member->instance), reply->slabs[i]->node,
                      reply->slabs[i]->slab_index);
        }
    }
    instance_granted(member->instance, grants, count);
}

static bool is_passing(const Dilos__Error *error)
{
    return error->code == DILOS__ERROR_CODE__ERROR_UNAVAILABLE ||
           error->code == DILOS__ERROR_CODE__ERROR_TIMEOUT ||
           error->code == DILOS__ERROR_CODE__ERROR_INTERNAL;
}

static void acquired(void *context, const ProtobufCMessage *message, const Dilos__Error *error)
{
    struct member *member = context;
    member->ask_sent = false;
    if (error != NULL && is_passing(error)) {
        session_retry(member->agent); /* with the same key */
        return;
    }
    member->ask_count = 0;
    if (error != NULL) {
        instance_refused(member->instance, error->message);
    } else {
        take_grants(member, (const Dilos__SlabAcquireReply *)message);
    }
}

static void send_ask(struct member *member, struct rpc_connection *connection)
{
    Dilos__SlabAcquire body = DILOS__SLAB_ACQUIRE__INIT;
    body.instance_id = (char *)(uintptr_t)instance_id(member->instance);
    body.slab_count = member->ask_count;
    body.request_key = (ProtobufCBinaryData){.len = REQUEST_KEY_BYTES, .data = member->ask_key};
    int error = rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_ACQUIRE, &body.base,
                         &dilos__slab_acquire_reply__descriptor, AGENT_CALL_MS, acquired, member);
    member->ask_sent = error == 0;
    if (error < 0) {
        session_retry(member->agent);
    }
}

void slabs_ask(void *context, struct instance *instance, uint32_t slab_count)
{
    struct member *member = instance_data(instance);
    (void)context;
    member->ask_count = slab_count;
    sys_random(member->ask_key, sizeof(member->ask_key));
    slabs_send_owed(member);
}

static void forget_released(struct member *member)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < member->held_count; i++) {
        if (!member->held[i].releasing) {
            member->held[kept++] = member->held[i];
        }
    }
    member->held_count = kept;
}

/* What one RELEASE names. What is released while it is under way waits for the next. */
struct release {
    struct member *member;
    uint32_t count;
    struct slab_identity slabs[RELEASE_MAX];
};

static void held_remove(struct member *member, const struct slab_identity *slab)
{
    for (uint32_t i = 0; i < member->held_count; i++) {
        if (same(&member->held[i].slab, slab)) {
            member->held[i] = member->held[--member->held_count];
            return;
        }
    }
}

static void released(void *context, const ProtobufCMessage *message, const Dilos__Error *error)
{
    struct release *release = context;
    struct member *member = release->member;
    (void)message;
    member->release_sent = false;
    if (error != NULL && is_passing(error)) {
        session_retry(member->agent);
    } else {
        for (uint32_t i = 0; i < release->count; i++) {
            held_remove(member, &release->slabs[i]);
        }
        slabs_send_owed(member);
    }
    free(release);
}

static void send_release(struct member *member, struct rpc_connection *connection)
{
    struct release *release = calloc(1, sizeof(*release));
    Dilos__GrantedSlab slabs[RELEASE_MAX];
    Dilos__GrantedSlab *list[RELEASE_MAX];
    if (release == NULL) {
        session_retry(member->agent);
        return;
    }
    release->member = member;
    for (uint32_t i = 0; i < member->held_count && release->count < RELEASE_MAX; i++) {
        if (member->held[i].releasing) {
            struct slab_identity *slab = &release->slabs[release->count];
            *slab = member->held[i].slab;
            Dilos__GrantedSlab *granted = &slabs[release->count];
            dilos__granted_slab__init(granted);
            granted->node = slab->node;
            granted->slab_index = slab->slab_index;
            granted->generation = slab->generation;
            list[release->count++] = granted;
        }
    }
    Dilos__SlabRelease body = DILOS__SLAB_RELEASE__INIT;
    body.instance_id = (char *)(uintptr_t)instance_id(member->instance);
    body.n_slabs = release->count;
    body.slabs = list;
    int error = release->count == 0
                    ? -ENOENT
                    : rpc_call(connection, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_RELEASE, &body.base,
                               &dilos__empty__descriptor, AGENT_CALL_MS, released, release);
    member->release_sent = error == 0;
    if (error < 0) {
        free(release);
        if (error != -ENOENT) {
            session_retry(member->agent);
        }
    }
}

void slabs_release(void *context, struct instance *instance, const struct slab_identity *slab)
{
    struct member *member = instance_data(instance);
    (void)context;
    for (uint32_t i = 0; i < member->held_count; i++) {
        if (same(&member->held[i].slab, slab)) {
            member->held[i].releasing = true;
        }
    }
    slabs_send_owed(member);
}

void slabs_send_owed(struct member *member)
{
    struct rpc_connection *connection = session_connection(member->agent);
    if (instance_state(member->instance) >= INSTANCE_ENDING) {
        /* The report of its end gives everything back at once. */
        member->ask_count = 0;
        forget_released(member);
        return;
    }
    if (connection == NULL) {
        return;
    }
    if (member->ask_count > 0 && !member->ask_sent) {
        send_ask(member, connection);
    }
    if (!member->release_sent) {
        send_release(member, connection);
    }
}
