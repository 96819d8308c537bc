/* SPDX-License-Identifier: Apache-2.0 */
/* What the core refuses and why, repeated requests, losses, time. */
#include "controller/core/place.h"
#include "tests/unit/controller/core_rig.h"

static bool says(const struct rig *rig, enum core_error code, const char *part)
{
    const struct refusal *refusal = rig_refusal(rig);
    if (refusal == NULL || refusal->code != code || strstr(refusal->message, part) == NULL ||
        refusal->remedy[0] == '\0') {
        printf("# got: %s\n", refusal == NULL ? "no refusal" : refusal->message);
        return false;
    }
    return true;
}

static uint32_t count(const struct rig *rig, const char *node, enum slab_state state)
{
    return rig->core->slabs_of[core_find_node(rig->core, node)].count[state];
}

static void test_states(void)
{
    EXPECT(slab_may_move(SLAB_FREE, SLAB_RESERVED));
    EXPECT(!slab_may_move(SLAB_FREE, SLAB_GRANTED));
    EXPECT(!slab_may_move(SLAB_GRANTED, SLAB_FREE));
    EXPECT(!slab_may_move(SLAB_RESERVED, SLAB_FREE));
    EXPECT(slab_may_move(SLAB_REVOKING, SLAB_FREE));
    EXPECT(node_may_move(NODE_DOWN, NODE_UP));
    EXPECT(!node_may_move(NODE_DOWN, NODE_SUSPECT));
    for (uint32_t to = 0; to < INSTANCE_STATE_COUNT; to++) {
        EXPECT(!instance_may_move(INSTANCE_EXITED, (enum instance_state)to));
        EXPECT(!instance_may_move(INSTANCE_FAILED, (enum instance_state)to));
    }
    EXPECT_STR(slab_state_name(SLAB_LOST), "lost");
    EXPECT_STR(node_state_name(NODE_GONE), "gone");
    EXPECT_STR(instance_state_name(INSTANCE_FAILED), "failed");
}

static void test_placement(void)
{
    struct rig rig;
    uint32_t taken[CORE_NODES_MAX];
    uint64_t excluded[BITMAP_WORDS(CORE_NODES_MAX)] = {0};
    rig_init(&rig);
    rig_node(&rig, "a1", "a1", "x", "h1", 8);
    rig_node(&rig, "a2", "a2", "x", "h1", 16);
    rig_node(&rig, "b", "b", "x", "h2", 4);
    /* Hosts in turn; on h1 the larger share free, so both nodes of it. */
    EXPECT_EQ(place_slabs(rig.core, 4, NULL, taken), 4);
    EXPECT_EQ(taken[0] + taken[1], 2);
    EXPECT_EQ(taken[2], 2);
    EXPECT_EQ(place_slabs(rig.core, 100, NULL, taken), 28);
    EXPECT_EQ(taken[1], 16);
    bitmap_set(excluded, 0);
    EXPECT_EQ(place_slabs(rig.core, 100, excluded, taken), 20);
    EXPECT_EQ(taken[0], 0);
    rig.core->nodes[1].cordoned = true;
    EXPECT_EQ(place_slabs(rig.core, 100, NULL, taken), 12);
    char why[CORE_REASON_BYTES];
    place_explain(rig.core, excluded, why, sizeof(why));
    EXPECT_STR(why, "a1 failed to grant, a2 cordoned, b full");
    rig_fini(&rig);
}

