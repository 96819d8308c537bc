/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of vhost-user between a VMM (front end) and a device (back end), as in QEMU's
 * docs/interop/vhost-user: header of request u32, flags u32, body size u32, then the body. File
 * descriptors travel beside the bytes (SCM_RIGHTS) and are the transport's business.
 *
 * Freestanding codecs, no I/O. Fields are in host order by that specification; both ends run on
 * one machine, and ours is little endian.
 */
#ifndef DILOS_LIB_WIRE_VHOST_USER_H
#define DILOS_LIB_WIRE_VHOST_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define VHOST_USER_HEADER_BYTES     12u
#define VHOST_USER_BODY_BYTES_MAX   1024u
#define VHOST_USER_REGIONS_MAX      8u
#define VHOST_USER_CONFIG_BYTES_MAX 256u
#define VHOST_USER_FDS_MAX          VHOST_USER_REGIONS_MAX

/* The feature bit that announces protocol features. */
#define VHOST_USER_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

#define VHOST_USER_PROTOCOL_F_MQ        (UINT64_C(1) << 0)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK (UINT64_C(1) << 3)
#define VHOST_USER_PROTOCOL_F_CONFIG    (UINT64_C(1) << 9)

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
};

struct vhost_user_header {
    uint32_t request;
    uint32_t length; /* of the body, <= VHOST_USER_BODY_BYTES_MAX */
    bool reply;
    bool need_reply;
};

/* Writes VHOST_USER_HEADER_BYTES. */
void vhost_user_header_encode(const struct vhost_user_header *header, uint8_t *data);
/* Errors: -EPROTO another version or unknown flags, -EMSGSIZE body above the limit. */
int vhost_user_header_decode(const uint8_t *data, struct vhost_user_header *ret) MUST_CHECK;

struct vhost_user_region {
    uint64_t guest_address; /* guest-physical */
    uint64_t bytes;
    uint64_t user_address; /* where the front end has it mapped; ring addresses are of this kind */
    uint64_t mmap_offset;  /* in the file descriptor */
};

struct vhost_user_memory {
    uint32_t region_count;
    struct vhost_user_region regions[VHOST_USER_REGIONS_MAX];
};

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t value;
};

struct vhost_user_vring_address {
    uint32_t index;
    uint32_t flags;
    uint64_t descriptors;
    uint64_t used;
    uint64_t available;
};

struct vhost_user_vring_fd {
    uint32_t index;
    bool no_fd; /* none comes with the message: poll */
};

struct vhost_user_config {
    uint32_t offset;
    uint32_t bytes;
    uint32_t flags;
    const uint8_t *data; /* `bytes` of it; points into the decoded body */
};

/*
 * Decoders of bodies. Each wants the exact length (-EPROTO) and checks what can be checked without
 * knowing the device: regions without a size, beyond 2^64 or overlapping, and counts above the
 * limits give -EPROTO too.
 */
int vhost_user_u64_decode(const void *body, size_t length, uint64_t *ret) MUST_CHECK;
int vhost_user_memory_decode(const void *body, size_t length,
                             struct vhost_user_memory *ret) MUST_CHECK;
int vhost_user_vring_state_decode(const void *body, size_t length,
                                  struct vhost_user_vring_state *ret) MUST_CHECK;
int vhost_user_vring_address_decode(const void *body, size_t length,
                                    struct vhost_user_vring_address *ret) MUST_CHECK;
int vhost_user_vring_fd_decode(const void *body, size_t length,
                               struct vhost_user_vring_fd *ret) MUST_CHECK;
int vhost_user_config_decode(const void *body, size_t length,
                             struct vhost_user_config *ret) MUST_CHECK;

/* Encoders of bodies; they return the length. `body` holds VHOST_USER_BODY_BYTES_MAX. */
size_t vhost_user_u64_encode(uint64_t value, void *body);
size_t vhost_user_memory_encode(const struct vhost_user_memory *memory, void *body);
size_t vhost_user_vring_state_encode(const struct vhost_user_vring_state *state, void *body);
size_t vhost_user_vring_address_encode(const struct vhost_user_vring_address *address, void *body);
size_t vhost_user_vring_fd_encode(const struct vhost_user_vring_fd *fd, void *body);
/* config->data NULL: zeros. config->bytes <= VHOST_USER_CONFIG_BYTES_MAX. */
size_t vhost_user_config_encode(const struct vhost_user_config *config, void *body);

#endif
