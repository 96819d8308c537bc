/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_shm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/list.h"
#include "lib/sys/sys.h"
#include "lib/wire/pageop.h"
#include "memnode/bindings.h"
#include "memnode/worker.h"

#define BACKLOG      64
#define MESSAGES_MAX 64u /* of one connection, before others get their turn */
#define NS_PER_MS    1000000ull
/* A client that polls answers at once, when it has unmapped. */
#define ANSWER_SPIN_NS  200000ull
#define ANSWER_SLICE_MS 10

struct client {
    struct worker_source source;
    struct list node;
    struct export_shm *export;
    int fd; /* -1: closed, waits to be freed */
    bool greeted;
    uint64_t opened_ns;
    uint32_t owed;  /* bindings in state REVOKING: answers that a revoke waits for */
    bool answering; /* the revoke reads its messages, not the worker's thread */
    struct bindings bindings;
    char instance[GRANTS_INSTANCE_BYTES]; /* of the last slab that it attached */
};

struct export_shm {
    struct export_context context;
    struct worker *worker;
    struct worker_source listener;
    int listen_fd;
    bool paused; /* no descriptor left for accept: until the next tick */
    struct list clients;
    uint32_t client_count;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    enum export_shm_use *uses; /* of each slab, since it got its file; the worker's */
};

/* The client can't reach the slab through this handle any more. */
static void unbind(struct client *client, struct binding *binding)
{
    client->owed -= binding->state == BINDING_REVOKING ? 1 : 0;
    *binding = (struct binding){0};
}

/* Whoever goes without a word may still map what it got. */
static void client_shut(struct client *client, atomic_uint_fast64_t *reason)
{
    struct export_shm *export = client->export;
    if (client->fd < 0) {
        return;
    }
    if (reason != NULL) {
        export_count(reason, 1);
    }
    for (uint32_t i = 0; i < client->bindings.count; i++) {
        struct binding *binding = &client->bindings.items[i];
        if (binding->state != BINDING_FREE) {
            export->uses[binding->slab] = EXPORT_SHM_UNKNOWN;
            unbind(client, binding);
        }
    }
    atomic_fetch_sub_explicit(&export->context.counters->connections_open, 1, memory_order_relaxed);
    worker_remove(export->worker, client->fd);
    (void)close(client->fd);
    client->fd = -1;
}

static void client_free(struct client *client)
{
    CHECK(client->fd < 0);
    list_remove(&client->node);
    bindings_fini(&client->bindings);
    free(client);
}

/* One reply, with a descriptor unless it is -1. */
static int send_reply(struct client *client, const struct pageop_reply *reply, int passed_fd)
{
    union {
        struct cmsghdr align;
        char data[CMSG_SPACE(sizeof(int))];
    } control = {.data = {0}};
    uint8_t data[PAGEOP_REPLY_BYTES];
    pageop_reply_encode(reply, data);
    struct iovec iovec = {.iov_base = data, .iov_len = sizeof(data)};
    struct msghdr message = {.msg_iov = &iovec, .msg_iovlen = 1};
    if (passed_fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed_fd, sizeof(int));
    }
    ssize_t count = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    return count == (ssize_t)sizeof(data) ? 0 : -EPIPE;
}

/* A descriptor of the slab with no more rights than the grant. Errors: -EMFILE. */
static int open_slab(const struct export_shm *export, uint32_t slab, bool read_only, int *ret_fd)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d",
                   arena_slab_fd(export->context.arena, slab));
    int fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (fd < 0) {
        return -EMFILE;
    }
    *ret_fd = fd;
    return 0;
}

static uint16_t attach(struct client *client, uint32_t handle, const struct pageop_attach *attach,
                       int *ret_fd)
{
    const struct export_context *context = &client->export->context;
    bool read_only = false;
    if (bindings_get(&client->bindings, handle) != NULL) {
        return PAGEOP_DENIED;
    }
    if (!grants_check(context->grants, attach->slab_index, attach->generation, attach->key,
                      &read_only)) {
        incidents_attach(context->incidents, context->grants, "shm", client->instance, client->fd,
                         attach->slab_index, attach->generation);
        return PAGEOP_DENIED;
    }
    struct binding *binding = bindings_make(&client->bindings, handle);
    if (binding == NULL || open_slab(client->export, attach->slab_index, read_only, ret_fd) != 0) {
        return PAGEOP_EXHAUSTED;
    }
    *binding = (struct binding){
        .state = BINDING_BOUND, .read_only = read_only, .slab = attach->slab_index};
    grants_holder(context->grants, attach->slab_index, client->instance);
    if (client->export->uses[attach->slab_index] == EXPORT_SHM_NEVER) {
        client->export->uses[attach->slab_index] = EXPORT_SHM_UNMAPPED;
    }
    return PAGEOP_OK;
}

