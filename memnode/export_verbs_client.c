/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_verbs_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "lib/wire/pageop.h"

#define MESSAGES_MAX 64u /* of one client, before others get their turn */
#define GROW_COUNT   64u

/* ---- output */

static void set_events(struct vclient *client)
{
    bool wants = client->output_bytes != 0;
    if (wants == client->wants_output || client->fd < 0) {
        return;
    }
    uint32_t events = EPOLLIN | (wants ? EPOLLOUT : 0);
    if (worker_modify(client->worker, client->fd, events, &client->source) == 0) {
        client->wants_output = wants;
    }
}

static int flush(struct vclient *client)
{
    if (client->output_bytes == 0) {
        return 0;
    }
    ssize_t count =
        send(client->fd, client->output, client->output_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    }
    client->output_bytes -= (uint32_t)count;
    memmove(client->output, client->output + count, client->output_bytes);
    return 0;
}

/* Errors: -ENOSPC the client doesn't read; others of send. */
static int put(struct vclient *client, const uint8_t *data, uint32_t bytes)
{
    if (client->output_bytes + bytes > sizeof(client->output)) {
        return -ENOSPC;
    }
    memcpy(client->output + client->output_bytes, data, bytes);
    client->output_bytes += bytes;
    int error = flush(client);
    set_events(client);
    return error;
}

static int say(struct vclient *client, const struct verbsop_message *message)
{
    uint8_t data[VERBSOP_BYTES];
    verbsop_encode(message, false, data);
    return put(client, data, sizeof(data));
}

/* ---- slabs */

static void unbind(struct vclient *client, struct vbinding *binding)
{
    if (binding->window.open) {
        vwindow_close(client->port, &client->queue, &binding->window);
    }
    client->revoked_count -= binding->revoked ? 1 : 0;
    *binding = (struct vbinding){0};
}

static void close_queue(struct vclient *client)
{
    if (!client->has_queue) {
        return;
    }
    for (uint32_t i = 0; i < client->binding_count; i++) {
        if (client->bindings[i].bound) {
            unbind(client, &client->bindings[i]);
        }
    }
    client->has_queue = false;
    vqueue_close(client->port, &client->queue);
}

static struct vbinding *binding_make(struct vclient *client, uint32_t handle)
{
    if (handle >= client->binding_count) {
        uint32_t count = (uint32_t)ALIGN_UP(handle + 1, GROW_COUNT);
        struct vbinding *bindings = realloc(client->bindings, count * sizeof(*bindings));
        if (bindings == NULL) {
            return NULL;
        }
        memset(bindings + client->binding_count, 0,
               (count - client->binding_count) * sizeof(*bindings));
        client->bindings = bindings;
        client->binding_count = count;
    }
    return &client->bindings[handle];
}

/* The grant that the message proves to have the key of; false: none. */
static bool find_grant(const struct vclient *client, const struct verbsop_message *message,
                       struct grants_item *ret)
{
    const struct export_context *context = client->context;
    const struct verbsop_attach *attach = &message->attach;
    if (attach->slab_index >= arena_slab_count(context->arena)) {
        return false;
    }
    grants_get(context->grants, attach->slab_index, ret);
    bool good = verbsop_proof_ok(ret->key, &client->nonces, message);
    return good && ret->state == GRANT_HELD && ret->generation == attach->generation;
}

