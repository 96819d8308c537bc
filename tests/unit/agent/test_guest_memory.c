/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses that a guest names: to the last byte of a region, and not one more. */
#include <sys/mman.h>
#include <unistd.h>

#include "computenode/agent/guest_memory.h"
#include "lib/base/check.h"
#include "tests/tap.h"

#define GUEST  0x100000ull
#define USER   0x7f0000000000ull
#define BYTES  (4ull * PAGE_BYTES)
#define SECOND (GUEST + BYTES)

/* Two regions side by side for the guest, which lie apart for us. */
static void map(struct guest_memory *memory)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(ftruncate(fd, 2 * BYTES) == 0);
    const struct vhost_user_memory table = {
        .region_count = 2,
        .regions = {{.guest_address = GUEST, .bytes = BYTES, .user_address = USER},
                    {.guest_address = SECOND,
                     .bytes = BYTES,
                     .user_address = USER + 0x10000000,
                     .mmap_offset = BYTES}},
    };
    const int fds[] = {fd, fd};
    *memory = (struct guest_memory){.region_count = 0};
    CHECK(guest_memory_map(memory, &table, fds) == 0);
    (void)close(fd);
}

static void test_ends(void)
{
    struct guest_memory memory;
    map(&memory);
    uint8_t *base = guest_memory_at(&memory, GUEST, BYTES);
    EXPECT(base != NULL);
    EXPECT(guest_memory_at(&memory, GUEST, BYTES + 1) == NULL); /* not across regions */
    EXPECT(guest_memory_at(&memory, SECOND - 1, 1) == base + BYTES - 1);
    EXPECT(guest_memory_at(&memory, SECOND - 1, 2) == NULL);
    EXPECT(guest_memory_at(&memory, GUEST - 1, 1) == NULL);
    EXPECT(guest_memory_at(&memory, GUEST - 1, 2) == NULL);
    EXPECT(guest_memory_at(&memory, SECOND + BYTES - 16, 16) != NULL);
    EXPECT(guest_memory_at(&memory, SECOND + BYTES - 16, 17) == NULL);
    EXPECT(guest_memory_at(&memory, SECOND + BYTES, 1) == NULL);
    EXPECT(guest_memory_at(&memory, SECOND + BYTES, 0) == NULL);
    guest_memory_unmap(&memory);
}

static void test_wrapping(void)
{
    struct guest_memory memory;
    map(&memory);
    EXPECT(guest_memory_at(&memory, GUEST, UINT64_MAX) == NULL);
    EXPECT(guest_memory_at(&memory, GUEST + 1, UINT64_MAX) == NULL);
    EXPECT(guest_memory_at(&memory, UINT64_MAX, 2) == NULL);
    EXPECT(guest_memory_at(&memory, UINT64_MAX - GUEST, GUEST * 2) == NULL);
    EXPECT(guest_memory_at(&memory, 0, GUEST + 1) == NULL);
    guest_memory_unmap(&memory);
}

static void test_by_user(void)
{
    struct guest_memory memory;
    map(&memory);
    EXPECT(guest_memory_by_user(&memory, USER + BYTES - 4, 4) != NULL);
    EXPECT(guest_memory_by_user(&memory, USER + BYTES - 4, 5) == NULL);
    EXPECT(guest_memory_by_user(&memory, USER - 1, 2) == NULL);
    EXPECT(guest_memory_by_user(&memory, GUEST, 1) == NULL);
    guest_memory_unmap(&memory);
}

int main(void)
{
    TAP_RUN(test_ends);
    TAP_RUN(test_wrapping);
    TAP_RUN(test_by_user);
    return tap_done();
}
