/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The far device (vhost-user session, rings, requests, slab map) against a hostile VMM and a
 * hostile guest. The input is a script: messages with descriptors, writes into guest memory,
 * requests that are right but for some field, and what the controller and the fabric do meanwhile.
 * The fabric is tests/unit/agent/fake_fabric.c. Every request that was taken is answered once the
 * device is quiet, and no descriptor stays open.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "computenode/agent/far_server.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "tests/fuzz/input.h"
#include "tests/unit/agent/fake_fabric.h"

#define QUEUES         2u
#define QUEUE_SIZE     8u
#define QUEUE_STRIDE   0x4000u
#define AVAILABLE_AT   0x1000u
#define USED_AT        0x2000u
#define HEADERS_AT     0x8000u /* 64 bytes for each head of each queue: header, range, status */
#define RANGE_AT       16u
#define STATUS_AT      48u
#define DATA_AT        0x10000u
#define MEMORY_BYTES   0x40000u
#define GUEST_BASE     0x100000u
#define USER_BASE      0x7f0000000000ull
#define OPERATIONS_MAX 96u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct far_server server;
    int fd; /* the VMM's end */
    int memory_fd, event_fd;
    uint8_t *memory;
    uint32_t next_slab;
    uint64_t generation;
    bool ended;
};

static void on_release(void *context, const struct slab_identity *slab)
{
}

static void on_note(void *context, const char *text)
{
}

static void on_lost(void *context, const char *text)
{
}

/* ---- the VMM ---- */

static void send_message(struct fuzz *fuzz, uint32_t request, const uint8_t *body, size_t length,
                         uint32_t fd_count, int fd)
{
    uint8_t data[VHOST_USER_HEADER_BYTES + VHOST_USER_BODY_BYTES_MAX];
    const struct vhost_user_header header = {.request = request, .length = (uint32_t)length};
    vhost_user_header_encode(&header, data);
    memcpy(data + VHOST_USER_HEADER_BYTES, body, length);
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 16)];
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = data, .iov_len = VHOST_USER_HEADER_BYTES + length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
        struct cmsghdr *fields = CMSG_FIRSTHDR(&message);
        fields->cmsg_level = SOL_SOCKET;
        fields->cmsg_type = SCM_RIGHTS;
        fields->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        for (uint32_t i = 0; i < fd_count; i++) {
            memcpy(CMSG_DATA(fields) + i * sizeof(int), &fd, sizeof(int));
        }
    }
    (void)!sendmsg(fuzz->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* As the thread of far_device.c does it. */
static void serve_messages(struct fuzz *fuzz)
{
    struct vhost_session *session = &fuzz->server.session;
    uint8_t replies[1024];
    struct pollfd item = {.fd = session->fd, .events = POLLIN};
    while (!fuzz->ended && poll(&item, 1, 0) == 1) {
        if (vhost_session_handle(session) <= 0) {
            CHECK(session->reason[0] != '\0');
            (void)!session->ops->quiesce(session->ops->context);
            session->broken = true;
            fuzz->ended = true;
        }
        (void)!recv(fuzz->fd, replies, sizeof(replies), MSG_DONTWAIT);
    }
}

static void send_u64(struct fuzz *fuzz, uint32_t request, uint64_t value)
{
    uint8_t body[8];
    le64_store(body, value);
    send_message(fuzz, request, body, sizeof(body), 0, -1);
}

static void send_state(struct fuzz *fuzz, uint32_t request, uint32_t index, uint32_t value)
{
    uint8_t body[8];
    le32_store(body, index);
    le32_store(body + 4, value);
    send_message(fuzz, request, body, sizeof(body), 0, -1);
}

static void send_memory(struct fuzz *fuzz, uint32_t pages, uint64_t shift)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    const struct vhost_user_memory memory = {
        .region_count = 1,
        .regions = {{.guest_address = GUEST_BASE + shift,
                     .bytes = (uint64_t)pages << 12,
                     .user_address = USER_BASE}},
    };
    send_message(fuzz, VHOST_USER_SET_MEM_TABLE, body, vhost_user_memory_encode(&memory, body), 1,
                 fuzz->memory_fd);
}

static void send_address(struct fuzz *fuzz, uint32_t index, uint64_t shift)
{
    uint8_t body[VHOST_USER_BODY_BYTES_MAX];
    uint64_t base = USER_BASE + index * QUEUE_STRIDE + shift;
    const struct vhost_user_vring_address address = {.index = index,
                                                     .descriptors = base,
                                                     .available = base + AVAILABLE_AT,
                                                     .used = base + USED_AT};
    send_message(fuzz, VHOST_USER_SET_VRING_ADDR, body,
                 vhost_user_vring_address_encode(&address, body), 0, -1);
}