static int take_attach(struct client *client, const struct pageop_request *request,
                       const uint8_t *body)
{
    struct export_counters *counters = client->export->context.counters;
    struct pageop_attach decoded;
    int fd = -1;
    pageop_attach_decode(body, &decoded);
    struct pageop_reply reply = {
        .kind = PAGEOP_ATTACH, .handle = request->handle, .token = request->token};
    reply.status = attach(client, request->handle, &decoded, &fd);
    export_count(&counters->attaches, 1);
    export_count(&counters->refused, reply.status != PAGEOP_OK ? 1 : 0);
    int error = send_reply(client, &reply, fd);
    if (fd >= 0) {
        (void)close(fd);
    }
    return error;
}

static int take_message(struct client *client, const uint8_t *data, size_t bytes)
{
    struct pageop_request request;
    if (bytes < PAGEOP_REQUEST_BYTES || pageop_request_decode(data, &request) != 0) {
        return -EPROTO;
    }
    bool is_attach = request.kind == PAGEOP_ATTACH;
    if (bytes != PAGEOP_REQUEST_BYTES + (is_attach ? PAGEOP_ATTACH_BYTES : 0)) {
        return -EPROTO;
    }
    if (is_attach) {
        return take_attach(client, &request, data + PAGEOP_REQUEST_BYTES);
    }
    struct binding *binding = bindings_get(&client->bindings, request.handle);
    if (request.kind == PAGEOP_DETACH) {
        if (binding != NULL) {
            unbind(client, binding);
        }
        return 0;
    }
    if (request.kind == PAGEOP_UNMAPPED) {
        /* Late after a DETACH and a new ATTACH of the handle: not meant for that. */
        if (binding != NULL && binding->state == BINDING_REVOKING) {
            unbind(client, binding);
        }
        return 0;
    }
    return -EPROTO;
}

static int take_hello(struct client *client, const uint8_t *data, size_t bytes)
{
    uint8_t hello[PAGEOP_HELLO_BYTES];
    int error = bytes == PAGEOP_HELLO_BYTES ? pageop_hello_decode(data) : -EPROTO;
    if (error == -EPROTO) {
        return error;
    }
    pageop_hello_encode(hello);
    if (send(client->fd, hello, sizeof(hello), MSG_NOSIGNAL | MSG_DONTWAIT) !=
        (ssize_t)sizeof(hello)) {
        return -EPIPE;
    }
    client->greeted = true;
    return error;
}

static void client_ready(struct worker_source *source, uint32_t events)
{
    struct client *client = container_of(source, struct client, source);
    struct export_counters *counters = client->export->context.counters;
    (void)events;
    for (unsigned i = 0; i < MESSAGES_MAX && client->fd >= 0; i++) {
        uint8_t data[PAGEOP_REQUEST_BYTES + PAGEOP_ATTACH_BYTES + 1];
        ssize_t count = recv(client->fd, data, sizeof(data), MSG_DONTWAIT);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (count <= 0) {
            client_shut(client, NULL);
        } else if (!client->greeted) {
            if (take_hello(client, data, (size_t)count) != 0) {
                client_shut(client, &counters->closed_hello);
            }
        } else if (take_message(client, data, (size_t)count) != 0) {
            client_shut(client, &counters->closed_protocol);
        }
    }
}

static void accept_one(struct export_shm *export, int fd)
{
    struct export_counters *counters = export->context.counters;
    struct client *client =
        export->client_count == EXPORT_CONNECTIONS_MAX ? NULL : calloc(1, sizeof(*client));
    if (client == NULL) {
        goto err_fd;
    }
    client->source.ready = client_ready;
    client->export = export;
    client->fd = fd;
    client->opened_ns = sys_monotonic_ns();
    list_init(&client->node);
    if (worker_add(export->worker, fd, EPOLLIN, &client->source) != 0) {
        goto err_client;
    }
    list_append(&export->clients, &client->node);
    export->client_count++;
    export_count(&counters->connections, 1);
    export_count(&counters->connections_open, 1);
    return;

err_client:
    free(client);
err_fd:
    export_count(&counters->closed_limit, 1);
    (void)close(fd);
}

