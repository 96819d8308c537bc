/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "lib/base/bytes.h"
#include "lib/wire/vhost_user.h"
#include "tests/tap.h"

static uint8_t body[VHOST_USER_BODY_BYTES_MAX];

static void test_header(void)
{
    uint8_t data[VHOST_USER_HEADER_BYTES];
    struct vhost_user_header header = {
        .request = VHOST_USER_SET_MEM_TABLE, .length = 40, .need_reply = true};
    struct vhost_user_header back;
    vhost_user_header_encode(&header, data);
    EXPECT_EQ(le32_load(data), 5);
    EXPECT_EQ(le32_load(data + 4), 0x9);
    EXPECT_EQ(le32_load(data + 8), 40);
    EXPECT_EQ(vhost_user_header_decode(data, &back), 0);
    EXPECT(back.need_reply && !back.reply);
    EXPECT_EQ(back.length, 40);
    le32_store(data + 4, 2);
    EXPECT_EQ(vhost_user_header_decode(data, &back), -EPROTO);
    le32_store(data + 4, 0x11);
    EXPECT_EQ(vhost_user_header_decode(data, &back), -EPROTO);
    le32_store(data + 4, 1);
    le32_store(data + 8, VHOST_USER_BODY_BYTES_MAX + 1);
    EXPECT_EQ(vhost_user_header_decode(data, &back), -EMSGSIZE);
}

static void test_memory(void)
{
    struct vhost_user_memory memory = {
        .region_count = 2,
        .regions = {{.bytes = 4096, .user_address = 0x7f00, .mmap_offset = 0},
                    {.guest_address = 8192, .bytes = 4096, .user_address = 0x9f00}}};
    struct vhost_user_memory back;
    size_t length = vhost_user_memory_encode(&memory, body);
    EXPECT_EQ(length, 8 + 2 * 32);
    EXPECT_EQ(vhost_user_memory_decode(body, length, &back), 0);
    EXPECT_EQ(back.regions[1].guest_address, 8192);
    EXPECT_EQ(vhost_user_memory_decode(body, length - 1, &back), -EPROTO);
    EXPECT_EQ(vhost_user_memory_decode(body, length + 1, &back), -EPROTO);
    le32_store(body, VHOST_USER_REGIONS_MAX + 1);
    EXPECT_EQ(vhost_user_memory_decode(body, length, &back), -EPROTO);
}

static void expect_bad_region(struct vhost_user_region region)
{
    struct vhost_user_memory memory = {.region_count = 1, .regions = {region}};
    struct vhost_user_memory back;
    size_t length = vhost_user_memory_encode(&memory, body);
    EXPECT_EQ(vhost_user_memory_decode(body, length, &back), -EPROTO);
}

static void test_bad_regions(void)
{
    expect_bad_region((struct vhost_user_region){.bytes = 0});
    expect_bad_region((struct vhost_user_region){.guest_address = UINT64_MAX, .bytes = 4096});
    expect_bad_region((struct vhost_user_region){.user_address = UINT64_MAX - 100, .bytes = 4096});
    expect_bad_region((struct vhost_user_region){.bytes = 4096, .mmap_offset = UINT64_MAX - 4096});
    struct vhost_user_memory overlap = {
        .region_count = 2,
        .regions = {{.bytes = 8192, .user_address = 0x10000},
                    {.guest_address = 4096, .bytes = 4096, .user_address = 0x90000}}};
    struct vhost_user_memory back;
    size_t length = vhost_user_memory_encode(&overlap, body);
    EXPECT_EQ(vhost_user_memory_decode(body, length, &back), -EPROTO);
}

static void test_rings(void)
{
    struct vhost_user_vring_state state = {.index = 1, .value = 65535};
    struct vhost_user_vring_address address = {
        .index = 1, .descriptors = 0x1000, .used = 0x2000, .available = 0x3000};
    struct vhost_user_vring_fd fd = {.index = 3, .no_fd = true};
    size_t length = vhost_user_vring_state_encode(&state, body);
    EXPECT_EQ(length, 8);
    EXPECT_EQ(vhost_user_vring_state_decode(body, length, &state), 0);
    EXPECT_EQ(state.value, 65535);
    length = vhost_user_vring_address_encode(&address, body);
    EXPECT_EQ(length, 40);
    /* The specification's order: descriptor, used, available. */
    EXPECT_EQ(le64_load(body + 8), 0x1000);
    EXPECT_EQ(le64_load(body + 16), 0x2000);
    EXPECT_EQ(le64_load(body + 24), 0x3000);
    EXPECT_EQ(vhost_user_vring_address_decode(body, length, &address), 0);
    EXPECT_EQ(address.available, 0x3000);
    length = vhost_user_vring_fd_encode(&fd, body);
    EXPECT_EQ(le64_load(body), 0x103);
    EXPECT_EQ(vhost_user_vring_fd_decode(body, length, &fd), 0);
    EXPECT(fd.no_fd && fd.index == 3);
    le64_store(body, 0x200);
    EXPECT_EQ(vhost_user_vring_fd_decode(body, length, &fd), -EPROTO);
}

static void test_config(void)
{
    const uint8_t data[4] = {1, 2, 3, 4};
    struct vhost_user_config config = {.offset = 8, .bytes = 4, .data = data};
    struct vhost_user_config back;
    size_t length = vhost_user_config_encode(&config, body);
    EXPECT_EQ(length, 16);
    EXPECT_EQ(vhost_user_config_decode(body, length, &back), 0);
    EXPECT(back.offset == 8 && back.bytes == 4 && memcmp(back.data, data, 4) == 0);
    EXPECT_EQ(vhost_user_config_decode(body, length - 1, &back), -EPROTO);
    le32_store(body, VHOST_USER_CONFIG_BYTES_MAX - 3);
    EXPECT_EQ(vhost_user_config_decode(body, length, &back), -EPROTO);
}

int main(void)
{
    TAP_RUN(test_header);
    TAP_RUN(test_memory);
    TAP_RUN(test_bad_regions);
    TAP_RUN(test_rings);
    TAP_RUN(test_config);
    return tap_done();
}
