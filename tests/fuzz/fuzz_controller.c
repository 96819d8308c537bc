/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole controller against a hostile memory node, agent and operator at once, all greeted. The
 * input is a script of frames: requests of any type from any of them, replies to what the
 * controller asked, raw bytes, connections that end. Requests are well framed, so that the input's
 * bytes reach the handlers. The core's own invariants are checked as it goes (CHECK), and replaying
 * the log in a second controller must be possible.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "controller/controller.h"
#include "lib/base/check.h"
#include "lib/rpc/rpc.h"
#include "lib/sys/log.h"
#include "lib/wire/frame.h"
#include "tests/fuzz/input.h"

#define PEERS          3u
#define OPERATIONS_MAX 48u
#define BODY_BYTES_MAX 512u
#define SLABS          16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    int fd; /* -1: not connected */
    uint64_t id;
    struct frame_header asked; /* the controller's last request; type 0: none */
};

struct fuzz {
    struct event_base *base;
    struct store *store;
    struct controller *controller;
    struct peer peers[PEERS];
};

static const Dilos__Role roles[PEERS] = {DILOS__ROLE__ROLE_MEMNODE, DILOS__ROLE__ROLE_AGENT,
                                         DILOS__ROLE__ROLE_OPERATOR};

static const uint16_t types[] = {16, 17, 18, 19, 32, 33, 34, 35, 36, 37, 38, 39, 64, 65, 66,
                                 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 1,  99};

static void path_of(char *ret, size_t bytes)
{
    (void)snprintf(ret, bytes, "/tmp/dilos-fuzz-controller-%d", (int)getpid());
}

static void put_frame(struct peer *peer, uint16_t type, uint16_t flags, uint64_t id,
                      const uint8_t *body, size_t length)
{
    uint8_t data[FRAME_HEADER_BYTES + BODY_BYTES_MAX];
    const struct frame_header header = {
        .type = type, .flags = flags, .length = (uint32_t)length, .request_id = id};
    frame_encode(&header, data);
    memcpy(data + FRAME_HEADER_BYTES, body, length);
    (void)!send(peer->fd, data, FRAME_HEADER_BYTES + length, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void peer_open(struct fuzz *fuzz, unsigned which)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct peer *peer = &fuzz->peers[which];
    Dilos__Hello hello = DILOS__HELLO__INIT;
    uint8_t body[64];
    path_of(address.sun_path, sizeof(address.sun_path));
    *peer = (struct peer){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .id = 1};
    CHECK(peer->fd >= 0);
    CHECK(connect(peer->fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    hello.role = roles[which];
    hello.name = (char *)(uintptr_t) "mn1";
    hello.version_min = RPC_VERSION_MIN;
    hello.version_max = RPC_VERSION_MAX;
    size_t length = dilos__hello__pack(&hello, body);
    put_frame(peer, DILOS__MESSAGE_TYPE__MESSAGE_HELLO, 0, peer->id++, body, length);
}

/* Takes what the controller sent, and remembers what it asked. */
static void peer_receive(struct peer *peer)
{
    static uint8_t data[65536];
    if (peer->fd < 0) {
        return;
    }
    ssize_t bytes = recv(peer->fd, data, sizeof(data), MSG_DONTWAIT);
    size_t at = 0;
    while (bytes > 0 && at + FRAME_HEADER_BYTES <= (size_t)bytes) {
        struct frame_header header;
        CHECK(frame_decode(data + at, &header) == 0);
        if ((header.flags & FRAME_REPLY) == 0) {
            peer->asked = header;
        }
        at += FRAME_HEADER_BYTES + header.length;
    }
}

static void settle(struct fuzz *fuzz)
{
    for (int i = 0; i < 4; i++) {
        (void)event_base_loop(fuzz->base, EVLOOP_NONBLOCK);
    }
    for (unsigned i = 0; i < PEERS; i++) {
        peer_receive(&fuzz->peers[i]);
    }
}

static void operate(struct fuzz *fuzz, struct input *input)
{
    const uint8_t *body;
    uint32_t operation = input_u8(input);
    struct peer *peer = &fuzz->peers[(operation >> 3 & 15) % PEERS];
    if (peer->fd < 0) {
        peer_open(fuzz, (operation >> 3 & 15) % PEERS);
    }
    switch (operation & 7) {
    case 0:
    case 1:
    case 2: {
        uint16_t type = types[input_u8(input) % ARRAY_LEN(types)];
        bool notice = (operation & 0x80) != 0;
        size_t length = input_take(input, input_u8(input), &body);
        put_frame(peer, type, notice ? FRAME_NOTICE : 0, notice ? 0 : peer->id++, body, length);
        settle(fuzz);
        break;
    }
    case 3: {
        size_t length = input_take(input, input_u8(input), &body);
        uint16_t flags = FRAME_REPLY | ((operation & 0x80) != 0 ? FRAME_ERROR : 0);
        settle(fuzz);
        if (peer->asked.type != 0) {
            put_frame(peer, peer->asked.type, flags, peer->asked.request_id, body, length);
            peer->asked.type = 0;
        }
        settle(fuzz);
        break;
    }
    case 4: {
        size_t length = input_take(input, input_u8(input), &body);
        (void)!send(peer->fd, body, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    }
    case 5:
        (void)close(peer->fd);
        peer->fd = -1;
        break;
    default:
        settle(fuzz);
        break;
    }
}

static void on_broken(void *context, int error)
{
    CHECK(error == 0);
}

static void controller_start(struct fuzz *fuzz)
{
    char address[128] = "unix:";
    const char *failed;
    path_of(address + 5, sizeof(address) - 5);
    const char *addresses[] = {address};
    const struct controller_config config = {.times = {1000, 20000, 30000, 10000},
                                             .slabs_per_node = SLABS,
                                             .store = fuzz->store,
                                             .addresses = addresses,
                                             .address_count = 1,
                                             .on_broken = on_broken};
    CHECK(controller_open(fuzz->base, &config, &fuzz->controller, &failed) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct fuzz fuzz = {.base = event_base_new(), .store = store_sim_open()};
    log_init("fuzz", LOG_LEVEL_ERROR);
    controller_start(&fuzz);
    for (unsigned i = 0; i < PEERS; i++) {
        peer_open(&fuzz, i);
        settle(&fuzz);
    }
    for (unsigned i = 0; i < OPERATIONS_MAX && input.size > 0; i++) {
        operate(&fuzz, &input);
    }
    settle(&fuzz);
    for (unsigned i = 0; i < PEERS; i++) {
        if (fuzz.peers[i].fd >= 0) {
            (void)close(fuzz.peers[i].fd);
            fuzz.peers[i].fd = -1;
        }
    }
    /* Whoever still waits for an answer gets it now, so that what is left over is a leak. */
    settle(&fuzz);
    fuzz.controller = controller_close(fuzz.controller);
    /* What was logged loads again. */
    controller_start(&fuzz);
    fuzz.controller = controller_close(fuzz.controller);
    (void)fuzz.store->ops->close(fuzz.store);
    event_base_free(fuzz.base);
    return 0;
}
