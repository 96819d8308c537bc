/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/far_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"

#define FEATURES                                                                                   \
    (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | VIRTIO_BLK_F_SEG_MAX |     \
     VIRTIO_BLK_F_BLK_SIZE | VIRTIO_BLK_F_TOPOLOGY | VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_MQ |        \
     VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES)

#define DEVICE_ID      "far"
#define NS_PER_MS      1000000ull
#define RING_BATCH     64u
#define PAGE_SECTORS   8u
#define PHYSICAL_SHIFT 3u /* sectors per page, as a power of two */

static void config_fill(struct far_server *server, uint32_t queue_count)
{
    server->capacity_sectors = FAR_BYTES / VIRTIO_BLK_SECTOR_BYTES;
    server->config = (struct virtio_blk_config){
        .capacity = server->capacity_sectors,
        .seg_max = VRING_CHAIN_SEGMENTS_MAX - 2,
        .blk_size = VIRTIO_BLK_SECTOR_BYTES,
        .physical_block_exp = PHYSICAL_SHIFT,
        .min_io_size = PAGE_SECTORS,
        .opt_io_size = PAGE_SECTORS,
        .num_queues = (uint16_t)queue_count,
        .max_discard_sectors = BLK_RANGE_SECTORS_MAX,
        .max_discard_seg = BLK_RANGES_MAX,
        .discard_sector_alignment = PAGE_SECTORS,
        .max_write_zeroes_sectors = BLK_RANGE_SECTORS_MAX,
        .max_write_zeroes_seg = BLK_RANGES_MAX,
        .write_zeroes_may_unmap = 1,
    };
}

static void queue_tell(struct vhost_queue *queue)
{
    uint64_t one = 1;
    if (vring_must_notify(&queue->ring) && queue->call_fd >= 0) {
        (void)!write(queue->call_fd, &one, sizeof(one));
    }
}

static void answer(struct far_server *server, struct far_request *request)
{
    struct vring *ring = &server->session.queues[request->queue].ring;
    *request->blk.status = request->status;
    vring_give(ring, request->head, request->written + 1);
    server->free_requests[server->free_count++] = request;
}

static void on_done(void *context, struct far_request *request)
{
    struct far_server *server = context;
    if (server->delay.ns == 0) {
        answer(server, request);
    } else {
        far_delay_put(&server->delay, request, sys_monotonic_ns());
    }
}

/* Answers what was held back until `now_ns`. */
static int answer_held(struct far_server *server, uint64_t now_ns)
{
    struct far_request *request;
    int count = 0;
    while ((request = far_delay_take(&server->delay, now_ns)) != NULL) {
        answer(server, request);
        count++;
    }
    return count;
}

/* Whether what is in flight has been waited for long enough, since `begin_ns`. */
static bool waited_enough(struct far_server *server, uint64_t begin_ns)
{
    uint64_t now_ns = sys_monotonic_ns();
    if (atomic_load(&server->ending) && server->ending_ns == 0) {
        server->ending_ns = now_ns;
    }
    return now_ns - begin_ns > FAR_QUIESCE_MS_MAX * NS_PER_MS ||
           (server->ending_ns != 0 && now_ns - server->ending_ns > FAR_ENDING_MS_MAX * NS_PER_MS);
}

static int on_quiesce(void *context)
{
    struct far_server *server = context;
    uint64_t begin_ns = sys_monotonic_ns();
    far_io_fail_waiting(server->io);
    while (far_io_pending(server->io) > 0) {
        if (waited_enough(server, begin_ns)) {
            return -ETIMEDOUT;
        }
        (void)far_io_poll(server->io);
        far_io_fail_waiting(server->io);
    }
    (void)answer_held(server, UINT64_MAX);
    for (uint32_t i = 0; i < server->ops.queue_count; i++) {
        if (vring_is_attached(&server->session.queues[i].ring)) {
            queue_tell(&server->session.queues[i]);
        }
    }
    return 0;
}

static void on_memory_going(void *context)
{
    struct far_server *server = context;
    slab_pool_forget_memory(far_io_pool(server->io));
}

static int on_memory_changed(void *context)
{
    struct far_server *server = context;
    return slab_pool_register_memory(far_io_pool(server->io));
}

