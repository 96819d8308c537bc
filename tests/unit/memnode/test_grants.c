/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/grants.h"

#include <errno.h>

#include "tests/tap.h"

#define SLABS 3u

static struct grants *open_grants(void)
{
    struct grants *grants = NULL;
    EXPECT_EQ(grants_open(SLABS, &grants), 0);
    return grants;
}

static void test_rules(void)
{
    uint8_t key[PAGEOP_KEY_BYTES];
    uint8_t again[PAGEOP_KEY_BYTES];
    uint8_t other[PAGEOP_KEY_BYTES];
    bool read_only = true;
    char long_name[GRANTS_INSTANCE_BYTES + 1];
    struct grants *grants = open_grants();
    memset(long_name, 'a', sizeof(long_name));
    long_name[GRANTS_INSTANCE_BYTES] = '\0';

    EXPECT_EQ(grants_add(grants, 0, "a", 5, false, key), 0);
    EXPECT_EQ(grants_add(grants, 0, "a", 5, false, again), 0);
    EXPECT(memcmp(key, again, sizeof(key)) == 0);
    EXPECT_EQ(grants_add(grants, 1, "a", 5, true, other), 0);
    EXPECT(memcmp(key, other, sizeof(key)) != 0);
    EXPECT_EQ(grants_add(grants, 0, "a", 6, false, again), -EBUSY);
    EXPECT_EQ(grants_add(grants, 0, "b", 5, false, again), -EBUSY);
    EXPECT_EQ(grants_add(grants, SLABS, "a", 5, false, again), -EINVAL);
    EXPECT_EQ(grants_add(grants, 2, "", 5, false, again), -EINVAL);
    EXPECT_EQ(grants_add(grants, 2, long_name, 5, false, again), -EINVAL);
    EXPECT_EQ(grants_add(grants, 2, "a", 0, false, again), -EINVAL);
    EXPECT_EQ(grants_held_count(grants), 2);

    EXPECT(grants_check(grants, 0, 5, key, &read_only));
    EXPECT(!read_only);
    EXPECT(grants_check(grants, 1, 5, other, &read_only));
    EXPECT(read_only);
    EXPECT(!grants_check(grants, 0, 6, key, &read_only));
    EXPECT(!grants_check(grants, 0, 5, other, &read_only));
    EXPECT(!grants_check(grants, SLABS, 5, key, &read_only));
    grants_close(grants);
}

/* Not granted means that not even the key of zeros opens it. */
static void test_zero_key(void)
{
    const uint8_t zeros[PAGEOP_KEY_BYTES] = {0};
    uint8_t key[PAGEOP_KEY_BYTES];
    bool read_only;
    struct grants *grants = open_grants();
    EXPECT(!grants_check(grants, 0, 0, zeros, &read_only));
    EXPECT_EQ(grants_add(grants, 0, "a", 5, false, key), 0);
    EXPECT(grants_revoke(grants, 0, 5));
    EXPECT(!grants_check(grants, 0, 5, zeros, &read_only));
    EXPECT(!grants_check(grants, 0, 5, key, &read_only));
    grants_close(grants);
}

static void test_revoke(void)
{
    uint8_t key[PAGEOP_KEY_BYTES];
    uint8_t fresh[PAGEOP_KEY_BYTES];
    struct grants *grants = open_grants();
    EXPECT(!grants_revoke(grants, 0, 1));
    EXPECT_EQ(grants_add(grants, 0, "a", 1, false, key), -ESTALE); /* overtaken by its revoke */
    EXPECT_EQ(grants_add(grants, 0, "a", 5, false, key), 0);
    EXPECT(!grants_revoke(grants, 0, 4));
    EXPECT(!grants_revoke(grants, SLABS, 5));
    EXPECT(grants_revoke(grants, 0, 5));
    EXPECT(grants_revoke(grants, 0, 5)); /* not clean yet */
    EXPECT_EQ(grants_add(grants, 0, "b", 6, false, fresh), -EBUSY);
    EXPECT_EQ(grants_held_count(grants), 0);
    grants_freed(grants, 0);
    EXPECT(!grants_revoke(grants, 0, 5));
    EXPECT_EQ(grants_add(grants, 0, "b", 5, false, fresh), -ESTALE);
    EXPECT_EQ(grants_add(grants, 0, "b", 6, false, fresh), 0);
    EXPECT(memcmp(key, fresh, sizeof(key)) != 0);
    grants_close(grants);
}

struct model {
    enum grants_state state;
    uint64_t generation;
    uint64_t seen;
    uint8_t key[PAGEOP_KEY_BYTES];
};

static void model_step(struct grants *grants, struct model *models, unsigned choice,
                       uint64_t generation)
{
    uint8_t key[PAGEOP_KEY_BYTES];
    uint32_t slab = choice % SLABS;
    struct model *model = &models[slab];
    bool same = model->state == GRANT_HELD && model->generation == generation;
    bool fresh = model->state == GRANT_FREE && generation > model->seen;
    switch (choice / SLABS % 3) {
    case 0:
        EXPECT_EQ(grants_add(grants, slab, "a", generation, false, key) == 0, same || fresh);
        if (same) {
            EXPECT(memcmp(key, model->key, sizeof(key)) == 0);
        }
        if (fresh) {
            *model = (struct model){GRANT_HELD, generation, generation, {0}};
            memcpy(model->key, key, sizeof(key));
        }
        break;
    case 1:
        EXPECT_EQ(grants_revoke(grants, slab, generation),
                  model->state != GRANT_FREE && model->generation == generation);
        model->state = same ? GRANT_REVOKING : model->state;
        model->seen = MAX(model->seen, generation);
        break;
    default:
        if (model->state == GRANT_REVOKING) {
            grants_freed(grants, slab);
            model->state = GRANT_FREE;
        }
    }
}

static void test_model(void)
{
    struct model models[SLABS] = {0};
    struct grants *grants = open_grants();
    uint32_t random = 1;
    for (unsigned i = 0; i < 20000 && tap_case_ok; i++) {
        random = random * 1664525u + 1013904223u;
        /* Near what the slab has seen, so that each rule is met often. */
        uint64_t generation = models[(random >> 8) % SLABS].seen + (random >> 20) % 3;
        if (generation == 0) {
            continue;
        }
        model_step(grants, models, random >> 8, generation);
        uint32_t held = 0;
        for (uint32_t slab = 0; slab < SLABS; slab++) {
            bool read_only;
            held += models[slab].state == GRANT_HELD ? 1 : 0;
            EXPECT_EQ(
                grants_check(grants, slab, models[slab].generation, models[slab].key, &read_only),
                models[slab].state == GRANT_HELD);
        }
        EXPECT_EQ(grants_held_count(grants), held);
    }
    grants_close(grants);
}

int main(void)
{
    TAP_RUN(test_rules);
    TAP_RUN(test_zero_key);
    TAP_RUN(test_revoke);
    TAP_RUN(test_model);
    return tap_done();
}