static void listener_ready(struct worker_source *source, uint32_t events)
{
    struct export_shm *export = container_of(source, struct export_shm, listener);
    (void)events;
    int fd = accept4(export->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        accept_one(export, fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        export_count(&export->context.counters->closed_limit, 1);
        worker_remove(export->worker, export->listen_fd);
        export->paused = true;
    }
}

static void after_batch(void *context)
{
    struct export_shm *export = context;
    uint64_t now_ns = sys_monotonic_ns();
    list_for_each_safe (node, &export->clients) {
        struct client *client = list_entry(node, struct client, node);
        if (!client->greeted && now_ns - client->opened_ns > EXPORT_HELLO_TIMEOUT_MS * NS_PER_MS) {
            client_shut(client, &export->context.counters->closed_hello);
        }
        if (client->fd < 0) {
            client_free(client);
            export->client_count--;
        }
    }
    if (export->paused &&
        worker_add(export->worker, export->listen_fd, EPOLLIN, &export->listener) == 0) {
        export->paused = false;
    }
}

/* A socket file that nobody answers at is what a killed process left. */
static int remove_stale(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int error = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : -errno;
    (void)close(fd);
    if (error != -ECONNREFUSED) {
        return error == -ENOENT ? 0 : -EADDRINUSE;
    }
    return unlink(address->sun_path) == 0 ? 0 : -errno;
}

static int listen_on(struct export_shm *export)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, export->path, sizeof(address.sun_path));
    int error = remove_stale(&address);
    if (error != 0) {
        return error;
    }
    export->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (export->listen_fd < 0) {
        return -errno;
    }
    /* The mode of the socket's inode becomes that of the file: there is no moment without it. */
    if (fchmod(export->listen_fd, 0600) != 0 ||
        bind(export->listen_fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        chmod(export->path, 0600) != 0 || listen(export->listen_fd, BACKLOG) != 0) {
        return -errno;
    }
    return 0;
}

static void start_listening(void *argument)
{
    struct export_shm *export = argument;
    export->paused = worker_add(export->worker, export->listen_fd, EPOLLIN, &export->listener) != 0;
}

static void release(struct export_shm *export)
{
    if (export->listen_fd >= 0) {
        (void)close(export->listen_fd);
    }
    free(export->uses);
    free(export);
}

static struct export_shm *export_new(const struct export_context *context, const char *path)
{
    struct export_shm *export = calloc(1, sizeof(*export));
    enum export_shm_use *uses = calloc(arena_slab_count(context->arena), sizeof(*uses));
    if (export == NULL || uses == NULL) {
        free(export);
        free(uses);
        return NULL;
    }
    export->context = *context;
    export->uses = uses;
    export->listener.ready = listener_ready;
    export->listen_fd = -1;
    list_init(&export->clients);
    memcpy(export->path, path, strlen(path));
    return export;
}

int export_shm_open(const struct export_context *context, const char *path, struct export_shm **ret,
                    char *ret_error)
{
    if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path)) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES,
                       "the path of the socket is longer than 107 bytes: choose a shorter one with "
                       "--shm-socket");
        return -EINVAL;
    }
    struct export_shm *export = export_new(context, path);
    if (export == NULL) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    int error = listen_on(export);
    if (error != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "can't listen on %.108s: %s", path,
                       error == -EADDRINUSE
                           ? "a live process has this socket: stop it or change --shm-socket"
                           : strerror(-error));
        release(export);
        return error;
    }
    const struct worker_callbacks callbacks = {.after_batch = after_batch, .context = export};
    error = worker_open("export-shm", &callbacks, &export->worker);
    if (error != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "can't start a thread: %s", strerror(-error));
        (void)unlink(export->path);
        release(export);
        return error;
    }
    worker_call(export->worker, start_listening, export);
    *ret = export;
    return 0;
}

static void stop(void *argument)
{
    struct export_shm *export = argument;
    list_for_each (node, &export->clients) {
        client_shut(list_entry(node, struct client, node), NULL);
    }
    if (!export->paused) {
        worker_remove(export->worker, export->listen_fd);
    }
    /* Or after_batch would listen again. */
    export->paused = false;
}

