/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/handlers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sys/log.h"
#include "memnode/session.h"

#define TEXT_BYTES 160u

static void refuse(struct rpc_request *request, const char *what, Dilos__ErrorCode code,
                   const char *message, const char *remedy)
{
    log_warning("refused", "request=%s reason=\"%s\"", what, message);
    rpc_fail(request, code, message, remedy);
}

/* True if the message may be obeyed; else it has been answered. */
static bool epoch_ok(const struct handlers *handlers, struct rpc_request *request, const char *what,
                     uint64_t epoch)
{
    char text[TEXT_BYTES];
    int error = state_see_epoch(handlers->state, epoch);
    if (error == -ESTALE) {
        (void)snprintf(text, sizeof(text),
                       "epoch %llu is older than %llu, which this node has seen",
                       (unsigned long long)epoch, (unsigned long long)state_epoch(handlers->state));
        refuse(request, what, DILOS__ERROR_CODE__ERROR_STALE_EPOCH, text,
               "another controller has taken over: stop this one");
    } else if (error != 0) {
        (void)snprintf(text, sizeof(text), "the new epoch can't be kept on disk: %s",
                       strerror(-error));
        refuse(request, what, DILOS__ERROR_CODE__ERROR_INTERNAL, text,
               "make room in the memory node's state folder, then try again");
    }
    return error == 0;
}

static bool count_ok(struct rpc_request *request, const char *what, size_t count)
{
    char text[TEXT_BYTES];
    if (count != 0 && count <= SESSION_SLABS_MAX) {
        return true;
    }
    (void)snprintf(text, sizeof(text), "%zu slabs in one request, allowed are 1 to %u", count,
                   SESSION_SLABS_MAX);
    refuse(request, what, DILOS__ERROR_CODE__ERROR_INVALID, text, "split the request");
    return false;
}

static void refuse_grant(const struct handlers *handlers, struct rpc_request *request, int error,
                         const Dilos__SlabGrant *message, uint32_t slab)
{
    char text[TEXT_BYTES];
    struct grants_item held;
    unsigned long long generation = message->generation;
    switch (error) {
    case -EBUSY:
        grants_get(node_grants(handlers->node), slab, &held);
        (void)snprintf(text, sizeof(text), "slab %u is held by %s under generation %llu", slab,
                       held.instance, (unsigned long long)held.generation);
        refuse(request, "grant", DILOS__ERROR_CODE__ERROR_REFUSED, text, "revoke that grant first");
        return;
    case -ESTALE:
        (void)snprintf(text, sizeof(text),
                       "slab %u has seen generation %llu or a later one already", slab, generation);
        refuse(request, "grant", DILOS__ERROR_CODE__ERROR_REFUSED, text, "use a new generation");
        return;
    case -EINVAL:
        (void)snprintf(text, sizeof(text),
                       "slab %u, generation %llu: no such slab, or no instance or generation given",
                       slab, generation);
        refuse(request, "grant", DILOS__ERROR_CODE__ERROR_INVALID, text,
               "look at what the node registered");
        return;
    default:
        (void)snprintf(text, sizeof(text), "slab %u can't be mapped: %s", slab, strerror(-error));
        refuse(request, "grant", DILOS__ERROR_CODE__ERROR_REFUSED, text,
               "free memory on the memory node");
    }
}

static void grant(const struct handlers *handlers, struct rpc_request *request,
                  const Dilos__SlabGrant *message)
{
    uint32_t count = (uint32_t)message->n_slab_indexes;
    uint32_t culprit = 0;
    uint8_t *keys = calloc(count, PAGEOP_KEY_BYTES);
    ProtobufCBinaryData *fields = calloc(count, sizeof(*fields));
    if (keys == NULL || fields == NULL) {
        refuse(request, "grant", DILOS__ERROR_CODE__ERROR_INTERNAL, "out of memory",
               "free memory on the memory node");
        goto out;
    }
    int error = node_grant(handlers->node, message->instance_id, message->generation,
                           message->read_only, message->slab_indexes, count, keys, &culprit);
    if (error != 0) {
        refuse_grant(handlers, request, error, message, culprit);
        goto out;
    }
    Dilos__SlabGrantReply reply = DILOS__SLAB_GRANT_REPLY__INIT;
    for (uint32_t i = 0; i < count; i++) {
        fields[i] = (ProtobufCBinaryData){.len = PAGEOP_KEY_BYTES,
                                          .data = keys + (size_t)i * PAGEOP_KEY_BYTES};
    }
    reply.n_keys = count;
    reply.keys = fields;
    rpc_reply(request, &reply.base);
    log_info("granted", "instance=%s slabs=%u first=%u generation=%llu", message->instance_id,
             count, message->slab_indexes[0], (unsigned long long)message->generation);
out:
    free(keys);
    free(fields);
}

void handlers_grant(const struct handlers *handlers, struct rpc_request *request,
                    const Dilos__SlabGrant *message)
{
    if (request == NULL || !count_ok(request, "grant", message->n_slab_indexes) ||
        !epoch_ok(handlers, request, "grant", message->epoch)) {
        return;
    }
    grant(handlers, request, message);
}

void handlers_revoke(const struct handlers *handlers, struct rpc_request *request,
                     const Dilos__SlabRevoke *message)
{
    char text[TEXT_BYTES];
    if (request == NULL || !count_ok(request, "revoke", message->n_slab_indexes)) {
        return;
    }
    if (message->n_generations != message->n_slab_indexes) {
        refuse(request, "revoke", DILOS__ERROR_CODE__ERROR_INVALID,
               "there is not one generation for each slab", "send as many of both");
        return;
    }
    if (!epoch_ok(handlers, request, "revoke", message->epoch)) {
        return;
    }
    uint32_t count = (uint32_t)message->n_slab_indexes;
    int error = node_revoke(handlers->node, message->slab_indexes, message->generations, count);
    if (error != 0) {
        (void)snprintf(text, sizeof(text), "a slab could not be zeroed: %s", strerror(-error));
        refuse(request, "revoke", DILOS__ERROR_CODE__ERROR_REFUSED, text,
               "revoke again; if it stays so, restart the memory node");
        return;
    }
    Dilos__Empty reply = DILOS__EMPTY__INIT;
    rpc_reply(request, &reply.base);
    log_info("revoked", "slabs=%u first=%u generation=%llu", count, message->slab_indexes[0],
             (unsigned long long)message->generations[0]);
}