static void test_members_refused(void)
{
    struct rig rig;
    rig_init(&rig);
    uint64_t first = rig_node(&rig, "mn1", "id1", "x", "h", 8);
    EXPECT(rig_find(&rig, ACTION_REPLY_NODE) != NULL);
    rig_node(&rig, "mn1", "id2", "x", "h", 8);
    EXPECT(says(&rig, CORE_ERROR_EXISTS, "10.0.0.1:99"));
    rig_node(&rig, "mn2", "id2", "x", "h", 0);
    EXPECT(says(&rig, CORE_ERROR_INVALID, "slabs"));
    rig_node(&rig, "mn2", "id2", "x", "h", RIG_SLABS + 1);
    EXPECT(says(&rig, CORE_ERROR_INVALID, "1 to 64"));
    rig_node(&rig, "mn1", "id1", "x", "h", 9);
    EXPECT(says(&rig, CORE_ERROR_INVALID, "arena"));
    struct node other = {.slab_bytes = 2 * MIB, .slab_count = 4};
    core_text(other.name, sizeof(other.name), "mn3");
    rig_event(&rig, (struct core_event){
                        .kind = CORE_NODE_REGISTER, .token = 1, .node = &other, .address = ""});
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "this pool has slabs of 1M"));
    other.slab_bytes = MIB;
    rig_event(&rig, (struct core_event){.kind = CORE_NODE_REGISTER,
                                        .token = 1,
                                        .node = &other,
                                        .address = "",
                                        .epoch_seen = 99});
    EXPECT(says(&rig, CORE_ERROR_STALE_EPOCH, "99"));
    rig_event(&rig,
              (struct core_event){.kind = CORE_NODE_CLOSED, .session = first, .reason = "gone"});
    rig_node(&rig, "mn1", "id2", "y", "h", 4); /* held nothing: its name is free */
    EXPECT(rig_refusal(&rig) == NULL);
    rig_agent(&rig, "ag", NULL, 0);
    EXPECT(rig_find(&rig, ACTION_REPLY_AGENT) != NULL);
    rig_fini(&rig);
}

static void test_launch_refused_and_repeated(void)
{
    struct rig rig;
    rig_init(&rig);
    rig_launch(&rig, "idx", MIB, 1);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "no agent"));
    rig_agent(&rig, "ag", NULL, 0);
    rig_launch(&rig, "idx", MIB, 1);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "there is no memory node"));
    rig_node(&rig, "mn1", "id1", "x", "h", 8);
    rig_launch(&rig, "idx", 9 * MIB, 1);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "9M of far memory do not fit: 8M are free (mn1 8M)"));
    rig_launch(&rig, "idx", 0, 1);
    EXPECT(says(&rig, CORE_ERROR_INVALID, "no far memory"));
    rig_launch(&rig, "idx", 8 * MIB, 1);
    EXPECT(rig_find(&rig, ACTION_START) != NULL);
    uint32_t commands = rig.command_count;
    rig_launch(&rig, "idx", 8 * MIB, 1); /* repeated: the same instance, nothing new */
    EXPECT(rig_find(&rig, ACTION_REPLY_INSTANCE) != NULL);
    EXPECT(rig_find(&rig, ACTION_START) == NULL);
    EXPECT_EQ(rig.command_count, commands);
    rig_launch(&rig, "idx", 8 * MIB, 2);
    EXPECT(says(&rig, CORE_ERROR_EXISTS, "idx is starting"));
    static const struct refusal no_elf = {
        .code = CORE_ERROR_INVALID, .message = "not an ELF", .remedy = "name a program"};
    rig_event(&rig,
              (struct core_event){
                  .kind = CORE_START_DONE, .token = 3, .instance_id = "idx", .error = &no_elf});
    EXPECT(says(&rig, CORE_ERROR_INVALID, "not an ELF"));
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_FAILED);
    EXPECT_STR(rig.core->instances[0].reason, "not an ELF");
    rig_event(&rig, (struct core_event){.kind = CORE_STOP, .token = 9, .name = "nobody"});
    EXPECT(says(&rig, CORE_ERROR_NOT_FOUND, "nobody"));
    rig_fini(&rig);
}

/* mn1 and mn2 with 8 slabs each, an agent with a running instance "idx". Returns its session. */
static uint64_t running(struct rig *rig, uint64_t far_bytes)
{
    rig_init(rig);
    rig_node(rig, "mn1", "id1", "x", "h1", 8);
    rig_node(rig, "mn2", "id2", "x", "h2", 8);
    uint64_t agent = rig_agent(rig, "ag", NULL, 0);
    rig_launch(rig, "idx", far_bytes, 1);
    rig_report(rig, agent, "idx", INSTANCE_RUNNING);
    return agent;
}

