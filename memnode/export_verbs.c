/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/export_verbs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/fabric/fabric_verbs.h"
#include "lib/sys/log.h"
#include "lib/sys/sys.h"
#include "memnode/export_verbs_client.h"

#define BACKLOG      64
#define ACCEPTS_MAX  64u
#define KEEP_IDLE_S  5
#define KEEP_COUNT   3
#define NS_PER_MS    1000000ull
#define PORTS_LISTED 32u

/* One address that is listened on, and the device behind it. */
struct listener {
    struct worker_source source;
    struct worker_source completions;
    struct worker_source events;
    struct export_verbs *export;
    struct vport port;
    bool open;
    int fd;
    bool paused; /* no descriptor left for accept: until the next tick */
};

struct export_verbs {
    struct export_context context;
    struct worker *worker;
    struct listener listeners[EXPORT_VERBS_PORTS_MAX];
    uint32_t listener_count;
    char addresses[EXPORT_VERBS_ADDRESSES_BYTES];
    struct vgroup group;
    uint32_t client_count;
    uint64_t next_id;

    pthread_mutex_t mutex; /* guards status */
    struct export_verbs_status status;
};

/* ---- clients */

static void accept_one(struct listener *listener, int fd)
{
    struct export_verbs *export = listener->export;
    struct export_counters *counters = export->context.counters;
    const int one = 1;
    const int idle = KEEP_IDLE_S;
    const int count = KEEP_COUNT;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    if (listener->port.lost || export->client_count == EXPORT_CONNECTIONS_MAX) {
        export_count(&counters->closed_limit, 1);
        (void)close(fd);
        return;
    }
    if (vclient_open(export->worker, &export->context, &export->group, &listener->port, fd,
                     ++export->next_id) != 0) {
        export_count(&counters->closed_limit, 1);
        return;
    }
    export->client_count++;
}

static void listener_ready(struct worker_source *source, uint32_t events)
{
    struct listener *listener = container_of(source, struct listener, source);
    struct export_verbs *export = listener->export;
    (void)events;
    for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_one(listener, fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            export_count(&export->context.counters->closed_limit, 1);
            worker_remove(export->worker, listener->fd);
            listener->paused = true;
        }
        return;
    }
}

/* A client used a key that its queue pair has no window for, or no longer. Its queue pair is stuck
 * by that, and nobody else's; it may ask for another. */
static void queue_broken(void *context, uint64_t id)
{
    struct export_verbs *export = context;
    list_for_each (node, &export->group.clients) {
        struct vclient *client = list_entry(node, struct vclient, node);
        if (client->id != id || !client->has_queue || client->queue.broken) {
            continue;
        }
        client->queue.broken = true;
        incidents_add_from(export->context.incidents, INCIDENT_DEVICE, "verbs", client->instance,
                           INCIDENTS_ANY_SLAB, client->fd);
        CHECK(pthread_mutex_lock(&export->mutex) == 0);
        export->status.violations++;
        export->status.violation_ns = sys_monotonic_ns();
        memcpy(export->status.violator, client->instance, sizeof(client->instance));
        CHECK(pthread_mutex_unlock(&export->mutex) == 0);
    }
}

static void look(struct listener *listener)
{
    struct export_verbs *export = listener->export;
    bool was_lost = listener->port.lost;
    vport_look(&listener->port);
    if (!listener->port.lost || was_lost) {
        return;
    }
    log_error("verbs-device-lost", "device=%s", listener->port.port.name);
    list_for_each (node, &export->group.clients) {
        struct vclient *client = list_entry(node, struct vclient, node);
        if (client->port == &listener->port) {
            vclient_shut(client, NULL);
        }
    }
    CHECK(pthread_mutex_lock(&export->mutex) == 0);
    export->status.device_lost = true;
    CHECK(pthread_mutex_unlock(&export->mutex) == 0);
}

static void completions_ready(struct worker_source *source, uint32_t events)
{
    (void)events;
    look(container_of(source, struct listener, completions));
}