int far_server_init(struct far_server *server, const struct slab_pool_config *pool,
                    uint32_t queue_count, uint64_t delay_ns,
                    void (*lost)(void *context, const char *text), void *context)
{
    memset(server, 0, sizeof(*server));
    far_delay_init(&server->delay, delay_ns);
    server->requests = calloc(FAR_REQUESTS_MAX, sizeof(*server->requests));
    if (server->requests == NULL) {
        return -ENOMEM;
    }
    struct far_io_callbacks callbacks = {.done = on_done, .lost = lost};
    callbacks.done_context = server;
    callbacks.lost_context = context;
    int r = far_io_open(pool, &server->session.memory, &callbacks, &server->io);
    if (r < 0) {
        free(server->requests);
        return r;
    }
    for (uint32_t i = 0; i < FAR_REQUESTS_MAX; i++) {
        server->free_requests[server->free_count++] = &server->requests[i];
    }
    config_fill(server, queue_count);
    server->ops = (struct vhost_session_ops){
        .features = FEATURES,
        .config = (const uint8_t *)&server->config,
        .config_bytes = sizeof(server->config),
        .queue_count = queue_count,
        .quiesce = on_quiesce,
        .memory_going = on_memory_going,
        .memory_changed = on_memory_changed,
        .context = server,
    };
    vhost_session_init(&server->session, &server->ops);
    return 0;
}

void far_server_fini(struct far_server *server)
{
    server->io = far_io_close(server->io);
    vhost_session_fini(&server->session);
    free(server->requests);
    server->requests = NULL;
}

static void get_id(struct far_request *request)
{
    char id[VIRTIO_BLK_ID_BYTES] = DEVICE_ID;
    size_t done = 0;
    for (uint32_t i = 0; i < request->blk.segment_count; i++) {
        memcpy(request->blk.segments[i].iov_base, id + done, request->blk.segments[i].iov_len);
        done += request->blk.segments[i].iov_len;
    }
    request->written = VIRTIO_BLK_ID_BYTES;
}

static int queue_take(struct far_server *server, uint16_t index, struct vring_chain *chain)
{
    struct vhost_queue *queue = &server->session.queues[index];
    int r = vring_take(&queue->ring, &server->session.memory, chain);
    if (r <= 0) {
        return r;
    }
    struct far_request *request = server->free_requests[server->free_count - 1];
    r = blk_request_parse(chain, server->capacity_sectors, &request->blk);
    if (r < 0) {
        return r;
    }
    server->free_count--;
    request->queue = index;
    request->head = chain->head;
    request->written = 0;
    request->status = (uint8_t)r;
    if (r == 0 && request->blk.type == VIRTIO_BLK_T_GET_ID) {
        get_id(request);
    }
    if (r != 0 || request->blk.type == VIRTIO_BLK_T_GET_ID ||
        request->blk.type == VIRTIO_BLK_T_FLUSH) {
        answer(server, request); /* FLUSH: what was answered before is in far memory already */
    } else {
        far_io_submit(server->io, request);
    }
    return 1;
}

static int queue_serve(struct far_server *server, uint16_t index)
{
    struct vring_chain chain;
    int taken = 0;
    int r = 1;
    while (r > 0 && taken < (int)RING_BATCH && server->free_count > 0) {
        r = queue_take(server, index, &chain);
        taken += r > 0 ? 1 : 0;
    }
    if (r < 0) {
        (void)snprintf(server->session.reason, sizeof(server->session.reason),
                       "queue %u: malformed request (%s)", index, strerror(-r));
        server->session.broken = true;
        return -EPROTO;
    }
    return taken;
}

int far_server_turn(struct far_server *server)
{
    int total = 0;
    if (server->session.broken) {
        return -EPROTO;
    }
    for (uint16_t i = 0; i < server->ops.queue_count; i++) {
        if (vhost_queue_is_live(&server->session.queues[i])) {
            int r = queue_serve(server, i);
            if (r < 0) {
                return r;
            }
            total += r;
        }
    }
    total += (int)far_io_poll(server->io);
    if (far_delay_holds(&server->delay)) {
        /* As long as one is held there is something to do: no sleep would end at its time. */
        total += 1 + answer_held(server, sys_monotonic_ns());
    }
    for (uint16_t i = 0; i < server->ops.queue_count; i++) {
        if (vring_is_attached(&server->session.queues[i].ring)) {
            queue_tell(&server->session.queues[i]);
        }
    }
    return total;
}

bool far_server_arm(struct far_server *server)
{
    bool work = false;
    for (uint16_t i = 0; i < server->ops.queue_count; i++) {
        struct vhost_queue *queue = &server->session.queues[i];
        if (vhost_queue_is_live(queue)) {
            work = vring_notifications_on(&queue->ring) || work;
        }
    }
    return work && server->free_count > 0;
}

void far_server_disarm(struct far_server *server)
{
    for (uint16_t i = 0; i < server->ops.queue_count; i++) {
        struct vhost_queue *queue = &server->session.queues[i];
        if (vhost_queue_is_live(queue)) {
            vring_notifications_off(&queue->ring);
        }
    }
}