static void test_acquire_and_end(void)
{
    struct rig rig;
    uint64_t agent = running(&rig, 16 * MIB);
    rig_acquire(&rig, agent, "idx", 4, 1);
    EXPECT_EQ(count(&rig, "mn1", SLAB_RESERVED) + count(&rig, "mn2", SLAB_RESERVED), 4);
    EXPECT(rig_find(&rig, ACTION_REPLY_SLABS) == NULL);
    rig_grant(&rig, true);
    const struct action *reply = rig_find(&rig, ACTION_REPLY_SLABS);
    EXPECT(reply != NULL);
    core_acquire_done(rig.core, reply->acquire);
    EXPECT_EQ(count(&rig, "mn1", SLAB_GRANTED), 2);
    EXPECT_EQ(count(&rig, "mn2", SLAB_GRANTED), 2);
    uint64_t generation = rig.core->meta.next_generation;
    rig_acquire(&rig, agent, "idx", 4, 1); /* the same key: the same slabs, asked again */
    EXPECT_EQ(rig.core->meta.next_generation, generation);
    rig_grant(&rig, true);
    reply = rig_find(&rig, ACTION_REPLY_SLABS);
    EXPECT(reply != NULL);
    EXPECT_EQ(rig.core->acquires[reply->acquire].slab_count, 4);
    core_acquire_done(rig.core, reply->acquire);
    EXPECT_EQ(rig.core->held[0], 4);
    rig_report(&rig, agent, "idx", INSTANCE_EXITED);
    EXPECT_EQ(count(&rig, "mn1", SLAB_REVOKING), 2);
    const struct action *revoke = rig_find(&rig, ACTION_REVOKE);
    EXPECT(revoke != NULL);
    uint64_t session = revoke->session;
    uint32_t node = revoke->node;
    static const struct refusal busy = {.code = CORE_ERROR_TIMEOUT, .message = "busy"};
    rig_event(&rig,
              (struct core_event){.kind = CORE_REVOKE_DONE, .session = session, .error = &busy});
    EXPECT_EQ(rig.core->slabs_of[node].count[SLAB_REVOKING], 2); /* not free without a yes */
    rig.now_ms += 1500;
    rig_event(&rig, (struct core_event){.kind = CORE_TICK});
    EXPECT(rig_find(&rig, ACTION_REVOKE) != NULL); /* asked again */
    rig_event(&rig, (struct core_event){.kind = CORE_REVOKE_DONE, .session = session});
    EXPECT_EQ(rig.core->slabs_of[node].count[SLAB_FREE], 8);
    rig_fini(&rig);
}

static void resize(struct rig *rig, const char *id, uint64_t local_bytes, uint64_t far_bytes)
{
    static const uint8_t spec[3] = {1, 2, 3};
    rig_event(rig, (struct core_event){.kind = CORE_RESIZE,
                                       .token = 8,
                                       .instance_id = id,
                                       .local_bytes = local_bytes,
                                       .far_bytes = far_bytes,
                                       .spec = spec,
                                       .spec_bytes = sizeof(spec)});
}

static void tune(struct rig *rig, const char *id, const char *setting)
{
    static const uint8_t spec[2] = {4, 5};
    uint32_t slot = core_find_instance_id(rig->core, id);
    rig_event(rig, (struct core_event){.kind = CORE_RESIZE,
                                       .token = 8,
                                       .instance_id = id,
                                       .reason = setting,
                                       .local_bytes = rig->core->instances[slot].local_bytes,
                                       .far_bytes = rig->core->instances[slot].far_bytes,
                                       .spec = spec,
                                       .spec_bytes = sizeof(spec)});
}

static bool may_not(const struct rig *rig, uint64_t far_bytes, const char *because)
{
    struct refusal refusal = {.message = ""};
    bool may = core_may_resize(rig->core, 0, MIB, far_bytes, &refusal);
    return !may && refusal.code == CORE_ERROR_REFUSED && strstr(refusal.message, because) != NULL;
}