static void start_queue(struct fuzz *fuzz, uint32_t index)
{
    uint8_t body[8];
    le64_store(body, index);
    send_state(fuzz, VHOST_USER_SET_VRING_NUM, index, QUEUE_SIZE);
    send_state(fuzz, VHOST_USER_SET_VRING_BASE, index, 0);
    send_address(fuzz, index, 0);
    send_message(fuzz, VHOST_USER_SET_VRING_CALL, body, sizeof(body), 1, fuzz->event_fd);
    send_message(fuzz, VHOST_USER_SET_VRING_KICK, body, sizeof(body), 1, fuzz->event_fd);
    send_state(fuzz, VHOST_USER_SET_VRING_ENABLE, index, 1);
}

static void start_device(struct fuzz *fuzz, uint32_t without)
{
    uint64_t features = VHOST_USER_F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1;
    features |= (without & 1) != 0 ? 0 : VIRTIO_F_EVENT_IDX;
    features |= (without & 2) != 0 ? 0 : VIRTIO_F_INDIRECT_DESC;
    send_u64(fuzz, VHOST_USER_SET_FEATURES, features);
    send_u64(fuzz, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_PROTOCOL_F_REPLY_ACK);
    send_memory(fuzz, MEMORY_BYTES >> 12, 0);
    for (uint32_t i = 0; i < QUEUES; i++) {
        start_queue(fuzz, i);
        serve_messages(fuzz);
    }
}

static void send_some(struct fuzz *fuzz, struct input *input)
{
    const uint8_t *body;
    uint32_t choice = input_u8(input);
    uint32_t index = input_u8(input) & 3;
    switch (choice & 7) {
    case 0:
        send_memory(fuzz, input_u8(input), (uint64_t)input_u8(input) << 12);
        break;
    case 1:
        send_address(fuzz, index, input_u16(input));
        break;
    case 2:
        start_queue(fuzz, index);
        break;
    case 3:
        send_state(fuzz, VHOST_USER_GET_VRING_BASE, index, 0);
        break;
    case 4:
        send_state(fuzz, VHOST_USER_SET_VRING_ENABLE, index, choice >> 7);
        break;
    case 5:
        send_state(fuzz, input_u8(input), index, input_u16(input));
        break;
    case 6:
        send_u64(fuzz, input_u8(input), input_u64(input));
        break;
    default: {
        uint32_t request = input_u8(input);
        size_t length = input_take(input, input_u8(input), &body);
        send_message(fuzz, request, body, length, choice >> 3 & 15, fuzz->memory_fd);
        break;
    }
    }
}

/* ---- the guest ---- */

static void put_descriptor(struct fuzz *fuzz, uint32_t queue, uint32_t at, uint64_t address,
                           uint32_t bytes, uint32_t flags)
{
    uint8_t *to = fuzz->memory + queue * QUEUE_STRIDE + at % QUEUE_SIZE * 16;
    le64_store(to, GUEST_BASE + address);
    le32_store(to + 8, bytes);
    le16_store(to + 12, (uint16_t)flags);
    le16_store(to + 14, (uint16_t)((at + 1) % QUEUE_SIZE));
}

static void make_available(struct fuzz *fuzz, uint32_t queue, uint32_t head)
{
    uint8_t *available = fuzz->memory + queue * QUEUE_STRIDE + AVAILABLE_AT;
    uint16_t index = le16_load(available + 2);
    le16_store(available + 4 + index % QUEUE_SIZE * 2, (uint16_t)head);
    le16_store(available + 2, (uint16_t)(index + 1));
}