static uint8_t attach(struct vclient *client, struct verbsop_message *message)
{
    struct grants_item grant = {0};
    uint8_t status = VERBSOP_DENIED;
    struct vbinding *binding = binding_make(client, message->handle);
    if (binding == NULL) {
        return VERBSOP_EXHAUSTED;
    }
    if (binding->bound) {
        return VERBSOP_DENIED;
    }
    if (!find_grant(client, message, &grant)) {
        incidents_attach(client->context->incidents, client->context->grants, "verbs",
                         client->instance, client->fd, message->attach.slab_index,
                         message->attach.generation);
        goto out;
    }
    if (!vgroup_fence(client->group, client, message->attach.slab_index, message->attach.generation,
                      message->attach.incarnation)) {
        goto out;
    }
    status = VERBSOP_EXHAUSTED;
    uint32_t slab = message->attach.slab_index;
    if (vwindow_open(client->port, &client->queue, slab, !grant.read_only, &binding->window) == 0) {
        const struct verbsop_window window = {
            .remote_key = binding->window.remote_key,
            .writable = !grant.read_only,
            .address = (uintptr_t)arena_slab_base(client->context->arena, slab)};
        verbsop_seal(grant.key, &client->nonces, &window, message);
        binding->bound = true;
        binding->slab = slab;
        binding->sequence = message->sequence;
        memcpy(client->instance, grant.instance, sizeof(client->instance));
        status = VERBSOP_OK;
    } else {
        export_count(&client->context->counters->exhausted, 1);
    }
out:
    explicit_bzero(&grant, sizeof(grant));
    return status;
}

static int take_attach(struct vclient *client, const struct verbsop_message *message)
{
    struct export_counters *counters = client->context->counters;
    struct verbsop_message reply = *message;
    if (!client->has_queue) {
        return -EPROTO;
    }
    reply.status = attach(client, &reply);
    export_count(&counters->attaches, 1);
    export_count(&counters->refused, reply.status != VERBSOP_OK ? 1 : 0);
    return say(client, &reply);
}

static int take_detach(struct vclient *client, const struct verbsop_message *message)
{
    if (message->handle >= client->binding_count) {
        return 0;
    }
    struct vbinding *binding = &client->bindings[message->handle];
    if (!binding->bound || binding->sequence != message->sequence) {
        return 0;
    }
    unbind(client, binding);
    return 0;
}

static uint8_t queue_status(int error)
{
    switch (error) {
    case 0:
        return VERBSOP_OK;
    case -EADDRNOTAVAIL:
    case -EINVAL:
        return VERBSOP_MISMATCH;
    default:
        return VERBSOP_EXHAUSTED;
    }
}

static int take_queue(struct vclient *client, const struct verbsop_message *message)
{
    struct verbsop_message reply = {.kind = VERBSOP_QUEUE};
    close_queue(client);
    int error = vqueue_open(client->port, client->id, &client->queue);
    client->has_queue = error == 0;
    if (error == 0) {
        error = vqueue_connect(client->port, &client->queue, &message->queue, &reply.queue);
    }
    if (error == 0) {
        memcpy(client->nonces.client, message->queue.nonce, VERBSOP_NONCE_BYTES);
        memcpy(client->nonces.node, reply.queue.nonce, VERBSOP_NONCE_BYTES);
    } else {
        close_queue(client);
    }
    export_count(&client->context->counters->exhausted, error == -ENOSPC ? 1 : 0);
    reply.status = queue_status(error);
    return say(client, &reply);
}

/* ---- input */

static int take_message(struct vclient *client)
{
    struct verbsop_message message;
    int error = verbsop_decode(client->input, true, &message);
    if (error != 0) {
        return error;
    }
    switch (message.kind) {
    case VERBSOP_QUEUE:
        return take_queue(client, &message);
    case VERBSOP_ATTACH:
        return take_attach(client, &message);
    default:
        return take_detach(client, &message);
    }
}

static int take_hello(struct vclient *client)
{
    uint8_t hello[PAGEOP_HELLO_BYTES];
    int error = pageop_hello_decode(client->input);
    if (error == -EPROTO) {
        return error;
    }
    pageop_hello_encode(hello);
    client->greeted = true;
    int failed = put(client, hello, sizeof(hello));
    return error != 0 ? error : failed;
}