static void test_resize(void)
{
    struct rig rig;
    struct refusal refusal;
    uint64_t agent = running(&rig, 2 * MIB);
    rig_acquire(&rig, agent, "idx", 5, 1);
    rig_grant(&rig, true);
    EXPECT_EQ(rig.core->held[0], 5); /* two, and three since ranges begin inside slabs */
    EXPECT(core_may_resize(rig.core, 0, MIB, 2 * MIB, &refusal));
    EXPECT(core_may_resize(rig.core, 0, MIB, 13 * MIB, &refusal));
    EXPECT(may_not(&rig, 14 * MIB, "12M more of far memory do not fit: 11M are free (mn1 "));
    EXPECT(may_not(&rig, MIB, "idx holds 5M of far memory now: it can't be limited to 1M"));
    EXPECT(may_not(&rig, 0, "without memory"));
    rig_acquire(&rig, agent, "idx", 1, 2);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "idx"));
    resize(&rig, "idx", 3 * MIB, 4 * MIB);
    EXPECT(rig_find(&rig, ACTION_REPLY_INSTANCE) != NULL);
    EXPECT_EQ(rig.core->instances[0].local_bytes, 3 * MIB);
    EXPECT_EQ(rig.core->instances[0].far_bytes, 4 * MIB);
    EXPECT_EQ(rig.core->specs[0].bytes, 3);
    tune(&rig, "idx", "prefetch=trend");
    EXPECT(rig_find(&rig, ACTION_REPLY_EMPTY) != NULL);
    EXPECT_EQ(rig.core->specs[0].bytes, 2);
    EXPECT_EQ(rig.core->instances[0].far_bytes, 4 * MIB);
    EXPECT_STR(rig.core->history[(rig.core->meta.history_count - 1) % CORE_HISTORY_MAX].kind,
               "instance.tuned");
    rig_acquire(&rig, agent, "idx", 2, 3);
    rig_grant(&rig, true);
    EXPECT_EQ(rig.core->held[0], 7);
    rig_report(&rig, agent, "idx", INSTANCE_EXITED);
    EXPECT(may_not(&rig, 4 * MIB, "idx is exited"));
    resize(&rig, "idx", MIB, MIB);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "ended meanwhile"));
    rig_fini(&rig);
}

static void test_acquire_refused(void)
{
    struct rig rig;
    uint64_t agent = running(&rig, 2 * MIB);
    rig_acquire(&rig, agent, "idx", 100, 1); /* 2 + 3 by its quota */
    rig_grant(&rig, true);
    core_acquire_done(rig.core, rig_find(&rig, ACTION_REPLY_SLABS)->acquire);
    EXPECT_EQ(rig.core->held[0], 2 + CORE_QUOTA_EXTRA_SLABS);
    rig_acquire(&rig, agent, "idx", 1, 2);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "holds 5 slabs of 1M, all that its far memory of 2M"));
    rig_acquire(&rig, agent, "other", 1, 3);
    EXPECT(says(&rig, CORE_ERROR_NOT_FOUND, "other"));
    rig_launch(&rig, "big", 11 * MIB, 7);
    rig_report(&rig, agent, "big", INSTANCE_RUNNING);
    rig_acquire(&rig, agent, "big", 100, 4);
    rig_grant(&rig, true);
    core_acquire_done(rig.core, rig_find(&rig, ACTION_REPLY_SLABS)->acquire);
    rig_acquire(&rig, agent, "big", 1, 5);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "no slab is free for instance big: mn1 full, mn2 full"));
    rig_fini(&rig);
}

static void test_acquire_goes_to_other_nodes(void)
{
    struct rig rig;
    uint64_t agent = running(&rig, 4 * MIB);
    rig_acquire(&rig, agent, "idx", 1, 1);
    uint32_t first = rig_find(&rig, ACTION_GRANT)->node;
    rig_grant(&rig, false);
    EXPECT_EQ(rig.core->slabs_of[first].count[SLAB_REVOKING], 1);
    const struct action *second = rig_find(&rig, ACTION_GRANT);
    EXPECT(second != NULL && second->node != first);
    rig_grant(&rig, true);
    EXPECT(rig_find(&rig, ACTION_REPLY_SLABS) != NULL);
    EXPECT_EQ(rig.core->held[0], 1);
    rig_fini(&rig);
}

