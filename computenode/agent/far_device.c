/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/far_device.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "computenode/agent/far_server.h"
#include "computenode/agent/mailbox.h"
#include "lib/base/check.h"
#include "lib/sys/poll_budget.h"
#include "lib/sys/sys.h"

#define LOOK_NS      100000ull /* while polling, socket and mailbox are looked at so often */
#define SLEEP_MS_MAX 1000
#define REFUSED_NS   100000000ull /* so long nothing is asked for after a refusal */
#define STOP_MS_MAX  500u
/*
 * The longest budget of polling is so many times the shortest. To be woken costs a kick (an exit of
 * the guest, which under emulation takes QEMU's lock) and a switch: some 70 us.
 */
#define POLL_GROWTH   20u
#define ENDPOINT_TEXT 256u

enum command_kind { COMMAND_GRANT, COMMAND_REFUSE, COMMAND_FAR, COMMAND_LIVE, COMMAND_STOP };

struct command_grant {
    struct slab_grant grant;
    char node[SLAB_POOL_NAME_BYTES];
    char host_id[ENDPOINT_TEXT];
    char tcp_address[ENDPOINT_TEXT];
    char shm_path[ENDPOINT_TEXT];
    char verbs_address[ENDPOINT_TEXT];
};

struct command {
    struct list link;
    enum command_kind kind;
    uint64_t value; /* FAR: bytes; LIVE, STOP: where the statistics are */
    uint32_t count;
    struct command_grant grants[];
};

struct far_device {
    struct far_device_config config;
    struct sockaddr_un address;
    int listen_fd;
    pthread_t thread;
    struct mailbox commands;  /* to the thread */
    struct mailbox events;    /* from the thread */
    struct far_server server; /* the thread's, like all below */
    struct poll_budget poll;
    uint64_t refused_ns; /* when the controller last had no slab */
    uint64_t final_stats_address;
    bool stopping;
    bool broken;
};

/* ---- the thread ---- */

static struct far_event *event_new(enum far_event_kind kind, const char *text)
{
    struct far_event *event = calloc(1, sizeof(*event));
    CHECK(event != NULL); /* a few hundred bytes: without them nothing can be reported either */
    event->kind = kind;
    (void)snprintf(event->text, sizeof(event->text), "%s", text);
    return event;
}

static void tell(struct far_device *device, enum far_event_kind kind, const char *text)
{
    mailbox_put(&device->events, &event_new(kind, text)->link);
}

static void on_lost(void *context, const char *text)
{
    tell(context, FAR_EVENT_LOST, text);
}

static void on_note(void *context, const char *text)
{
    tell(context, FAR_EVENT_NOTE, text);
}

static void on_release(void *context, const struct slab_identity *slab)
{
    struct far_device *device = context;
    struct far_event *event = event_new(FAR_EVENT_RELEASE, "");
    event->slab = *slab;
    mailbox_put(&device->events, &event->link);
}

static void device_break(struct far_device *device, const char *reason)
{
    if (!device->broken) {
        device->broken = true;
        device->server.session.broken = true;
        tell(device, FAR_EVENT_BROKEN, reason);
    }
}

static void live_peers(struct far_device *device, struct far_live *live)
{
    const struct slab_pool *pool = far_io_pool(device->server.io);
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        const struct slab_pool_peer *peer = &pool->peers[i];
        if (peer->fabric == NULL) {
            continue;
        }
        struct far_live_peer *to = &live->peers[live->peer_count++];
        (void)snprintf(to->node, sizeof(to->node), "%s", peer->node);
        (void)snprintf(to->fabric, sizeof(to->fabric), "%s", fabric_name(peer->fabric));
        (void)snprintf(to->fallback_reason, sizeof(to->fallback_reason), "%s",
                       fabric_steady_reason(peer->fabric));
        to->fallback = fabric_steady_fallback(peer->fabric);
        to->breaks = fabric_steady_breaks(peer->fabric);
        to->slab_count = peer->slab_count;
        fabric_counters(peer->fabric, &to->counters);
    }
}

/* Adds the blocks of the guest's other processors to that of the first. */
static void live_blocks(const struct guest_memory *memory, uint64_t address,
                        struct gueststats *stats)
{
    uint64_t count = MIN(stats->block_count, GUESTSTATS_BLOCKS_MAX);
    uint64_t stride = stats->bytes;
    for (uint64_t i = 1; i < count; i++) {
        struct gueststats block;
        const void *from = guest_memory_at(memory, address + i * stride, sizeof(block));
        if (from == NULL) {
            break;
        }
        memcpy(&block, from, sizeof(block));
        gueststats_add(stats, &block);
    }
    gueststats_settle(stats);
}

