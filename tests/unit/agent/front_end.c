/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/front_end.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/base/compiler.h"
#include "lib/sys/sys.h"

#define QUEUE_BYTES   (64u * 1024)
#define HEADER_OFFSET 0x8000u /* in the queue's memory: per head, header, status, table */
#define HEADER_BYTES  32u
#define TABLE_OFFSET  0x80000u
#define TABLE_ENTRIES 32u

static uint64_t queue_offset(uint32_t queue)
{
    return (uint64_t)queue * QUEUE_BYTES;
}

static uint64_t guest(uint64_t offset)
{
    return FRONT_GUEST_BASE + offset;
}

bool front_message(struct front_end *front, uint32_t request, const void *body, size_t length,
                   const int *fds, uint32_t fd_count, void *reply, size_t reply_length)
{
    uint8_t data[VHOST_USER_HEADER_BYTES + VHOST_USER_BODY_BYTES_MAX];
    struct vhost_user_header header = {
        .request = request, .length = (uint32_t)length, .need_reply = reply_length == 0};
    vhost_user_header_encode(&header, data);
    if (length > 0) {
        memcpy(data + VHOST_USER_HEADER_BYTES, body, length);
    }
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VHOST_USER_FDS_MAX)];
    } control = {0};
    struct iovec part = {.iov_base = data, .iov_len = VHOST_USER_HEADER_BYTES + length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *fields = CMSG_FIRSTHDR(&message);
        fields->cmsg_level = SOL_SOCKET;
        fields->cmsg_type = SCM_RIGHTS;
        fields->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        memcpy(CMSG_DATA(fields), fds, sizeof(int) * fd_count);
    }
    if (sendmsg(front->fd, &message, MSG_NOSIGNAL) != (ssize_t)part.iov_len) {
        return false;
    }
    if (reply == FRONT_SILENT) {
        return true;
    }
    if (recv(front->fd, data, VHOST_USER_HEADER_BYTES, MSG_WAITALL) != VHOST_USER_HEADER_BYTES ||
        vhost_user_header_decode(data, &header) < 0 || !header.reply || header.request != request) {
        return false;
    }
    uint8_t answer[VHOST_USER_BODY_BYTES_MAX];
    if (recv(front->fd, answer, header.length, MSG_WAITALL) != (ssize_t)header.length) {
        return false;
    }
    if (reply_length == 0) {
        uint64_t failed;
        return vhost_user_u64_decode(answer, header.length, &failed) == 0 && failed == 0;
    }
    memcpy(reply, answer, MIN(reply_length, header.length));
    return header.length == reply_length;
}

static bool send_u64(struct front_end *front, uint32_t request, uint64_t value)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    return front_message(front, request, body, vhost_user_u64_encode(value, body), NULL, 0, NULL,
                         0);
}

static bool send_state(struct front_end *front, uint32_t request, uint32_t index, uint32_t value)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    struct vhost_user_vring_state state = {.index = index, .value = value};
    return front_message(front, request, body, vhost_user_vring_state_encode(&state, body), NULL, 0,
                         NULL, 0);
}

static bool send_fd(struct front_end *front, uint32_t request, uint32_t index, int fd)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    struct vhost_user_vring_fd field = {.index = index};
    return front_message(front, request, body, vhost_user_vring_fd_encode(&field, body), &fd, 1,
                         NULL, 0);
}

static bool send_memory(struct front_end *front)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    struct vhost_user_memory memory = {
        .region_count = 1,
        .regions = {{.guest_address = FRONT_GUEST_BASE,
                     .bytes = FRONT_MEMORY_BYTES,
                     .user_address = FRONT_USER_BASE}},
    };
    return front_message(front, VHOST_USER_SET_MEM_TABLE, body,
                         vhost_user_memory_encode(&memory, body), &front->memory_fd, 1, NULL, 0);
}