static void test_node_with_other_data(void)
{
    struct rig rig;
    uint64_t agent = running(&rig, 4 * MIB);
    rig_acquire(&rig, agent, "idx", 2, 1);
    rig_grant(&rig, true);
    core_acquire_done(rig.core, rig_find(&rig, ACTION_REPLY_SLABS)->acquire);
    rig_node(&rig, "mn2", "id2", "other", "h2", 8);
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_FAILED);
    EXPECT_STR(rig.core->instances[0].reason,
               "far memory is lost: memory node mn2 came back with other data");
    EXPECT_STR(rig.core->instances[0].exit_kind, "far-lost");
    EXPECT_EQ(rig_find(&rig, ACTION_SIGNAL)->signal, CORE_SIGKILL);
    EXPECT_EQ(count(&rig, "mn2", SLAB_LOST), 1);
    EXPECT_EQ(count(&rig, "mn1", SLAB_REVOKING), 1);
    rig_event(&rig, (struct core_event){.kind = CORE_REVOKE_DONE,
                                        .session = rig.core->node_links[1].session});
    EXPECT_EQ(count(&rig, "mn2", SLAB_FREE), 8);
    rig_fini(&rig);
}

static void test_name_of_a_lost_node_in_use(void)
{
    struct rig rig;
    uint64_t agent = running(&rig, 4 * MIB);
    rig_acquire(&rig, agent, "idx", 2, 1);
    rig_grant(&rig, true);
    uint64_t session = rig.core->node_links[1].session;
    rig_event(&rig,
              (struct core_event){.kind = CORE_NODE_CLOSED, .session = session, .reason = "-"});
    EXPECT_EQ(rig.core->nodes[1].state, NODE_DOWN);
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_RUNNING); /* the data plane decides */
    rig_node(&rig, "mn2", "stranger", "z", "h2", 8);
    EXPECT(says(&rig, CORE_ERROR_EXISTS, "holds 1 slabs that are in use"));
    rig_fini(&rig);
}

static void test_agent_grace(void)
{
    struct rig rig;
    const char *idx[] = {"idx"};
    uint64_t agent = running(&rig, 4 * MIB);
    rig_event(&rig,
              (struct core_event){.kind = CORE_AGENT_CLOSED, .session = agent, .reason = "-"});
    rig.now_ms += 9000;
    for (uint32_t i = 0; i < 2; i++) {
        rig.core->node_links[i].seen_ms = rig.now_ms;
    }
    rig_event(&rig, (struct core_event){.kind = CORE_TICK});
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_RUNNING);
    agent = rig_agent(&rig, "ag", idx, 1);
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_RUNNING);
    rig_event(&rig,
              (struct core_event){.kind = CORE_AGENT_CLOSED, .session = agent, .reason = "-"});
    rig.now_ms += 10000;
    rig_event(&rig, (struct core_event){.kind = CORE_TICK});
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_FAILED);
    EXPECT_STR(rig.core->instances[0].reason, "agent ag is lost");
    rig_launch(&rig, "again", MIB, 9);
    EXPECT(says(&rig, CORE_ERROR_REFUSED, "no agent"));
    rig_fini(&rig);
}

static void test_agent_without_its_instance(void)
{
    struct rig rig;
    (void)running(&rig, 4 * MIB);
    (void)rig_agent(&rig, "ag", NULL, 0);
    EXPECT_EQ(rig.core->instances[0].state, INSTANCE_FAILED);
    EXPECT_STR(rig.core->instances[0].exit_kind, "agent-lost");
    rig_fini(&rig);
}

static void test_late_heartbeats(void)
{
    struct rig rig;
    rig_init(&rig);
    uint64_t node = rig_node(&rig, "mn1", "id1", "x", "h", 8);
    rig.now_ms += 3000;
    rig_event(&rig, (struct core_event){.kind = CORE_TICK});
    EXPECT_EQ(rig.core->nodes[0].state, NODE_SUSPECT);
    rig_event(&rig, (struct core_event){.kind = CORE_NODE_HEARTBEAT, .session = node});
    EXPECT_EQ(rig.core->nodes[0].state, NODE_UP);
    rig.now_ms += 10000;
    rig_event(&rig, (struct core_event){.kind = CORE_TICK});
    EXPECT_EQ(rig.core->nodes[0].state, NODE_DOWN);
    EXPECT_EQ(rig_find(&rig, ACTION_CLOSE)->session, node);
    rig_fini(&rig);
}