static void submit(struct fuzz *fuzz, struct input *input, uint32_t queue)
{
    static const uint32_t types[] = {
        VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_FLUSH,
        VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    uint32_t choice = input_u8(input);
    uint32_t head = choice & 7;
    uint32_t type = types[choice >> 3 & 7];
    uint32_t segments = type == VIRTIO_BLK_T_FLUSH ? 0 : 1 + (choice >> 6 & 1);
    uint64_t sector = (uint64_t)input_u16(input) << ((choice & 0x80) != 0 ? 3 : 0);
    uint32_t header_at = HEADERS_AT + (queue * QUEUE_SIZE + head) * 64;
    uint8_t *header = fuzz->memory + header_at;
    le32_store(header, type);
    le32_store(header + 4, 0);
    le64_store(header + 8, sector);
    put_descriptor(fuzz, queue, head, header_at, 16, VIRTQ_DESC_F_NEXT);
    bool ranges = type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
    uint32_t flags = VIRTQ_DESC_F_NEXT;
    flags |= type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID ? VIRTQ_DESC_F_WRITE : 0;
    for (uint32_t i = 0; i < segments; i++) {
        uint32_t address = DATA_AT + (input_u8(input) << 8);
        uint32_t bytes = input_u8(input) << 9;
        if (ranges) {
            le64_store(header + RANGE_AT, sector);
            le32_store(header + RANGE_AT + 8, bytes >> 6);
            le32_store(header + RANGE_AT + 12, 0);
            address = header_at + RANGE_AT;
            bytes = 16;
        }
        bytes = type == VIRTIO_BLK_T_GET_ID ? VIRTIO_BLK_ID_BYTES : bytes;
        put_descriptor(fuzz, queue, head + 1 + i, address, bytes, flags);
    }
    put_descriptor(fuzz, queue, head + 1 + segments, header_at + STATUS_AT, 1, VIRTQ_DESC_F_WRITE);
    make_available(fuzz, queue, head);
}

static void write_memory(struct fuzz *fuzz, struct input *input)
{
    const uint8_t *raw;
    uint32_t at = input_u16(input);
    size_t bytes = input_take(input, 1 + (input_u8(input) & 31), &raw);
    memcpy(fuzz->memory + at, raw, bytes);
}

/* ---- controller and fabric ---- */

static void answer_ask(struct fuzz *fuzz, bool refuse)
{
    struct far_io *io = fuzz->server.io;
    uint32_t count = far_io_ask(io);
    struct slab_grant grants[SLAB_POOL_ASK_MAX];
    if (count == 0) {
        return;
    }
    if (refuse || fuzz->next_slab + count > FAKE_NODE_SLABS) {
        far_io_refuse(io);
        return;
    }
    CHECK(count <= SLAB_POOL_ASK_MAX);
    for (uint32_t i = 0; i < count; i++) {
        grants[i] = (struct slab_grant){.node = "mn0",
                                        .endpoint = {.node = "mn0"},
                                        .fabric = {.slab_index = fuzz->next_slab++,
                                                   .generation = ++fuzz->generation,
                                                   .slab_bytes = FAKE_SLAB_BYTES}};
    }
    far_io_grant(io, grants, count);
}

static void operate(struct fuzz *fuzz, struct input *input)
{
    uint32_t operation = input_u8(input);
    switch (operation & 7) {
    case 0:
        send_some(fuzz, input);
        serve_messages(fuzz);
        break;
    case 1:
    case 2:
        submit(fuzz, input, operation >> 3 & 1);
        break;
    case 3:
        write_memory(fuzz, input);
        break;
    case 4:
        answer_ask(fuzz, (operation & 0x80) != 0);
        break;
    case 5:
        fake_fabric.delay_polls_max = operation >> 3 & 3;
        fake_fabric.busy_permille = operation >> 5 & 1 ? 300 : 0;
        fake_fabric.dead[0] = (operation & 0xc0) == 0xc0;
        break;
    default:
        if (!fuzz->ended && far_server_turn(&fuzz->server) < 0) {
            CHECK(fuzz->server.session.reason[0] != '\0');
            fuzz->ended = true;
        }
        break;
    }
}

static void fuzz_open(struct fuzz *fuzz)
{
    int fds[2];
    const struct slab_pool_config pool = {.slab_bytes = FAKE_SLAB_BYTES,
                                          .far_bytes = 8ull * FAKE_SLAB_BYTES,
                                          .release = on_release,
                                          .note = on_note};
    fake_fabric = (struct fake_fabric){0}; /* what slabs hold does not matter here */
    CHECK(far_server_init(&fuzz->server, &pool, QUEUES, 0, on_lost, NULL) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    vhost_session_start(&fuzz->server.session, fds[0]);
    fuzz->fd = fds[1];
    fuzz->memory_fd = memfd_create("guest", MFD_CLOEXEC);
    fuzz->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(fuzz->memory_fd >= 0 && fuzz->event_fd >= 0);
    CHECK(ftruncate(fuzz->memory_fd, MEMORY_BYTES) == 0);
    fuzz->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fuzz->memory_fd, 0);
    CHECK(fuzz->memory != MAP_FAILED);
}

static void fuzz_close(struct fuzz *fuzz)
{
    CHECK(fuzz->server.ops.quiesce(fuzz->server.ops.context) == 0);
    CHECK(fuzz->server.free_count == FAR_REQUESTS_MAX);
    far_server_fini(&fuzz->server);
    CHECK(munmap(fuzz->memory, MEMORY_BYTES) == 0);
    (void)close(fuzz->memory_fd);
    (void)close(fuzz->event_fd);
    (void)close(fuzz->fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz fuzz;
    struct input input = {data, size};
    uint64_t open = input_descriptors();
    fuzz = (struct fuzz){.fd = -1};
    fuzz_open(&fuzz);
    uint32_t without = input_u8(&input);
    if ((without & 4) == 0) {
        start_device(&fuzz, without);
    }
    for (unsigned i = 0; i < OPERATIONS_MAX && input.size > 0; i++) {
        operate(&fuzz, &input);
    }
    fuzz_close(&fuzz);
    CHECK(input_descriptors() == open);
    return 0;
}