/* Copies the guest's counters; they count only if they say that they are such. */
static void live_stats(struct far_device *device, uint64_t address, struct far_live *live)
{
    const struct guest_memory *memory = &device->server.session.memory;
    const void *from = guest_memory_at(memory, address, sizeof(live->stats));
    if (address == 0 || from == NULL) {
        return;
    }
    memcpy(&live->stats, from, sizeof(live->stats));
    live->has_stats = live->stats.magic == GUESTSTATS_MAGIC &&
                      live->stats.version == GUESTSTATS_VERSION &&
                      live->stats.bytes >= sizeof(live->stats);
    if (live->has_stats) {
        live_blocks(memory, address, &live->stats);
    }
}

static void tell_live(struct far_device *device, enum far_event_kind kind, uint64_t stats_address)
{
    struct far_event *event = event_new(kind, "");
    event->live = calloc(1, sizeof(*event->live));
    CHECK(event->live != NULL);
    const struct slab_pool *pool = far_io_pool(device->server.io);
    event->live->counters = *far_io_counters(device->server.io);
    event->live->slabs_held = pool->held;
    event->live->slabs_spare = pool->spare_count;
    event->live->slabs_mapped = (uint32_t)slab_map_count(pool->map);
    live_peers(device, event->live);
    live_stats(device, stats_address, event->live);
    mailbox_put(&device->events, &event->link);
}

static void take_grants(struct far_device *device, struct command *command)
{
    struct slab_grant grants[SLAB_POOL_ASK_MAX];
    uint32_t count = MIN(command->count, SLAB_POOL_ASK_MAX);
    for (uint32_t i = 0; i < count; i++) {
        grants[i] = command->grants[i].grant;
    }
    far_io_grant(device->server.io, grants, count);
}

static void take_commands(struct far_device *device)
{
    struct list *link;
    while ((link = mailbox_take(&device->commands)) != NULL) {
        struct command *command = list_entry(link, struct command, link);
        switch (command->kind) {
        case COMMAND_GRANT:
            take_grants(device, command);
            break;
        case COMMAND_REFUSE:
            device->refused_ns = sys_monotonic_ns();
            far_io_refuse(device->server.io);
            break;
        case COMMAND_FAR:
            far_io_set_far(device->server.io, command->value);
            break;
        case COMMAND_LIVE:
            tell_live(device, FAR_EVENT_LIVE, command->value);
            break;
        case COMMAND_STOP:
            device->final_stats_address = command->value;
            device->stopping = true;
            break;
        }
        free(command);
    }
}

static void take_connection(struct far_device *device)
{
    int fd = accept4(device->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        return;
    }
    if (device->server.session.fd >= 0) {
        (void)close(fd); /* one front end at a time */
        return;
    }
    vhost_session_start(&device->server.session, fd);
}

static void take_message(struct far_device *device)
{
    struct vhost_session *session = &device->server.session;
    int r = vhost_session_handle(session);
    if (r > 0) {
        return;
    }
    if (r < 0) {
        device_break(device, session->reason);
    }
    /* The front end is gone: nobody reads the queues any more. */
    (void)session->ops->quiesce(session->ops->context);
    session->broken = true;
    (void)close(session->fd);
    session->fd = -1;
    tell(device, FAR_EVENT_DETACHED, "");
}

/* Descriptors to wait for; the first three have fixed places. */
#define POLL_FDS_MAX (3 + VHOST_QUEUES_MAX + SLAB_POOL_PEERS_MAX)

static nfds_t control_fds(const struct far_device *device, struct pollfd *fds)
{
    fds[0] = (struct pollfd){.fd = device->commands.fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = device->listen_fd, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = device->server.session.fd, .events = POLLIN};
    return 3;
}

static nfds_t data_fds(struct far_device *device, struct pollfd *fds, bool *ret_poll)
{
    nfds_t count = 0;
    for (uint32_t i = 0; i < device->server.ops.queue_count; i++) {
        struct vhost_queue *queue = &device->server.session.queues[i];
        if (vhost_queue_is_live(queue) && !device->broken) {
            *ret_poll = *ret_poll || queue->kick_fd < 0;
            fds[count++] = (struct pollfd){.fd = queue->kick_fd, .events = POLLIN};
        }
    }
    struct slab_pool *pool = far_io_pool(device->server.io);
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        struct fabric_peer *fabric = pool->peers[i].fabric;
        if (fabric != NULL && !pool->peers[i].dead) {
            /* epoll's bits have poll's values for what is used here (epoll_ctl(2), poll(2)). */
            fds[count++] = (struct pollfd){.fd = fabric_poll_fd(fabric),
                                           .events = (short)fabric_poll_events(fabric)};
        }
    }
    return count;
}

static void take_control(struct far_device *device, const struct pollfd *fds)
{
    if (fds[0].revents != 0) {
        take_commands(device);
    }
    if (fds[1].revents != 0) {
        take_connection(device);
    }
    if (fds[2].revents != 0 && device->server.session.fd == fds[2].fd) {
        take_message(device);
    }
}