static void events_ready(struct worker_source *source, uint32_t events)
{
    (void)events;
    look(container_of(source, struct listener, events));
}

static void after_batch(void *context)
{
    struct export_verbs *export = context;
    uint64_t now_ns = sys_monotonic_ns();
    uint32_t queue_count = 0;
    list_for_each_safe (node, &export->group.clients) {
        struct vclient *client = list_entry(node, struct vclient, node);
        if (!client->greeted && now_ns - client->opened_ns > EXPORT_HELLO_TIMEOUT_MS * NS_PER_MS) {
            vclient_shut(client, &export->context.counters->closed_hello);
        }
        queue_count += client->has_queue ? 1 : 0;
        if (client->fd < 0) {
            vclient_free(client);
            export->client_count--;
        }
    }
    for (uint32_t i = 0; i < export->listener_count; i++) {
        struct listener *listener = &export->listeners[i];
        if (listener->paused &&
            worker_add(export->worker, listener->fd, EPOLLIN, &listener->source) == 0) {
            listener->paused = false;
        }
    }
    CHECK(pthread_mutex_lock(&export->mutex) == 0);
    export->status.queue_count = queue_count;
    export->status.window_count = 0;
    for (uint32_t i = 0; i < export->listener_count; i++) {
        export->status.window_count += export->listeners[i].port.window_count;
    }
    CHECK(pthread_mutex_unlock(&export->mutex) == 0);
}

/* ---- opening */

static int listen_on(struct listener *listener, struct fabric_address *address)
{
    const int one = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    listener->fd = fd;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (const struct sockaddr *)&address->storage, address->length) != 0 ||
        listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&address->storage, &address->length) != 0) {
        return -errno;
    }
    return 0;
}

static void add_address(struct export_verbs *export, const struct fabric_address *address)
{
    char text[FABRIC_ADDRESS_BYTES];
    size_t used = strlen(export->addresses);
    fabric_address_format(address, text);
    (void)snprintf(export->addresses + used, sizeof(export->addresses) - used, "%s%s",
                   used == 0 ? "" : ",", text);
}

static int listener_open(struct export_verbs *export, const char *text,
                         const struct export_verbs_config *config, char *ret_error)
{
    char reason[VERBS_REASON_BYTES] = "";
    struct fabric_address address;
    struct verbs_port opened;
    struct listener *listener = &export->listeners[export->listener_count];
    if (fabric_address_parse(text, &address) != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES,
                       "\"%.64s\" is not ADDRESS:PORT with a numeric address: change "
                       "--listen-verbs",
                       text);
        return -EINVAL;
    }
    if (!config->insecure && !fabric_address_is_loopback(&address)) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES,
                       "%.64s can be reached from other machines and RDMA isn't encrypted: accept "
                       "that with --insecure",
                       text);
        return -EACCES;
    }
    *listener = (struct listener){.source.ready = listener_ready,
                                  .completions.ready = completions_ready,
                                  .events.ready = events_ready,
                                  .export = export,
                                  .fd = -1};
    int error =
        verbs_port_open((const struct sockaddr *)&address.storage, VERBS_GID_ANY, &opened, reason);
    if (error == 0) {
        error = vport_open(&listener->port, &opened, export->context.arena,
                           !config->without_windows, reason);
    }
    if (error != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "RDMA at %.64s: %s", text, reason);
        return error;
    }
    listener->port.broken = queue_broken;
    listener->port.windows_max = config->windows_max;
    listener->port.context = export;
    listener->open = true;
    export->listener_count++;
    error = listen_on(listener, &address);
    if (error != 0) {
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "can't listen on %.64s: %s%s", text,
                       strerror(-error),
                       error == -EADDRINUSE ? ": stop who has it or change --listen-verbs" : "");
        return error;
    }
    add_address(export, &address);
    return 0;
}

