/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/vhost_user.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define FLAG_VERSION      0x1u
#define FLAG_VERSION_MASK 0x3u
#define FLAG_REPLY        0x4u
#define FLAG_NEED_REPLY   0x8u
#define FLAGS_KNOWN       (FLAG_VERSION_MASK | FLAG_REPLY | FLAG_NEED_REPLY)

#define VRING_FD_INDEX_MASK 0xffu
#define VRING_FD_NONE       0x100u

void vhost_user_header_encode(const struct vhost_user_header *header, uint8_t *data)
{
    le32_store(data, header->request);
    le32_store(data + 4, FLAG_VERSION | (header->reply ? FLAG_REPLY : 0) |
                             (header->need_reply ? FLAG_NEED_REPLY : 0));
    le32_store(data + 8, header->length);
}

int vhost_user_header_decode(const uint8_t *data, struct vhost_user_header *ret)
{
    uint32_t flags = le32_load(data + 4);
    if ((flags & FLAG_VERSION_MASK) != FLAG_VERSION || (flags & ~FLAGS_KNOWN) != 0) {
        return -EPROTO;
    }
    uint32_t length = le32_load(data + 8);
    if (length > VHOST_USER_BODY_BYTES_MAX) {
        return -EMSGSIZE;
    }
    ret->request = le32_load(data);
    ret->length = length;
    ret->reply = (flags & FLAG_REPLY) != 0;
    ret->need_reply = (flags & FLAG_NEED_REPLY) != 0;
    return 0;
}

static bool ended(const struct bytes_reader *r)
{
    return r->ok && bytes_left(r) == 0;
}

int vhost_user_u64_decode(const void *body, size_t length, uint64_t *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, body, length);
    uint64_t value = bytes_get_u64(&r);
    if (!ended(&r)) {
        return -EPROTO;
    }
    *ret = value;
    return 0;
}

static bool ranges_overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

static bool region_is_sane(const struct vhost_user_region *region)
{
    return region->bytes != 0 && region->guest_address <= UINT64_MAX - region->bytes &&
           region->user_address <= UINT64_MAX - region->bytes &&
           region->mmap_offset <= (uint64_t)INT64_MAX &&
           region->bytes <= (uint64_t)INT64_MAX - region->mmap_offset;
}

static bool memory_is_sane(const struct vhost_user_memory *memory)
{
    for (uint32_t i = 0; i < memory->region_count; i++) {
        const struct vhost_user_region *a = &memory->regions[i];
        if (!region_is_sane(a)) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            const struct vhost_user_region *b = &memory->regions[j];
            if (ranges_overlap(a->guest_address, a->bytes, b->guest_address, b->bytes) ||
                ranges_overlap(a->user_address, a->bytes, b->user_address, b->bytes)) {
                return false;
            }
        }
    }
    return true;
}

int vhost_user_memory_decode(const void *body, size_t length, struct vhost_user_memory *ret)
{
    struct vhost_user_memory memory = {0};
    struct bytes_reader r;
    bytes_reader_init(&r, body, length);
    memory.region_count = bytes_get_u32(&r);
    (void)bytes_get_u32(&r);
    if (!r.ok || memory.region_count > VHOST_USER_REGIONS_MAX) {
        return -EPROTO;
    }
    for (uint32_t i = 0; i < memory.region_count; i++) {
        memory.regions[i].guest_address = bytes_get_u64(&r);
        memory.regions[i].bytes = bytes_get_u64(&r);
        memory.regions[i].user_address = bytes_get_u64(&r);
        memory.regions[i].mmap_offset = bytes_get_u64(&r);
    }
    if (!ended(&r) || !memory_is_sane(&memory)) {
        return -EPROTO;
    }
    *ret = memory;
    return 0;
}

int vhost_user_vring_state_decode(const void *body, size_t length,
                                  struct vhost_user_vring_state *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, body, length);
    struct vhost_user_vring_state state = {.index = bytes_get_u32(&r)};
    state.value = bytes_get_u32(&r);
    if (!ended(&r)) {
        return -EPROTO;
    }
    *ret = state;
    return 0;
}

