/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent or a memory node says of slabs that are another's, or were under another grant. */
#include "tests/unit/controller/core_rig.h"

static const char *const names[] = {"one", "two"};

struct pair {
    struct rig rig;
    uint64_t agents[2];
    uint32_t slots[2];
    uint32_t slab; /* of instance one, on node 0 */
    uint64_t generation;
};

static enum slab_state state_of(const struct pair *p, uint32_t slab)
{
    return (enum slab_state)slab_at(p->rig.core, 0, slab)->state;
}

/* Two agents with one instance each; the first instance has a slab, the second has one too. */
static void pair_init(struct pair *p)
{
    rig_init(&p->rig);
    (void)rig_node(&p->rig, "mn1", "n1", "a1", "h1", 8);
    uint64_t sessions[2] = {rig_agent(&p->rig, "ag1", NULL, 0), rig_agent(&p->rig, "ag2", NULL, 0)};
    for (uint8_t i = 0; i < 2; i++) {
        rig_launch(&p->rig, names[i], 4 * MIB, i + 1);
        p->slots[i] = core_find_instance_id(p->rig.core, names[i]);
        p->agents[i] = sessions[p->rig.core->instances[p->slots[i]].agent];
        rig_report(&p->rig, p->agents[i], names[i], INSTANCE_RUNNING);
        rig_acquire(&p->rig, p->agents[i], names[i], 1, 10 + i);
        rig_grant(&p->rig, true);
        const struct action *reply = rig_find(&p->rig, ACTION_REPLY_SLABS);
        EXPECT(reply != NULL);
        if (i == 0) {
            p->slab = p->rig.core->acquires[reply->acquire].slabs[0].index;
            p->generation = p->rig.core->acquires[reply->acquire].generation;
        }
        core_acquire_done(p->rig.core, reply->acquire);
    }
    EXPECT(p->agents[0] != p->agents[1]);
    EXPECT_EQ(state_of(p, p->slab), SLAB_GRANTED);
}

static void release(struct pair *p, unsigned agent, const char *id, uint64_t generation)
{
    const struct released_slab slab = {.node = "mn1", .index = p->slab, .generation = generation};
    rig_event(&p->rig, (struct core_event){.kind = CORE_RELEASE,
                                           .token = 6,
                                           .session = p->agents[agent],
                                           .instance_id = id,
                                           .released = &slab,
                                           .released_count = 1});
}

static void test_release_of_what_is_anothers(void)
{
    struct pair p;
    pair_init(&p);
    release(&p, 1, "two", p.generation); /* its own instance, the other's slab */
    EXPECT_EQ(state_of(&p, p.slab), SLAB_GRANTED);
    release(&p, 1, "one", p.generation); /* the other's instance */
    EXPECT(rig_refusal(&p.rig) != NULL);
    EXPECT_EQ(rig_refusal(&p.rig)->code, CORE_ERROR_NOT_FOUND);
    EXPECT_EQ(state_of(&p, p.slab), SLAB_GRANTED);
    release(&p, 0, "one", p.generation);
    EXPECT_EQ(state_of(&p, p.slab), SLAB_REVOKING);
    rig_fini(&p.rig);
}

/* A release that is late must not take the slab from its next grant. */
static void test_release_under_another_generation(void)
{
    struct pair p;
    pair_init(&p);
    release(&p, 0, "one", p.generation + 1);
    EXPECT_EQ(state_of(&p, p.slab), SLAB_GRANTED);
    release(&p, 0, "one", p.generation - 1);
    EXPECT_EQ(state_of(&p, p.slab), SLAB_GRANTED);
    release(&p, 0, "one", 0);
    EXPECT_EQ(state_of(&p, p.slab), SLAB_GRANTED);
    rig_fini(&p.rig);
}

static void test_acquire_for_anothers_instance(void)
{
    struct pair p;
    pair_init(&p);
    rig_acquire(&p.rig, p.agents[1], "one", 1, 20);
    EXPECT(rig_refusal(&p.rig) != NULL);
    EXPECT_EQ(rig_refusal(&p.rig)->code, CORE_ERROR_NOT_FOUND);
    EXPECT(rig_find(&p.rig, ACTION_GRANT) == NULL);
    EXPECT_EQ(p.rig.core->held[p.slots[0]], 1);
    rig_fini(&p.rig);
}

static void grant_done(struct rig *rig, const struct action *asked, uint64_t generation)
{
    static const uint8_t keys[CORE_ACQUIRE_SLABS_MAX][CORE_KEY_BYTES] = {{7}};
    rig_event(rig, (struct core_event){.kind = CORE_GRANT_DONE,
                                       .acquire = asked->acquire,
                                       .generation = generation,
                                       .node_slot = asked->node,
                                       .keys = keys});
}

/* The answer to an earlier grant of the same place in the table. */
static void test_grant_answered_late(void)
{
    struct pair p;
    pair_init(&p);
    rig_acquire(&p.rig, p.agents[0], "one", 1, 21);
    const struct action *found = rig_find(&p.rig, ACTION_GRANT);
    EXPECT(found != NULL);
    const struct action asked = *found;
    uint32_t granted = p.rig.core->slabs_of[0].count[SLAB_GRANTED];
    grant_done(&p.rig, &asked, asked.generation - 1);
    EXPECT_EQ(p.rig.core->slabs_of[0].count[SLAB_GRANTED], granted);
    EXPECT(rig_find(&p.rig, ACTION_REPLY_SLABS) == NULL);
    grant_done(&p.rig, &asked, asked.generation);
    EXPECT_EQ(p.rig.core->slabs_of[0].count[SLAB_GRANTED], granted + 1);
    EXPECT(rig_find(&p.rig, ACTION_REPLY_SLABS) != NULL);
    rig_fini(&p.rig);
}

int main(void)
{
    TAP_RUN(test_release_of_what_is_anothers);
    TAP_RUN(test_release_under_another_generation);
    TAP_RUN(test_acquire_for_anothers_instance);
    TAP_RUN(test_grant_answered_late);
    return tap_done();
}