static int open_listed(struct export_verbs *export, const struct export_verbs_config *config,
                       char *ret_error)
{
    char text[EXPORT_VERBS_ADDRESSES_BYTES];
    char *rest = text;
    int error = 0;
    ret_error[0] = '\0';
    (void)snprintf(text, sizeof(text), "%s", config->addresses);
    while (rest != NULL && error == 0) {
        const char *one = strsep(&rest, ",");
        if (export->listener_count == EXPORT_VERBS_PORTS_MAX) {
            (void)snprintf(ret_error, EXPORT_ERROR_BYTES,
                           "--listen-verbs takes %u addresses at most", EXPORT_VERBS_PORTS_MAX);
            return -EINVAL;
        }
        error = listener_open(export, one, config, ret_error);
    }
    return error;
}

/* Every port that has an address. One that can't be used doesn't keep us from the others. */
static int open_found(struct export_verbs *export, const struct export_verbs_config *config,
                      char *ret_error)
{
    struct fabric_verbs_port ports[PORTS_LISTED];
    uint32_t count = fabric_verbs_ports(ports, PORTS_LISTED);
    int error = -ENODEV;
    int failed = 0;
    (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "%s",
                   count == 0 ? "no RDMA device"
                              : "no RDMA port is active and has an IPv4 address: give it one, or "
                                "name the address with --listen-verbs");
    for (uint32_t i = 0; i < count && export->listener_count < EXPORT_VERBS_PORTS_MAX; i++) {
        char text[FABRIC_ADDRESS_BYTES + 8];
        if (!ports[i].active || ports[i].address[0] == '\0') {
            continue;
        }
        (void)snprintf(text, sizeof(text), "%s:0", ports[i].address);
        error = listener_open(export, text, config, ret_error);
        failed = error != 0 ? error : failed;
    }
    if (export->addresses[0] == '\0') {
        return error;
    }
    if (failed == 0) {
        ret_error[0] = '\0';
    }
    return 0;
}

static void start(void *argument)
{
    struct export_verbs *export = argument;
    for (uint32_t i = 0; i < export->listener_count; i++) {
        struct listener *listener = &export->listeners[i];
        const struct vport *port = &listener->port;
        if (listener->fd < 0) {
            continue;
        }
        listener->paused =
            worker_add(export->worker, listener->fd, EPOLLIN, &listener->source) != 0;
        CHECK(worker_add(export->worker, port->channel->fd, EPOLLIN, &listener->completions) == 0);
        CHECK(worker_add(export->worker, port->port.context->async_fd, EPOLLIN,
                         &listener->events) == 0);
    }
}

static void release(struct export_verbs *export)
{
    for (uint32_t i = 0; i < export->listener_count; i++) {
        struct listener *listener = &export->listeners[i];
        sys_close(&listener->fd);
        vport_close(&listener->port);
    }
    CHECK(pthread_mutex_destroy(&export->mutex) == 0);
    free(export->group.fences);
    free(export);
}

