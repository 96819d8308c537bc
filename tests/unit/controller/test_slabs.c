/* SPDX-License-Identifier: Apache-2.0 */
/* The slab tables against a naive model, with random operations. */
#include "tests/unit/controller/core_rig.h"

#define NODES  3u
#define OWNERS 5u
#define ROUNDS 20000u
#define SEEDS  20u

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

/* One random legal operation on the tables and on the model. */
static void operate(struct core *core, struct slab model[NODES][RIG_SLABS], uint64_t *random,
                    uint64_t *generation)
{
    uint32_t n = next_random(random) % NODES, s = next_random(random) % RIG_SLABS;
    struct slab *slab = &model[n][s];
    enum slab_state to = next_random(random) % SLAB_STATE_COUNT;
    if (to == SLAB_RESERVED && slab->state == SLAB_FREE) {
        uint32_t owner = next_random(random) % OWNERS;
        slab_reserve(core, n, s, owner, ++*generation);
        *slab = (struct slab){
            .generation = *generation, .owner = (uint16_t)(owner + 1), .state = SLAB_RESERVED};
    } else if (to != SLAB_RESERVED && slab_may_move((enum slab_state)slab->state, to)) {
        slab_move(core, n, s, to);
        slab->state = (uint8_t)to;
        if (to == SLAB_FREE) {
            *slab = (struct slab){.state = SLAB_FREE};
        }
    }
}

static bool agrees(const struct core *core, struct slab model[NODES][RIG_SLABS])
{
    uint32_t held[OWNERS] = {0}, owned[OWNERS][NODES] = {{0}};
    bool same = true;
    for (uint32_t n = 0; n < NODES; n++) {
        uint32_t counts[SLAB_STATE_COUNT] = {0};
        uint32_t covered = 0;
        for (uint32_t s = 0; s < RIG_SLABS; s++) {
            const struct slab *slab = &model[n][s], *real = slab_at(core, n, s);
            counts[slab->state]++;
            if (slab->owner != 0) {
                owned[slab->owner - 1][n]++;
                held[slab->owner - 1] += slab_is_held((enum slab_state)slab->state) ? 1 : 0;
            }
            same = same && slab->state == real->state && slab->owner == real->owner &&
                   slab->generation == real->generation;
        }
        while (covered < RIG_SLABS) { /* extents cover all, and are maximal */
            struct extent extent = slab_extent(core, n, covered);
            same = same && extent.count > 0 && slab_extent_start(core, n, covered) == covered;
            covered += extent.count;
        }
        same = same && covered == RIG_SLABS;
        same = same && memcmp(counts, core->slabs_of[n].count, sizeof(counts)) == 0;
    }
    for (uint32_t o = 0; o < OWNERS; o++) {
        same = same && held[o] == core->held[o];
        same = same && memcmp(owned[o], core->owned[o], sizeof(owned[o])) == 0;
    }
    return same;
}

static void test_against_model(void)
{
    static const char *const names[NODES] = {"a", "b", "c"};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct slab model[NODES][RIG_SLABS];
        struct rig rig;
        uint64_t random = seed, generation = 0;
        memset(model, 0, sizeof(model));
        rig_init(&rig);
        for (uint32_t i = 0; i < NODES; i++) {
            rig_node(&rig, names[i], names[i], "x", "h", RIG_SLABS);
        }
        for (uint32_t i = 0; i < ROUNDS; i++) {
            operate(rig.core, model, &random, &generation);
            if (i % 500 == 0) {
                EXPECT(agrees(rig.core, model));
            }
        }
        EXPECT(agrees(rig.core, model));
        rig_fini(&rig);
    }
}

static void test_resize(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_node(&rig, "a", "a", "x", "h", 10);
    slab_reserve(rig.core, 0, 1, 0, 5);
    slab_reserve(rig.core, 0, 9, 0, 5);
    slabs_resize(rig.core, 0, 4, false);
    EXPECT_EQ(rig.core->slabs_of[0].count[SLAB_RESERVED], 1);
    EXPECT_EQ(rig.core->slabs_of[0].count[SLAB_FREE], 3);
    EXPECT_EQ(rig.core->owned[0][0], 1);
    slabs_resize(rig.core, 0, 20, false);
    EXPECT_EQ(rig.core->slabs_of[0].count[SLAB_FREE], 19);
    EXPECT_EQ(slab_at(rig.core, 0, 9)->state, SLAB_FREE);
    slabs_resize(rig.core, 0, 20, true);
    EXPECT_EQ(rig.core->slabs_of[0].count[SLAB_FREE], 20);
    EXPECT_EQ(rig.core->held[0], 0);
    rig_fini(&rig);
}

int main(void)
{
    TAP_RUN(test_against_model);
    TAP_RUN(test_resize);
    return tap_done();
}
