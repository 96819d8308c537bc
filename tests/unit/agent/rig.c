/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/rig.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"

#define RANGE_OFFSET (FRONT_MEMORY_BYTES - 4096u)

static bool open_rig(struct rig *rig, uint64_t far_bytes, uint64_t features, uint16_t ring_start,
                     uint64_t delay_ns)
{
    memset(rig, 0, sizeof(*rig));
    rig->nodes = 2;
    char folder[] = "/tmp/dilos-agent-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(rig->path, sizeof(rig->path), "%s/far", folder);
    struct far_device_config config = {.socket_path = rig->path,
                                       .slab_bytes = FAKE_SLAB_BYTES,
                                       .far_bytes = far_bytes,
                                       .queue_count = FRONT_QUEUES,
                                       .poll_ns = 50000,
                                       .delay_ns = delay_ns};
    return far_device_open(&config, &rig->device) == 0 &&
           front_open(&rig->front, rig->path, features, ring_start);
}

bool rig_open(struct rig *rig, uint64_t far_bytes, uint64_t features, uint16_t ring_start)
{
    return open_rig(rig, far_bytes, features, ring_start, 0);
}

bool rig_open_delayed(struct rig *rig, uint64_t far_bytes, uint64_t features, uint64_t delay_ns)
{
    return open_rig(rig, far_bytes, features, 0, delay_ns);
}

void rig_close(struct rig *rig)
{
    front_close(&rig->front);
    rig->device = far_device_close(rig->device);
    *strrchr(rig->path, '/') = '\0';
    (void)rmdir(rig->path);
}

static void grant_one(struct rig *rig, struct slab_grant *to, char *name, size_t capacity)
{
    uint32_t node = rig->next_node++ % rig->nodes;
    uint32_t slab = 0;
    while (slab < FAKE_NODE_SLABS && rig->granted[node][slab]) {
        slab++;
    }
    CHECK(slab < FAKE_NODE_SLABS);
    rig->granted[node][slab] = true;
    (void)snprintf(name, capacity, "mn%u", node);
    *to = (struct slab_grant){.node = name,
                              .endpoint = {.node = name},
                              .fabric = {.slab_index = slab,
                                         .generation = ++rig->generation,
                                         .slab_bytes = FAKE_SLAB_BYTES}};
}

static void answer_ask(struct rig *rig, uint32_t count)
{
    if (rig->away) {
        rig->owed = count;
        return;
    }
    if (rig->full) {
        rig->refusals++;
        CHECK(far_device_refuse(rig->device) == 0);
        return;
    }
    struct slab_grant grants[SLAB_POOL_ASK_MAX];
    char names[SLAB_POOL_ASK_MAX][16];
    CHECK(count <= SLAB_POOL_ASK_MAX);
    for (uint32_t i = 0; i < count; i++) {
        grant_one(rig, &grants[i], names[i], sizeof(names[i]));
    }
    CHECK(far_device_grant(rig->device, grants, count) == 0);
}

static void take_event(struct rig *rig, const struct far_event *event)
{
    switch (event->kind) {
    case FAR_EVENT_ASK:
        rig->asks++;
        answer_ask(rig, event->count);
        break;
    case FAR_EVENT_RELEASE: {
        uint32_t node = (uint32_t)atoi(event->slab.node + 2);
        CHECK(rig->granted[node][event->slab.slab_index]);
        rig->granted[node][event->slab.slab_index] = false;
        rig->releases++;
        break;
    }
    case FAR_EVENT_NOTE:
        rig->notes++;
        break;
    case FAR_EVENT_LOST:
        rig->lost++;
        (void)snprintf(rig->text, sizeof(rig->text), "%s", event->text);
        break;
    case FAR_EVENT_BROKEN:
        rig->broken++;
        (void)snprintf(rig->text, sizeof(rig->text), "%s", event->text);
        break;
    case FAR_EVENT_LIVE:
        rig->live = *event->live;
        rig->has_live = true;
        break;
    case FAR_EVENT_DETACHED:
        break;
    case FAR_EVENT_STOPPED:
        rig->live = *event->live;
        rig->stopped++;
        break;
    }
}

void rig_pump(struct rig *rig)
{
    struct far_event *event;
    if (!rig->away && rig->owed > 0) {
        uint32_t owed = rig->owed;
        rig->owed = 0;
        answer_ask(rig, owed);
    }
    while ((event = far_device_event(rig->device)) != NULL) {
        take_event(rig, event);
        far_event_free(event);
    }
}

bool rig_wait(struct rig *rig, uint32_t queue, struct front_done *ret)
{
    uint64_t deadline = sys_monotonic_ns() + RIG_WAIT_MS * 1000000ull;
    do {
        rig_pump(rig);
        if (front_wait(&rig->front, queue, 2, ret)) {
            return true;
        }
    } while (sys_monotonic_ns() < deadline);
    return false;
}

bool rig_wait_for(struct rig *rig, const uint32_t *value, uint32_t least)
{
    uint64_t deadline = sys_monotonic_ns() + RIG_WAIT_MS * 1000000ull;
    while (*value < least && sys_monotonic_ns() < deadline) {
        struct pollfd fd = {.fd = far_device_fd(rig->device), .events = POLLIN};
        (void)poll(&fd, 1, 10);
        rig_pump(rig);
    }
    return *value >= least;
}

int rig_do(struct rig *rig, uint32_t type, uint64_t offset, uint32_t memory_offset, uint32_t bytes)
{
    struct front_segment segment = {.offset = memory_offset, .bytes = bytes};
    struct front_done done;
    if (front_submit(&rig->front, 0, type, offset / VIRTIO_BLK_SECTOR_BYTES, &segment, 1, false,
                     1) < 0) {
        return -1;
    }
    front_kick(&rig->front, 0);
    return rig_wait(rig, 0, &done) ? done.status : -1;
}

int rig_discard(struct rig *rig, uint32_t type, uint64_t offset, uint64_t bytes)
{
    struct virtio_blk_range range = {.sector = offset / VIRTIO_BLK_SECTOR_BYTES,
                                     .sector_count = (uint32_t)(bytes / VIRTIO_BLK_SECTOR_BYTES)};
    memcpy(rig->front.memory + RANGE_OFFSET, &range, sizeof(range));
    return rig_do(rig, type, 0, RANGE_OFFSET, sizeof(range));
}

uint32_t rig_granted(const struct rig *rig)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < FAKE_NODES; node++) {
        for (uint32_t slab = 0; slab < FAKE_NODE_SLABS; slab++) {
            count += rig->granted[node][slab] ? 1 : 0;
        }
    }
    return count;
}

bool rig_wait_granted(struct rig *rig, uint32_t count)
{
    uint64_t deadline = sys_monotonic_ns() + RIG_WAIT_MS * 1000000ull;
    while (rig_granted(rig) != count && sys_monotonic_ns() < deadline) {
        struct pollfd fd = {.fd = far_device_fd(rig->device), .events = POLLIN};
        (void)poll(&fd, 1, 10);
        rig_pump(rig);
    }
    return rig_granted(rig) == count;
}