int vhost_user_vring_address_decode(const void *body, size_t length,
                                    struct vhost_user_vring_address *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, body, length);
    struct vhost_user_vring_address address = {.index = bytes_get_u32(&r)};
    address.flags = bytes_get_u32(&r);
    address.descriptors = bytes_get_u64(&r);
    address.used = bytes_get_u64(&r);
    address.available = bytes_get_u64(&r);
    (void)bytes_get_u64(&r); /* for logging of dirty pages, which is not offered */
    if (!ended(&r)) {
        return -EPROTO;
    }
    *ret = address;
    return 0;
}

int vhost_user_vring_fd_decode(const void *body, size_t length, struct vhost_user_vring_fd *ret)
{
    uint64_t value;
    int r = vhost_user_u64_decode(body, length, &value);
    if (r < 0) {
        return r;
    }
    if ((value & ~(uint64_t)(VRING_FD_INDEX_MASK | VRING_FD_NONE)) != 0) {
        return -EPROTO;
    }
    ret->index = (uint32_t)(value & VRING_FD_INDEX_MASK);
    ret->no_fd = (value & VRING_FD_NONE) != 0;
    return 0;
}

int vhost_user_config_decode(const void *body, size_t length, struct vhost_user_config *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, body, length);
    struct vhost_user_config config = {.offset = bytes_get_u32(&r)};
    config.bytes = bytes_get_u32(&r);
    config.flags = bytes_get_u32(&r);
    if (!r.ok || config.bytes > VHOST_USER_CONFIG_BYTES_MAX ||
        config.offset > VHOST_USER_CONFIG_BYTES_MAX - config.bytes) {
        return -EPROTO;
    }
    config.data = bytes_get(&r, config.bytes);
    if (!ended(&r)) {
        return -EPROTO;
    }
    *ret = config;
    return 0;
}

static void writer_init(struct bytes_writer *w, void *body)
{
    bytes_writer_init(w, body, VHOST_USER_BODY_BYTES_MAX);
}

size_t vhost_user_u64_encode(uint64_t value, void *body)
{
    le64_store(body, value);
    return sizeof(value);
}

size_t vhost_user_memory_encode(const struct vhost_user_memory *memory, void *body)
{
    struct bytes_writer w;
    writer_init(&w, body);
    bytes_put_u32(&w, memory->region_count);
    bytes_put_u32(&w, 0);
    for (uint32_t i = 0; i < memory->region_count; i++) {
        bytes_put_u64(&w, memory->regions[i].guest_address);
        bytes_put_u64(&w, memory->regions[i].bytes);
        bytes_put_u64(&w, memory->regions[i].user_address);
        bytes_put_u64(&w, memory->regions[i].mmap_offset);
    }
    CHECK(w.ok);
    return w.offset;
}

size_t vhost_user_vring_state_encode(const struct vhost_user_vring_state *state, void *body)
{
    struct bytes_writer w;
    writer_init(&w, body);
    bytes_put_u32(&w, state->index);
    bytes_put_u32(&w, state->value);
    return w.offset;
}

size_t vhost_user_vring_address_encode(const struct vhost_user_vring_address *address, void *body)
{
    struct bytes_writer w;
    writer_init(&w, body);
    bytes_put_u32(&w, address->index);
    bytes_put_u32(&w, address->flags);
    bytes_put_u64(&w, address->descriptors);
    bytes_put_u64(&w, address->used);
    bytes_put_u64(&w, address->available);
    bytes_put_u64(&w, 0);
    return w.offset;
}

size_t vhost_user_vring_fd_encode(const struct vhost_user_vring_fd *fd, void *body)
{
    CHECK(fd->index <= VRING_FD_INDEX_MASK);
    return vhost_user_u64_encode(fd->index | (fd->no_fd ? VRING_FD_NONE : 0), body);
}

size_t vhost_user_config_encode(const struct vhost_user_config *config, void *body)
{
    CHECK(config->bytes <= VHOST_USER_CONFIG_BYTES_MAX);
    struct bytes_writer w;
    writer_init(&w, body);
    bytes_put_u32(&w, config->offset);
    bytes_put_u32(&w, config->bytes);
    bytes_put_u32(&w, config->flags);
    for (uint32_t i = 0; i < config->bytes; i++) {
        bytes_put_u8(&w, config->data == NULL ? 0 : config->data[i]);
    }
    return w.offset;
}