static void drain_kicks(struct far_device *device)
{
    uint64_t count;
    for (uint32_t i = 0; i < device->server.ops.queue_count; i++) {
        int fd = device->server.session.queues[i].kick_fd;
        struct pollfd kick = {.fd = fd, .events = POLLIN};
        if (fd >= 0 && poll(&kick, 1, 0) > 0) {
            (void)!read(fd, &count, sizeof(count));
        }
    }
}

/* Waits until the guest, a fabric, the VMM or the owner has something to say. */
static void device_sleep(struct far_device *device)
{
    struct pollfd fds[POLL_FDS_MAX];
    bool must_poll = false;
    nfds_t count = control_fds(device, fds);
    count += data_fds(device, fds + count, &must_poll);
    int timeout = must_poll ? 1 : SLEEP_MS_MAX;
    uint64_t start_ns = sys_monotonic_ns();
    if (poll(fds, count, timeout) > 0) {
        take_control(device, fds);
        drain_kicks(device);
    }
    poll_budget_waited(&device->poll, sys_monotonic_ns() - start_ns);
}

static void look_around(struct far_device *device)
{
    struct pollfd fds[3];
    if (poll(fds, control_fds(device, fds), 0) > 0) {
        take_control(device, fds);
    }
}

static int turn(struct far_device *device)
{
    if (device->broken || device->server.session.broken) {
        return (int)far_io_poll(device->server.io);
    }
    int r = far_server_turn(&device->server);
    if (r < 0) {
        device_break(device, device->server.session.reason);
        return 0;
    }
    return r;
}

static void ask(struct far_device *device)
{
    const struct slab_pool *pool = far_io_pool(device->server.io);
    if (pool->refused && sys_monotonic_ns() - device->refused_ns < REFUSED_NS) {
        return;
    }
    uint32_t count = far_io_ask(device->server.io);
    if (count > 0) {
        struct far_event *event = event_new(FAR_EVENT_ASK, "");
        event->count = count;
        mailbox_put(&device->events, &event->link);
    }
}

/* Nothing more is answered: the VMM is gone, or is going. What is in flight gets a moment. */
static void thread_end(struct far_device *device)
{
    uint64_t deadline = sys_monotonic_ns() + STOP_MS_MAX * 1000000ull;
    device->server.session.broken = true;
    while (far_io_in_flight(device->server.io) > 0 && sys_monotonic_ns() < deadline) {
        (void)far_io_poll(device->server.io);
    }
    /* Guest memory is still mapped here, also when the VMM is gone. */
    tell_live(device, FAR_EVENT_STOPPED, device->final_stats_address);
    far_server_fini(&device->server);
}

static void *thread_main(void *context)
{
    struct far_device *device = context;
    uint64_t busy_ns = sys_monotonic_ns();
    uint64_t looked_ns = busy_ns;
    while (!device->stopping) {
        int happened = turn(device);
        ask(device);
        uint64_t now_ns = sys_monotonic_ns();
        busy_ns = happened > 0 ? now_ns : busy_ns;
        if (now_ns - looked_ns > LOOK_NS) {
            looked_ns = now_ns;
            look_around(device);
        }
        if (now_ns - busy_ns <= device->poll.ns) {
            continue;
        }
        if (device->server.session.broken || !far_server_arm(&device->server)) {
            /* Posts leave with a poll, and what came before arming would not wake. */
            far_io_arm(device->server.io);
            happened = turn(device);
            ask(device);
            if (happened == 0 && !device->stopping) {
                device_sleep(device);
            }
        }
        if (!device->server.session.broken) {
            far_server_disarm(&device->server);
        }
        busy_ns = sys_monotonic_ns();
    }
    thread_end(device);
    return NULL;
}

/* ---- the owner's side ---- */