int export_verbs_open(const struct export_context *context,
                      const struct export_verbs_config *config, struct export_verbs **ret,
                      char *ret_error)
{
    struct export_verbs *export = calloc(1, sizeof(*export));
    struct vfence *fences = calloc(arena_slab_count(context->arena), sizeof(*fences));
    if (export == NULL || fences == NULL) {
        free(export);
        free(fences);
        (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    export->context = *context;
    list_init(&export->group.clients);
    export->group.fences = fences;
    CHECK(pthread_mutex_init(&export->mutex, NULL) == 0);
    int error = config->addresses != NULL ? open_listed(export, config, ret_error)
                                          : open_found(export, config, ret_error);
    if (error == 0) {
        const struct worker_callbacks callbacks = {.after_batch = after_batch, .context = export};
        error = worker_open("export-verbs", &callbacks, &export->worker);
        if (error != 0) {
            (void)snprintf(ret_error, EXPORT_ERROR_BYTES, "can't start a thread: %s",
                           strerror(-error));
        }
    }
    if (error != 0) {
        release(export);
        return error;
    }
    export->status.windows = true;
    export->status.bounds = true;
    for (uint32_t i = 0; i < export->listener_count; i++) {
        export->status.windows = export->status.windows && export->listeners[i].port.windows;
        export->status.bounds = export->status.bounds && export->listeners[i].port.bounds;
    }
    worker_call(export->worker, start, export);
    *ret = export;
    return 0;
}

static void stop(void *argument)
{
    struct export_verbs *export = argument;
    list_for_each (node, &export->group.clients) {
        vclient_shut(list_entry(node, struct vclient, node), NULL);
    }
    for (uint32_t i = 0; i < export->listener_count; i++) {
        struct listener *listener = &export->listeners[i];
        if (listener->fd >= 0) {
            worker_remove(export->worker, listener->fd);
            worker_remove(export->worker, listener->port.channel->fd);
            worker_remove(export->worker, listener->port.port.context->async_fd);
        }
        listener->paused = false; /* or after_batch would listen again */
    }
}

struct export_verbs *export_verbs_close(struct export_verbs *export)
{
    if (export == NULL) {
        return NULL;
    }
    worker_call(export->worker, stop, export);
    export->worker = worker_close(export->worker);
    list_for_each_safe (node, &export->group.clients) {
        vclient_free(list_entry(node, struct vclient, node));
    }
    release(export);
    return NULL;
}

const char *export_verbs_addresses(const struct export_verbs *export)
{
    return export->addresses;
}

/* ---- the control plane's side */

struct revoke {
    struct export_verbs *export;
    const uint32_t *slabs;
    uint32_t count;
    int error;
};

static void revoke_all(void *argument)
{
    struct revoke *revoke = argument;
    list_for_each (node, &revoke->export->group.clients) {
        struct vclient *client = list_entry(node, struct vclient, node);
        for (uint32_t i = 0; i < revoke->count && client->fd >= 0; i++) {
            vclient_revoke(client, revoke->slabs[i]);
        }
    }
    /* Also for windows that were given up before: a slab that one may still open stays unused. */
    for (uint32_t k = 0; k < revoke->export->listener_count; k++) {
        for (uint32_t i = 0; i < revoke->count; i++) {
            if (revoke->export->listeners[k].port.stuck[revoke->slabs[i]]) {
                revoke->error = -EIO;
            }
        }
    }
}

int export_verbs_revoke(struct export_verbs *export, const uint32_t *slabs, uint32_t count)
{
    struct revoke argument = {.export = export, .slabs = slabs, .count = count};
    worker_call(export->worker, revoke_all, &argument);
    return argument.error;
}

struct fence {
    struct export_verbs *export;
    uint32_t slab;
    uint64_t generation;
    uint32_t incarnation;
};

static void fence_slab(void *argument)
{
    const struct fence *fence = argument;
    vgroup_fence(&fence->export->group, NULL, fence->slab, fence->generation, fence->incarnation);
}

void export_verbs_fence(struct export_verbs *export, uint32_t slab, uint64_t generation,
                        uint32_t incarnation)
{
    struct fence argument = {
        .export = export, .slab = slab, .generation = generation, .incarnation = incarnation};
    worker_call(export->worker, fence_slab, &argument);
}

static void replace_all(void *argument)
{
    const struct revoke *replace = argument;
    for (uint32_t i = 0; i < replace->export->listener_count; i++) {
        vport_replaced(&replace->export->listeners[i].port, replace->slabs[0]);
    }
}

void export_verbs_replaced(struct export_verbs *export, uint32_t slab)
{
    struct revoke argument = {.export = export, .slabs = &slab, .count = 1};
    worker_call(export->worker, replace_all, &argument);
}

void export_verbs_status(struct export_verbs *export, struct export_verbs_status *ret)
{
    CHECK(pthread_mutex_lock(&export->mutex) == 0);
    *ret = export->status;
    CHECK(pthread_mutex_unlock(&export->mutex) == 0);
}