/* One message or a part of it. 1: there may be more; 0: wait. */
static int receive(struct vclient *client)
{
    uint32_t wanted = client->greeted ? VERBSOP_BYTES : PAGEOP_HELLO_BYTES;
    ssize_t count = recv(client->fd, client->input + client->input_bytes,
                         wanted - client->input_bytes, MSG_DONTWAIT);
    if (count < 0) {
        return errno == EAGAIN || errno == EINTR ? 0 : -ECONNRESET;
    }
    if (count == 0) {
        return -ECONNRESET;
    }
    client->input_bytes += (uint32_t)count;
    if (client->input_bytes < wanted) {
        return 1;
    }
    client->input_bytes = 0;
    int error = client->greeted ? take_message(client) : take_hello(client);
    return error != 0 ? error : 1;
}

static void ready(struct worker_source *source, uint32_t events)
{
    struct vclient *client = container_of(source, struct vclient, source);
    struct export_counters *counters = client->context->counters;
    int result = client->fd < 0 ? 0 : flush(client);
    (void)events;
    if (result == 0) {
        result = client->fd < 0 ? 0 : 1;
    }
    for (unsigned i = 0; i < MESSAGES_MAX && result == 1; i++) {
        result = receive(client);
    }
    set_events(client);
    if (result >= 0) {
        return;
    }
    atomic_uint_fast64_t *reason = NULL;
    if (result == -EPROTO || result == -ERANGE || result == -EPROTONOSUPPORT) {
        reason = client->greeted ? &counters->closed_protocol : &counters->closed_hello;
    }
    vclient_shut(client, reason);
}

/* ---- life */

int vclient_open(struct worker *worker, const struct export_context *context, struct vgroup *group,
                 struct vport *port, int fd, uint64_t id)
{
    struct vclient *client = calloc(1, sizeof(*client));
    if (client == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    client->source.ready = ready;
    client->worker = worker;
    client->context = context;
    client->group = group;
    client->port = port;
    client->fd = fd;
    client->id = id;
    client->opened_ns = sys_monotonic_ns();
    list_init(&client->node);
    int error = worker_add(worker, fd, EPOLLIN, &client->source);
    if (error != 0) {
        (void)close(fd);
        free(client);
        return error;
    }
    export_count(&context->counters->connections, 1);
    export_count(&context->counters->connections_open, 1);
    list_append(&group->clients, &client->node);
    return 0;
}

void vclient_shut(struct vclient *client, atomic_uint_fast64_t *reason)
{
    if (client->fd < 0) {
        return;
    }
    if (reason != NULL) {
        export_count(reason, 1);
    }
    close_queue(client);
    atomic_fetch_sub_explicit(&client->context->counters->connections_open, 1,
                              memory_order_relaxed);
    worker_remove(client->worker, client->fd);
    (void)close(client->fd);
    client->fd = -1;
}

void vclient_free(struct vclient *client)
{
    CHECK(client->fd < 0);
    list_remove(&client->node);
    free(client->bindings);
    free(client);
}

void vclient_revoke(struct vclient *client, uint32_t slab)
{
    for (uint32_t i = 0; i < client->binding_count && client->fd >= 0; i++) {
        struct vbinding *binding = &client->bindings[i];
        if (!binding->window.open || binding->slab != slab) {
            continue;
        }
        const struct verbsop_message notice = {
            .kind = VERBSOP_REVOKE, .handle = i, .sequence = binding->sequence};
        vwindow_close(client->port, &client->queue, &binding->window);
        binding->revoked = true;
        client->revoked_count++;
        if (say(client, &notice) != 0) {
            vclient_shut(client, &client->context->counters->closed_silent);
        }
    }
}

bool vgroup_fence(struct vgroup *group, const struct vclient *client, uint32_t slab,
                  uint64_t generation, uint32_t incarnation)
{
    struct vfence *fence = &group->fences[slab];
    if (fence->generation != generation) {
        *fence = (struct vfence){.generation = generation};
    }
    if (incarnation <= fence->incarnation) {
        return incarnation == fence->incarnation;
    }
    fence->incarnation = incarnation;
    list_for_each (node, &group->clients) {
        struct vclient *other = list_entry(node, struct vclient, node);
        if (other != client && other->fd >= 0) {
            vclient_revoke(other, slab);
        }
    }
    return true;
}