static int device_listen(struct far_device *device, const char *path)
{
    if (strlen(path) >= sizeof(device->address.sun_path)) {
        return -ENAMETOOLONG;
    }
    device->address.sun_family = AF_UNIX;
    (void)strcpy(device->address.sun_path, path);
    (void)unlink(path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (bind(fd, (struct sockaddr *)&device->address, sizeof(device->address)) < 0 ||
        listen(fd, 1) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    device->listen_fd = fd;
    return 0;
}

static int device_start(struct far_device *device)
{
    struct slab_pool_config pool = {.slab_bytes = device->config.slab_bytes,
                                    .far_bytes = device->config.far_bytes,
                                    .choice = device->config.choice,
                                    .release = on_release,
                                    .note = on_note,
                                    .context = device};
    int r = far_server_init(&device->server, &pool, device->config.queue_count,
                            device->config.delay_ns, on_lost, device);
    if (r < 0) {
        return r;
    }
    r = -pthread_create(&device->thread, NULL, thread_main, device);
    if (r < 0) {
        far_server_fini(&device->server);
    }
    return r;
}

int far_device_open(const struct far_device_config *config, struct far_device **ret)
{
    struct far_device *device = calloc(1, sizeof(*device));
    if (device == NULL) {
        return -ENOMEM;
    }
    device->config = *config;
    device->config.socket_path = NULL;
    uint64_t poll_ns_max = config->poll_ns * POLL_GROWTH;
    poll_budget_init(&device->poll, config->poll_ns, poll_ns_max, poll_ns_max);
    int r = mailbox_init(&device->commands);
    if (r < 0) {
        goto err_free;
    }
    r = mailbox_init(&device->events);
    if (r < 0) {
        goto err_commands;
    }
    r = device_listen(device, config->socket_path);
    if (r < 0) {
        goto err_events;
    }
    r = device_start(device);
    if (r < 0) {
        goto err_listen;
    }
    *ret = device;
    return 0;

err_listen:
    (void)close(device->listen_fd);
    (void)unlink(device->address.sun_path);
err_events:
    mailbox_fini(&device->events);
err_commands:
    mailbox_fini(&device->commands);
err_free:
    free(device);
    return r;
}

static int send_command(struct far_device *device, enum command_kind kind, uint64_t value)
{
    struct command *command = calloc(1, sizeof(*command));
    if (command == NULL) {
        return -ENOMEM;
    }
    command->kind = kind;
    command->value = value;
    mailbox_put(&device->commands, &command->link);
    return 0;
}

struct far_device *far_device_close(struct far_device *device)
{
    if (device == NULL) {
        return NULL;
    }
    struct command stop = {.kind = COMMAND_STOP};
    struct command *last = malloc(sizeof(stop));
    CHECK(last != NULL);
    *last = stop;
    mailbox_put(&device->commands, &last->link);
    CHECK(pthread_join(device->thread, NULL) == 0);
    struct list *link;
    while ((link = mailbox_take(&device->commands)) != NULL) {
        free(list_entry(link, struct command, link));
    }
    struct far_event *event;
    while ((event = far_device_event(device)) != NULL) {
        far_event_free(event);
    }
    (void)close(device->listen_fd);
    (void)unlink(device->address.sun_path);
    mailbox_fini(&device->events);
    mailbox_fini(&device->commands);
    free(device);
    return NULL;
}

int far_device_fd(const struct far_device *device)
{
    return device->events.fd;
}

struct far_event *far_device_event(struct far_device *device)
{
    struct list *link = mailbox_take(&device->events);
    return link == NULL ? NULL : list_entry(link, struct far_event, link);
}

void far_event_free(struct far_event *event)
{
    if (event != NULL) {
        free(event->live);
        free(event);
    }
}

/* NULL stays NULL: not offered. */
static const char *text_copy(char *to, const char *from)
{
    if (from == NULL || from[0] == '\0') {
        return NULL;
    }
    (void)snprintf(to, ENDPOINT_TEXT, "%s", from);
    return to;
}

static void grant_copy(struct command_grant *to, const struct slab_grant *from)
{
    to->grant = *from;
    (void)snprintf(to->node, sizeof(to->node), "%s", from->node);
    to->grant.node = to->node;
    to->grant.endpoint = (struct fabric_endpoint){
        .node = to->node,
        .host_id = text_copy(to->host_id, from->endpoint.host_id),
        .tcp_address = text_copy(to->tcp_address, from->endpoint.tcp_address),
        .shm_path = text_copy(to->shm_path, from->endpoint.shm_path),
        .verbs_address = text_copy(to->verbs_address, from->endpoint.verbs_address),
    };
}

int far_device_grant(struct far_device *device, const struct slab_grant *grants, uint32_t count)
{
    struct command *command = calloc(1, sizeof(*command) + count * sizeof(struct command_grant));
    if (command == NULL) {
        return -ENOMEM;
    }
    command->kind = COMMAND_GRANT;
    command->count = count;
    for (uint32_t i = 0; i < count; i++) {
        grant_copy(&command->grants[i], &grants[i]);
    }
    mailbox_put(&device->commands, &command->link);
    return 0;
}

int far_device_refuse(struct far_device *device)
{
    return send_command(device, COMMAND_REFUSE, 0);
}

int far_device_set_far(struct far_device *device, uint64_t far_bytes)
{
    return send_command(device, COMMAND_FAR, far_bytes);
}

void far_device_ending(struct far_device *device)
{
    atomic_store(&device->server.ending, true);
}

int far_device_live(struct far_device *device, uint64_t stats_address)
{
    return send_command(device, COMMAND_LIVE, stats_address);
}

int far_device_stop(struct far_device *device, uint64_t stats_address)
{
    return send_command(device, COMMAND_STOP, stats_address);
}
