/* SPDX-License-Identifier: Apache-2.0 */
/* A stream of vhost-user messages from a hostile front end, without descriptors. */
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "computenode/agent/vhost_session.h"
#include "lib/base/check.h"
#include "lib/base/compiler.h"

#define MESSAGES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int nothing(void *context)
{
    return 0;
}

static void ignore(void *context)
{
    (void)context;
}

static void run_decoders(const uint8_t *data, size_t size)
{
    uint64_t value;
    struct vhost_user_memory memory;
    struct vhost_user_vring_state state;
    struct vhost_user_vring_address address;
    struct vhost_user_vring_fd fd;
    struct vhost_user_config config;
    (void)!vhost_user_u64_decode(data, size, &value);
    if (vhost_user_memory_decode(data, size, &memory) == 0) {
        CHECK(memory.region_count <= VHOST_USER_REGIONS_MAX);
    }
    (void)!vhost_user_vring_state_decode(data, size, &state);
    (void)!vhost_user_vring_address_decode(data, size, &address);
    (void)!vhost_user_vring_fd_decode(data, size, &fd);
    if (vhost_user_config_decode(data, size, &config) == 0) {
        CHECK(config.offset + config.bytes <= VHOST_USER_CONFIG_BYTES_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t space[64];
    const struct vhost_session_ops ops = {.features = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX,
                                          .config = space,
                                          .config_bytes = sizeof(space),
                                          .queue_count = 2,
                                          .quiesce = nothing,
                                          .memory_going = ignore,
                                          .memory_changed = nothing};
    run_decoders(data, size);
    if (size >= VHOST_USER_HEADER_BYTES) {
        run_decoders(data + VHOST_USER_HEADER_BYTES, size - VHOST_USER_HEADER_BYTES);
    }
    int fds[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    struct vhost_session session;
    vhost_session_init(&session, &ops);
    vhost_session_start(&session, fds[0]);
    (void)!send(fds[1], data, MIN(size, 65536u), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fds[1], SHUT_WR);
    for (int i = 0; i < MESSAGES_MAX && vhost_session_handle(&session) > 0; i++) {
    }
    vhost_session_fini(&session);
    (void)close(fds[1]);
    return 0;
}
