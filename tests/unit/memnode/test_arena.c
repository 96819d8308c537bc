/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/tap.h"

#define SLABS 4u

static struct arena *open_arena(void)
{
    char error[ARENA_ERROR_BYTES];
    struct arena *arena = NULL;
    const struct arena_config config = {.slab_bytes = MIB, .bytes = SLABS * MIB + 5};
    EXPECT_EQ(arena_open(&config, &arena, error), 0);
    EXPECT_STR(error, "");
    return arena;
}

static bool is_zero(const uint8_t *data)
{
    return data[0] == 0 && memcmp(data, data + 1, MIB - 1) == 0;
}

static void test_shape(void)
{
    struct arena *arena = open_arena();
    EXPECT_EQ(arena_slab_count(arena), SLABS);
    EXPECT_EQ(arena_slab_bytes(arena), MIB);
    for (uint32_t i = 0; i < SLABS; i++) {
        EXPECT_EQ(arena_slab_prepare(arena, i), 0);
        EXPECT_EQ(arena_slab_prepare(arena, i), 0);
        EXPECT(is_zero(arena_slab_base(arena, i)));
        memset(arena_slab_base(arena, i), (int)i + 1, MIB);
    }
    for (uint32_t i = 0; i < SLABS; i++) {
        EXPECT_EQ(arena_slab_base(arena, i)[0], i + 1);
        EXPECT_EQ(arena_slab_base(arena, i)[MIB - 1], i + 1);
    }
    arena_close(arena);
}

static void test_files_are_sealed(void)
{
    struct arena *arena = open_arena();
    EXPECT(ftruncate(arena_slab_fd(arena, 0), 0) != 0);
    EXPECT(ftruncate(arena_slab_fd(arena, 0), 2 * MIB) != 0);
    EXPECT(fcntl(arena_slab_fd(arena, 0), F_ADD_SEALS, F_SEAL_WRITE) != 0);
    arena_close(arena);
}

static void test_scrub(void)
{
    struct arena *arena = open_arena();
    EXPECT_EQ(arena_slab_prepare(arena, 1), 0);
    EXPECT_EQ(arena_slab_prepare(arena, 2), 0);
    memset(arena_slab_base(arena, 1), 0xff, MIB);
    arena_slab_base(arena, 2)[7] = 3;
    EXPECT_EQ(arena_slab_scrub(arena, 1), 0);
    EXPECT(is_zero(arena_slab_base(arena, 1)));
    EXPECT_EQ(arena_slab_base(arena, 2)[7], 3);
    arena_close(arena);
}

/* Whoever kept the old memory sees and changes nothing of the new one. */
static void test_replace(void)
{
    struct arena *arena = open_arena();
    EXPECT_EQ(arena_slab_prepare(arena, 3), 0);
    uint8_t *zombie =
        mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, arena_slab_fd(arena, 3), 0);
    EXPECT(zombie != MAP_FAILED);
    uint8_t *base = arena_slab_base(arena, 3);
    base[0] = 1;
    EXPECT_EQ(zombie[0], 1);
    EXPECT_EQ(arena_slab_replace(arena, 3, false), 0);
    EXPECT(arena_slab_base(arena, 3) == base);
    EXPECT(is_zero(base));
    EXPECT_EQ(zombie[0], 1);
    zombie[1] = 9;
    base[2] = 8;
    EXPECT_EQ(base[1], 0);
    EXPECT_EQ(zombie[2], 0);
    EXPECT_EQ(munmap(zombie, MIB), 0);
    arena_close(arena);
}

static void expect_refused(struct arena_config config, int error, const char *words)
{
    char text[ARENA_ERROR_BYTES];
    struct arena *arena = NULL;
    EXPECT_EQ(arena_open(&config, &arena, text), error);
    EXPECT(strstr(text, words) != NULL);
    EXPECT(arena == NULL);
}

static void test_refusals(void)
{
    expect_refused((struct arena_config){.slab_bytes = 3 * MIB, .bytes = GIB}, -EINVAL,
                   "power of two");
    expect_refused((struct arena_config){.slab_bytes = KIB, .bytes = GIB}, -EINVAL, "--slab-size");
    expect_refused((struct arena_config){.slab_bytes = 2 * GIB, .bytes = GIB}, -EINVAL, "1G");
    expect_refused((struct arena_config){.slab_bytes = MIB, .bytes = 5}, -EINVAL, "not even one");
    expect_refused((struct arena_config){.slab_bytes = MIB, .bytes = TIB}, -EINVAL, "more than");
    struct arena_config large = {.slab_bytes = MIB, .bytes = 16 * MIB, .available_bytes = 15 * MIB};
    expect_refused(large, -ENOMEM, "16M");
    expect_refused(large, -ENOMEM, "15M");
    expect_refused(large, -ENOMEM, "lower --memory");
}

int main(void)
{
    TAP_RUN(test_shape);
    TAP_RUN(test_files_are_sealed);
    TAP_RUN(test_scrub);
    TAP_RUN(test_replace);
    TAP_RUN(test_refusals);
    return tap_done();
}