struct export_shm *export_shm_close(struct export_shm *export)
{
    if (export == NULL) {
        return NULL;
    }
    worker_call(export->worker, stop, export);
    export->worker = worker_close(export->worker);
    list_for_each_safe (node, &export->clients) {
        client_free(list_entry(node, struct client, node));
    }
    (void)unlink(export->path);
    release(export);
    return NULL;
}

struct revoke {
    struct export_shm *export;
    const uint32_t *slabs;
    uint32_t count;
    enum export_shm_use *uses;
    int silent_fd; /* of a client that owes an answer; -1: none does */
};

static bool is_revoked(const struct revoke *revoke, uint32_t slab)
{
    for (uint32_t i = 0; i < revoke->count; i++) {
        if (revoke->slabs[i] == slab) {
            return true;
        }
    }
    return false;
}

/*
 * While a revoke waits for answers it reads them itself: the worker's thread would have to be
 * woken, and would then have to wake the revoke's. Errors: those of epoll_ctl(2).
 */
static int answering_set(struct client *client, bool answering)
{
    if (client->answering == answering) {
        return 0;
    }
    client->answering = answering;
    return worker_modify(client->export->worker, client->fd, answering ? 0 : EPOLLIN,
                         &client->source);
}

static void revoke_of_client(const struct revoke *revoke, struct client *client)
{
    for (uint32_t i = 0; i < client->bindings.count && client->fd >= 0; i++) {
        struct binding *binding = &client->bindings.items[i];
        if (binding->state != BINDING_BOUND || !is_revoked(revoke, binding->slab)) {
            continue;
        }
        const struct pageop_reply notice = {.kind = PAGEOP_REVOKE, .handle = i};
        binding->state = BINDING_REVOKING;
        client->owed++;
        if (answering_set(client, true) != 0 || send_reply(client, &notice, -1) != 0) {
            client_shut(client, &revoke->export->context.counters->closed_silent);
        }
    }
}

static void revoke_begin(void *argument)
{
    struct revoke *revoke = argument;
    list_for_each (node, &revoke->export->clients) {
        struct client *client = list_entry(node, struct client, node);
        revoke_of_client(revoke, client);
        revoke->silent_fd = client->owed != 0 ? client->fd : revoke->silent_fd;
    }
}

static void take_answers(void *argument)
{
    struct revoke *revoke = argument;
    revoke->silent_fd = -1;
    list_for_each (node, &revoke->export->clients) {
        struct client *client = list_entry(node, struct client, node);
        if (client->owed != 0) {
            client_ready(&client->source, EPOLLIN);
            revoke->silent_fd = client->owed != 0 ? client->fd : revoke->silent_fd;
        }
    }
}

/* Who still owes an answer loses the connection. Then the outcome is known. */
static void revoke_end(void *argument)
{
    const struct revoke *revoke = argument;
    struct export_shm *export = revoke->export;
    list_for_each (node, &export->clients) {
        struct client *client = list_entry(node, struct client, node);
        if (client->fd >= 0 && (client->owed != 0 || answering_set(client, false) != 0)) {
            client_shut(client, &export->context.counters->closed_silent);
        }
    }
    for (uint32_t i = 0; i < revoke->count; i++) {
        revoke->uses[i] = export->uses[revoke->slabs[i]];
        export->uses[revoke->slabs[i]] = EXPORT_SHM_NEVER;
    }
}

/* One after the other: all have to answer. */
static void wait_for_answers(struct revoke *revoke)
{
    uint64_t begin_ns = sys_monotonic_ns();
    uint64_t waited_ns = 0;
    while (revoke->silent_fd >= 0 && waited_ns < EXPORT_SHM_UNMAP_TIMEOUT_MS * NS_PER_MS) {
        /* In slices: the worker may have closed the descriptor meanwhile. */
        struct pollfd item = {.fd = revoke->silent_fd, .events = POLLIN};
        (void)poll(&item, 1, waited_ns < ANSWER_SPIN_NS ? 0 : ANSWER_SLICE_MS);
        worker_call(revoke->export->worker, take_answers, revoke);
        waited_ns = sys_monotonic_ns() - begin_ns;
    }
}

void export_shm_revoke(struct export_shm *export, const uint32_t *slabs, uint32_t count,
                       enum export_shm_use *ret_uses)
{
    struct revoke revoke = {
        .export = export, .slabs = slabs, .count = count, .uses = ret_uses, .silent_fd = -1};
    worker_call(export->worker, revoke_begin, &revoke);
    wait_for_answers(&revoke);
    worker_call(export->worker, revoke_end, &revoke);
}