static void test_unknown_grants_are_revoked(void)
{
    struct rig rig;
    rig_init(&rig);
    struct node node = {.slab_bytes = MIB, .slab_count = 8};
    const struct held_slab held[] = {{2, 41}, {3, 41}};
    core_text(node.name, sizeof(node.name), "mn1");
    const struct core_event event = {.kind = CORE_NODE_REGISTER,
                                     .token = 1,
                                     .session = 77,
                                     .node = &node,
                                     .address = "",
                                     .held = held,
                                     .held_count = 2};
    rig_event(&rig, event);
    EXPECT_EQ(count(&rig, "mn1", SLAB_REVOKING), 2);
    EXPECT_EQ(slab_at(rig.core, 0, 2)->generation, 41);
    EXPECT_EQ(rig.core->meta.next_generation, 42);
    EXPECT(rig_find(&rig, ACTION_REVOKE) != NULL);
    rig_event(&rig, (struct core_event){.kind = CORE_REVOKE_DONE, .session = 77});
    EXPECT_EQ(count(&rig, "mn1", SLAB_FREE), 8);
    rig_fini(&rig);
}

static const struct history *last_event(const struct rig *rig)
{
    return &rig->core->history[(rig->core->meta.history_count - 1) % CORE_HISTORY_MAX];
}

/* An event names node, slab, fabric, what it was, and the instance as far as it is known. */
static void test_refused_access(void)
{
    struct rig rig;
    (void)running(&rig, 4 * MIB);
    uint64_t node = rig_node(&rig, "mn9", "id9", "x", "h9", 8);
    struct refused_access access = {.kind = CORE_REFUSED_WRONG_KEY,
                                    .fabric = "tcp",
                                    .instance_id = rig.core->instances[0].instance_id,
                                    .peer = "10.0.0.9:1234",
                                    .slab_known = true,
                                    .slab_index = 7,
                                    .count = 3};
    struct core_event event = {
        .kind = CORE_ACCESS_REFUSED, .token = 5, .session = node, .access = &access};
    rig_event(&rig, event);
    EXPECT(rig_find(&rig, ACTION_REPLY_EMPTY) != NULL);
    EXPECT_STR(last_event(&rig)->kind, "access.refused");
    EXPECT_STR(last_event(&rig)->subject, rig.core->instances[0].name);
    EXPECT_STR(last_event(&rig)->detail,
               "memory node mn9 refused slab 7 over tcp: a key that is not the slab's, 3 times, "
               "from 10.0.0.9:1234");
    access = (struct refused_access){.kind = CORE_REFUSED_BY_DEVICE,
                                     .fabric = "verbs",
                                     .instance_id = "gone",
                                     .peer = "",
                                     .count = 1};
    rig_event(&rig, event);
    EXPECT_STR(last_event(&rig)->subject, "mn9");
    EXPECT_STR(last_event(&rig)->detail,
               "memory node mn9 refused over verbs: an access without a right, its queue pair is "
               "broken, 1 times, of instance id gone");
    uint64_t count = rig.core->meta.history_count;
    event.session = 12345;
    rig_event(&rig, event);
    EXPECT(says(&rig, CORE_ERROR_NOT_FOUND, "no memory node"));
    EXPECT_EQ(rig.core->meta.history_count, count);
    rig_fini(&rig);
}

int main(void)
{
    TAP_RUN(test_states);
    TAP_RUN(test_placement);
    TAP_RUN(test_members_refused);
    TAP_RUN(test_launch_refused_and_repeated);
    TAP_RUN(test_acquire_and_end);
    TAP_RUN(test_resize);
    TAP_RUN(test_acquire_refused);
    TAP_RUN(test_acquire_goes_to_other_nodes);
    TAP_RUN(test_node_with_other_data);
    TAP_RUN(test_name_of_a_lost_node_in_use);
    TAP_RUN(test_agent_grace);
    TAP_RUN(test_agent_without_its_instance);
    TAP_RUN(test_late_heartbeats);
    TAP_RUN(test_unknown_grants_are_revoked);
    TAP_RUN(test_refused_access);
    return tap_done();
}