static void queue_init(struct front_end *front, uint32_t index, uint16_t ring_start)
{
    struct front_queue *queue = &front->queues[index];
    uint8_t *base = front->memory + queue_offset(index);
    queue->descriptors = (struct virtq_desc *)(void *)base;
    queue->available = (struct virtq_avail *)(void *)(base + 0x2000);
    queue->used = (struct virtq_used *)(void *)(base + 0x4000);
    queue->available->idx = ring_start;
    queue->used->idx = ring_start;
    queue->used_seen = ring_start;
    queue->told = ring_start;
    queue->free_count = 0;
    for (uint16_t i = 0; i < FRONT_QUEUE_SIZE; i++) {
        queue->free[queue->free_count++] = i;
    }
    queue->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    queue->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static bool queue_start(struct front_end *front, uint32_t index, uint16_t ring_start)
{
    queue_init(front, index, ring_start);
    uint64_t base = FRONT_USER_BASE + queue_offset(index);
    struct vhost_user_vring_address address = {
        .index = index, .descriptors = base, .available = base + 0x2000, .used = base + 0x4000};
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    return send_state(front, VHOST_USER_SET_VRING_NUM, index, FRONT_QUEUE_SIZE) &&
           send_state(front, VHOST_USER_SET_VRING_BASE, index, ring_start) &&
           front_message(front, VHOST_USER_SET_VRING_ADDR, body,
                         vhost_user_vring_address_encode(&address, body), NULL, 0, NULL, 0) &&
           send_fd(front, VHOST_USER_SET_VRING_CALL, index, front->queues[index].call_fd) &&
           send_fd(front, VHOST_USER_SET_VRING_KICK, index, front->queues[index].kick_fd) &&
           send_state(front, VHOST_USER_SET_VRING_ENABLE, index, 1);
}

static bool negotiate(struct front_end *front, uint64_t features)
{
    uint8_t reply[sizeof(uint64_t)];
    uint64_t offered;
    struct vhost_user_config config = {.bytes = sizeof(front->config)};
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    if (!front_message(front, VHOST_USER_GET_FEATURES, NULL, 0, NULL, 0, reply, sizeof(reply)) ||
        vhost_user_u64_decode(reply, sizeof(reply), &offered) < 0) {
        return false;
    }
    front->features = offered & (features | VHOST_USER_F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1);
    front->event_idx = (front->features & VIRTIO_F_EVENT_IDX) != 0;
    if (!front_message(front, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, NULL, 0, reply,
                       sizeof(reply)) ||
        vhost_user_u64_decode(reply, sizeof(reply), &offered) < 0) {
        return false;
    }
    uint8_t answer[12 + sizeof(front->config)];
    /* Acknowledgements are negotiated by this very message. */
    if (!front_message(front, VHOST_USER_SET_PROTOCOL_FEATURES, body,
                       vhost_user_u64_encode(offered, body), NULL, 0, FRONT_SILENT, 0) ||
        !send_u64(front, VHOST_USER_SET_FEATURES, front->features) ||
        !front_message(front, VHOST_USER_GET_CONFIG, body, vhost_user_config_encode(&config, body),
                       NULL, 0, answer, sizeof(answer))) {
        return false;
    }
    memcpy(&front->config, answer + 12, sizeof(front->config));
    return true;
}

static bool front_connect(struct front_end *front, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    front->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return connect(front->fd, (struct sockaddr *)&address, sizeof(address)) == 0;
}

bool front_open(struct front_end *front, const char *path, uint64_t features, uint16_t ring_start)
{
    memset(front, 0, sizeof(*front));
    front->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (front->memory_fd < 0 || ftruncate(front->memory_fd, FRONT_MEMORY_BYTES) < 0) {
        return false;
    }
    front->memory =
        mmap(NULL, FRONT_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, front->memory_fd, 0);
    if (front->memory == MAP_FAILED || !front_connect(front, path) || !negotiate(front, features) ||
        !send_memory(front)) {
        return false;
    }
    for (uint32_t i = 0; i < FRONT_QUEUES; i++) {
        if (!queue_start(front, i, ring_start)) {
            return false;
        }
    }
    return true;
}

void front_close(struct front_end *front)
{
    (void)close(front->fd);
    for (uint32_t i = 0; i < FRONT_QUEUES; i++) {
        (void)close(front->queues[i].kick_fd);
        (void)close(front->queues[i].call_fd);
    }
    (void)munmap(front->memory, FRONT_MEMORY_BYTES);
    (void)close(front->memory_fd);
}

static void publish(struct front_queue *queue, uint16_t head)
{
    uint16_t index = queue->available->idx;
    queue->available->ring[index % FRONT_QUEUE_SIZE] = head;
    __atomic_store_n(&queue->available->idx, (uint16_t)(index + 1), __ATOMIC_RELEASE);
}

/* Links `count` descriptors and returns the first; they are remembered under it. */
static uint16_t chain_place(struct front_queue *queue, const struct virtq_desc *from,
                            uint16_t count, uint64_t token)
{
    uint16_t taken[FRONT_QUEUE_SIZE];
    for (uint16_t i = 0; i < count; i++) {
        taken[i] = queue->free[--queue->free_count];
    }
    for (uint16_t i = 0; i < count; i++) {
        queue->descriptors[taken[i]] = from[i];
        bool last = i + 1 == count;
        if (!last) {
            queue->descriptors[taken[i]].flags |= VIRTQ_DESC_F_NEXT;
            queue->descriptors[taken[i]].next = taken[i + 1];
        }
    }
    uint16_t head = taken[0];
    queue->heads[head].token = token;
    queue->heads[head].taken_count = count;
    memcpy(queue->heads[head].taken, taken, count * sizeof(taken[0]));
    return head;
}

int front_submit(struct front_end *front, uint32_t index, uint32_t type, uint64_t sector,
                 const struct front_segment *segments, uint32_t count, bool indirect,
                 uint64_t token)
{
    struct front_queue *queue = &front->queues[index];
    if (queue->free_count < count + 2 || count + 2 > TABLE_ENTRIES) {
        return -1;
    }
    /* Header and status belong to the head, which is the next that is free. */
    uint16_t head = queue->free[queue->free_count - 1];
    uint64_t place = queue_offset(index) + HEADER_OFFSET + (uint64_t)head * HEADER_BYTES;
    struct virtio_blk_header header = {.type = type, .sector = sector};
    memcpy(front->memory + place, &header, sizeof(header));
    front->memory[place + sizeof(header)] = 0xee;
    struct virtq_desc chain[TABLE_ENTRIES] = {{.addr = guest(place), .len = sizeof(header)}};
    bool device_writes = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    for (uint32_t i = 0; i < count; i++) {
        chain[i + 1] = (struct virtq_desc){.addr = guest(segments[i].offset),
                                           .len = segments[i].bytes,
                                           .flags = device_writes ? VIRTQ_DESC_F_WRITE : 0};
    }
    chain[count + 1] = (struct virtq_desc){
        .addr = guest(place + sizeof(header)), .len = 1, .flags = VIRTQ_DESC_F_WRITE};
    if (!indirect) {
        (void)chain_place(queue, chain, (uint16_t)(count + 2), token);
    } else {
        for (uint32_t i = 0; i < count + 1; i++) {
            chain[i].flags |= VIRTQ_DESC_F_NEXT;
            chain[i].next = (uint16_t)(i + 1);
        }
        uint64_t table = TABLE_OFFSET + ((uint64_t)index * FRONT_QUEUE_SIZE + head) *
                                            TABLE_ENTRIES * sizeof(chain[0]);
        memcpy(front->memory + table, chain, sizeof(chain));
        struct virtq_desc one = {.addr = guest(table),
                                 .len = (uint32_t)((count + 2) * sizeof(chain[0])),
                                 .flags = VIRTQ_DESC_F_INDIRECT};
        (void)chain_place(queue, &one, 1, token);
    }
    publish(queue, head);
    return head;
}

void front_submit_raw(struct front_end *front, uint32_t index, const struct virtq_desc *descriptors,
                      uint16_t count)
{
    struct front_queue *queue = &front->queues[index];
    memcpy(queue->descriptors, descriptors, count * sizeof(*descriptors));
    publish(queue, 0);
}

void front_kick(struct front_end *front, uint32_t index)
{
    struct front_queue *queue = &front->queues[index];
    uint64_t one = 1;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    uint16_t now = queue->available->idx;
    const uint16_t *event = (const uint16_t *)(const void *)&queue->used->ring[FRONT_QUEUE_SIZE];
    bool wanted =
        front->event_idx
            ? virtq_need_event(__atomic_load_n(event, __ATOMIC_RELAXED), now, queue->told) != 0
            : (__atomic_load_n(&queue->used->flags, __ATOMIC_RELAXED) & VIRTQ_USED_F_NO_NOTIFY) ==
                  0;
    queue->told = now;
    if (wanted) {
        queue->kicks++;
        (void)!write(queue->kick_fd, &one, sizeof(one));
    }
}

static bool take(struct front_end *front, uint32_t index, struct front_done *ret)
{
    struct front_queue *queue = &front->queues[index];
    if (__atomic_load_n(&queue->used->idx, __ATOMIC_ACQUIRE) == queue->used_seen) {
        return false;
    }
    struct virtq_used_elem element = queue->used->ring[queue->used_seen % FRONT_QUEUE_SIZE];
    queue->used_seen++;
    CHECK(element.id < FRONT_QUEUE_SIZE);
    uint16_t head = (uint16_t)element.id;
    CHECK(queue->heads[head].taken_count > 0); /* each answer belongs to a request */
    uint64_t place = queue_offset(index) + HEADER_OFFSET + (uint64_t)head * HEADER_BYTES;
    *ret = (struct front_done){.token = queue->heads[head].token,
                               .status = front->memory[place + sizeof(struct virtio_blk_header)],
                               .written = element.len};
    for (uint16_t i = queue->heads[head].taken_count; i > 0; i--) {
        queue->free[queue->free_count++] = queue->heads[head].taken[i - 1];
    }
    queue->heads[head].taken_count = 0;
    return true;
}

bool front_wait(struct front_end *front, uint32_t index, uint32_t timeout_ms,
                struct front_done *ret)
{
    struct front_queue *queue = &front->queues[index];
    uint64_t deadline = sys_monotonic_ns() + timeout_ms * 1000000ull;
    uint64_t count;
    while (!take(front, index, ret)) {
        uint64_t now = sys_monotonic_ns();
        if (now >= deadline) {
            return false;
        }
        /* used_event (2.6.7): tell us of the next one. Then look again before sleeping. */
        __atomic_store_n(&queue->available->ring[FRONT_QUEUE_SIZE], queue->used_seen,
                         __ATOMIC_SEQ_CST);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (take(front, index, ret)) {
            return true;
        }
        struct pollfd call = {.fd = queue->call_fd, .events = POLLIN};
        (void)poll(&call, 1, (int)((deadline - now) / 1000000 + 1));
        (void)!read(queue->call_fd, &count, sizeof(count));
    }
    return true;
}

bool front_spin(struct front_end *front, uint32_t index, uint32_t timeout_ms,
                struct front_done *ret)
{
    uint64_t deadline = sys_monotonic_ns() + timeout_ms * 1000000ull;
    while (!take(front, index, ret)) {
        if (sys_monotonic_ns() > deadline) {
            return false;
        }
    }
    return true;
}

int front_stop(struct front_end *front, uint32_t index)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    uint8_t reply[8];
    struct vhost_user_vring_state state = {.index = index};
    if (!front_message(front, VHOST_USER_GET_VRING_BASE, body,
                       vhost_user_vring_state_encode(&state, body), NULL, 0, reply,
                       sizeof(reply)) ||
        vhost_user_vring_state_decode(reply, sizeof(reply), &state) < 0) {
        return -1;
    }
    return (int)state.value;
}
