/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole controller core among simulated memory nodes and agents: random delays, broken
 * connections, crashes of each, arenas that come back empty, restarts of the controller from what
 * its store has. A seed gives the same run. After every step:
 *   - a slab that the controller calls free is granted to nobody by its memory node;
 *   - what an agent was told to hold is granted to its instance, as long as that lives;
 *   - generations of a slab only grow, and no grant meets another one at its memory node.
 * At the end all is quiet, every instance ends, and every slab is free again, here and there.
 */
#include <stdlib.h>

#include "tests/sim/sim_world.h"
#include "tests/tap.h"

static uint32_t sim_node_of(const struct world *w, uint32_t slot)
{
    const char *name = engine_core(w->engine)->nodes[slot].name;
    return (uint32_t)(name[2] - '0');
}

static uint32_t sim_agent_of(const struct world *w, uint32_t slot)
{
    return (uint32_t)(engine_core(w->engine)->agents[slot].name[1] - '0');
}

static void perform_grant(struct world *w, const struct action *action)
{
    const struct core *core = engine_core(w->engine);
    const struct acquire *a = &core->acquires[action->acquire];
    struct sim_node *node = &w->nodes[sim_node_of(w, action->node)];
    struct message direct = {
        .acquire = action->acquire, .generation = action->generation, .node = action->node};
    uint64_t session = core->node_links[action->node].session;
    if (session == 0 || node->session != session) {
        answer_grant(w, &direct, false);
        return;
    }
    struct message *m = post(w, session, &node->last_ms);
    m->kind = GRANT;
    m->acquire = action->acquire;
    m->generation = action->generation;
    m->node = action->node;
    for (uint32_t i = 0; i < a->slab_count; i++) {
        if (a->slabs[i].node == action->node) {
            m->slabs[m->count++] = a->slabs[i].index;
        }
    }
}

static void perform_revoke(struct world *w, const struct action *action)
{
    const struct core *core = engine_core(w->engine);
    const struct node_link *link = &core->node_links[action->node];
    struct sim_node *node = &w->nodes[sim_node_of(w, action->node)];
    if (link->session != action->session || node->session != action->session) {
        return;
    }
    struct message *m = post(w, action->session, &node->last_ms);
    m->kind = REVOKE;
    m->count = link->revoke_count;
    for (uint32_t i = 0; i < m->count; i++) {
        m->slabs[i] = link->revoke_slabs[i];
        m->generations[i] = slab_at(core, action->node, m->slabs[i])->generation;
    }
    if (w->planted) {
        event(w, (struct core_event){.kind = CORE_REVOKE_DONE, .session = action->session});
    }
}

static void perform_agent(struct world *w, const struct action *action)
{
    struct sim_agent *agent = &w->agents[sim_agent_of(w, action->agent)];
    struct message direct = {.token = action->token};
    core_text(direct.instance_id, CORE_ID_BYTES, action->instance_id);
    if (agent->session == 0 ||
        engine_core(w->engine)->agent_links[action->agent].session != agent->session) {
        if (action->kind == ACTION_START) {
            answer_start(w, &direct, &lost);
        }
        return;
    }
    struct message *m = post(w, agent->session, &agent->last_ms);
    m->kind = action->kind == ACTION_START ? START : SIGNAL;
    m->signal = action->signal;
    core_text(m->instance_id, CORE_ID_BYTES, action->instance_id);
}

/* Tokens of acquires: agent * RUNNING_MAX + place + 1. */
static void perform_slabs(struct world *w, const struct action *action)
{
    const struct core *core = engine_core(w->engine);
    const struct acquire *a = &core->acquires[action->acquire];
    struct sim_agent *agent = &w->agents[(action->token - 1) / RUNNING_MAX];
    if (agent->session == 0) {
        return;
    }
    struct message *m = post(w, agent->session, &agent->last_ms);
    m->kind = SLABS_REPLY;
    memcpy(m->key, a->key, CORE_KEY_BYTES);
    m->generation = a->generation;
    core_text(m->instance_id, CORE_ID_BYTES, core->instances[a->instance].instance_id);
    for (uint32_t i = 0; i < a->slab_count; i++) {
        if (a->slabs[i].granted) {
            m->nodes[m->count] = sim_node_of(w, a->slabs[i].node);
            m->slabs[m->count++] = a->slabs[i].index;
        }
    }
}

static void break_session(struct world *w, uint64_t session, bool tell);

static void perform(void *context, const struct action *action)
{
    struct world *w = context;
    w->replies++;
    switch (action->kind) {
    case ACTION_GRANT:
        perform_grant(w, action);
        break;
    case ACTION_REVOKE:
        perform_revoke(w, action);
        break;
    case ACTION_START:
    case ACTION_SIGNAL:
        perform_agent(w, action);
        break;
    case ACTION_REPLY_SLABS:
        perform_slabs(w, action);
        break;
    case ACTION_CLOSE:
        break_session(w, action->session, true);
        break;
    case ACTION_REPLY_ERROR:
        if (action->token > 0 && action->token <= AGENTS * RUNNING_MAX) {
            struct running *r = w->agents[(action->token - 1) / RUNNING_MAX].running;
            r[(action->token - 1) % RUNNING_MAX].asking = false;
        }
        break;
    default:
        break;
    }
}

static void wake(void *context)
{
    (void)context;
}

static void start_controller(struct world *w)
{
    const struct engine_config config = {.times = {100, 400, 1500, 3000},
                                         .slabs_per_node = SLABS,
                                         .store = w->store,
                                         .cluster_id = "sim",
                                         .perform = perform,
                                         .wake = wake,
                                         .context = w};
    struct core_now now = {.mono_ms = w->now_ms, .wall_ns = w->now_ms * 1000000};
    CHECK(engine_open(&config, now, &w->engine) == 0);
}

/* Both ends see it; calls on their way fail on the controller's side. */
static void break_session(struct world *w, uint64_t session, bool tell)
{
    for (uint32_t i = 0; i < NODES; i++) {
        if (w->nodes[i].session == session) {
            w->nodes[i].session = 0;
        }
    }
    for (uint32_t i = 0; i < AGENTS; i++) {
        if (w->agents[i].session == session) {
            w->agents[i].session = 0;
            for (uint32_t k = 0; k < RUNNING_MAX; k++) {
                w->agents[i].running[k].asking = false;
            }
        }
    }
    for (uint32_t i = 0; i < w->message_count; i++) {
        struct message m = w->messages[i];
        if (m.session != session) {
            continue;
        }
        w->messages[i].session = 0; /* nobody gets it */
        if (tell && (m.kind == GRANT || m.kind == GRANT_ANSWER)) {
            answer_grant(w, &m, false);
        } else if (tell && (m.kind == START || m.kind == START_ANSWER)) {
            answer_start(w, &m, &lost);
        }
    }
    if (tell) {
        event(w, (struct core_event){.kind = CORE_NODE_CLOSED, .session = session, .reason = "-"});
        event(w, (struct core_event){.kind = CORE_AGENT_CLOSED, .session = session, .reason = "-"});
    }
}

static void crash_controller(struct world *w)
{
    if (pick(w, 2) == 0) {
        flush(w);
    }
    w->engine = engine_close(w->engine); /* what was not flushed is gone, and nobody heard of it */
    for (uint32_t i = 0; i < NODES; i++) {
        break_session(w, w->nodes[i].session, false);
    }
    for (uint32_t i = 0; i < AGENTS; i++) {
        break_session(w, w->agents[i].session, false);
    }
    w->message_count = 0;
    w->restarts++;
    start_controller(w);
}

static void register_node(struct world *w, uint32_t i)
{
    struct sim_node *sim = &w->nodes[i];
    struct node node = {.slab_bytes = MIB, .slab_count = SLABS};
    struct held_slab held[SLABS];
    uint32_t count = 0;
    for (uint32_t s = 0; s < SLABS; s++) {
        if (sim->granted[s] != 0) {
            held[count++] = (struct held_slab){.index = s, .generation = sim->granted[s]};
        }
    }
    core_text(node.name, sizeof(node.name), node_name(i));
    core_text(node.node_id, sizeof(node.node_id), node_name(i));
    core_text(node.host, sizeof(node.host), i < 2 ? "h0" : node_name(i));
    (void)snprintf(node.arena_id, sizeof(node.arena_id), "%llu", (unsigned long long)sim->arena);
    sim->session = ++w->next_session;
    event(w, (struct core_event){.kind = CORE_NODE_REGISTER,
                                 .session = sim->session,
                                 .node = &node,
                                 .address = "sim",
                                 .epoch_seen = sim->epoch,
                                 .held = held,
                                 .held_count = count});
    sim->epoch = engine_core(w->engine)->meta.epoch;
}

static void register_agent(struct world *w, uint32_t i)
{
    struct sim_agent *sim = &w->agents[i];
    struct agent agent = {.cpu_count = 1};
    const char *names[RUNNING_MAX];
    uint32_t count = 0;
    for (uint32_t k = 0; k < RUNNING_MAX; k++) {
        if (sim->running[k].id[0] != '\0') {
            names[count++] = sim->running[k].id;
        }
    }
    core_text(agent.name, sizeof(agent.name), agent_name(i));
    (void)snprintf(agent.agent_id, sizeof(agent.agent_id), "%llu", (unsigned long long)sim->life);
    sim->session = ++w->next_session;
    event(w, (struct core_event){.kind = CORE_AGENT_REGISTER,
                                 .session = sim->session,
                                 .agent = &agent,
                                 .address = "sim",
                                 .epoch_seen = sim->epoch,
                                 .names = names,
                                 .name_count = count});
    flush(w);
    /* Those that the controller doesn't know end. */
    for (uint32_t k = 0; k < RUNNING_MAX; k++) {
        struct running *r = &sim->running[k];
        uint32_t slot = core_find_instance_id(engine_core(w->engine), r->id);
        if (r->id[0] != '\0' &&
            (slot == CORE_NONE || instance_ended(engine_core(w->engine)->instances[slot].state))) {
            memset(r, 0, sizeof(*r));
        }
    }
}

static void launch(struct world *w)
{
    char id[CORE_ID_BYTES], name[CORE_NAME_BYTES];
    uint8_t key[CORE_KEY_BYTES] = {1};
    uint64_t number = ++w->next_id;
    memcpy(key + 8, &number, sizeof(number));
    (void)snprintf(id, sizeof(id), "id%llu", (unsigned long long)number);
    (void)snprintf(name, sizeof(name), "i%u", pick(w, 20));
    event(w, (struct core_event){.kind = CORE_LAUNCH,
                                 .key = key,
                                 .name = name,
                                 .instance_id = id,
                                 .agent_name = "",
                                 .local_bytes = MIB,
                                 .far_bytes = (1 + pick(w, 12)) * MIB,
                                 .spec = key,
                                 .spec_bytes = sizeof(key)});
    w->launched++;
}

/* The same key until there is an answer. */
static void acquire(struct world *w, uint32_t agent, uint32_t place)
{
    struct running *r = &w->agents[agent].running[place];
    static const uint8_t none[CORE_KEY_BYTES];
    if (memcmp(r->key, none, sizeof(none)) == 0) {
        uint64_t number = ++w->next_id;
        memcpy(r->key, &number, sizeof(number));
        r->key[15] = 2;
    }
    r->asking = true;
    event(w, (struct core_event){.kind = CORE_ACQUIRE,
                                 .token = agent * RUNNING_MAX + place + 1,
                                 .session = w->agents[agent].session,
                                 .key = r->key,
                                 .instance_id = r->id,
                                 .slab_count = 1 + pick(w, 4)});
}

static void release(struct world *w, uint32_t agent, struct running *r)
{
    struct held held = r->held[--r->held_count];
    const struct released_slab slab = {
        .node = node_name(held.node), .index = held.slab, .generation = held.generation};
    event(w, (struct core_event){.kind = CORE_RELEASE,
                                 .session = w->agents[agent].session,
                                 .instance_id = r->id,
                                 .released = &slab,
                                 .released_count = 1});
}

static void agent_acts(struct world *w, uint32_t agent)
{
    uint32_t place = pick(w, RUNNING_MAX);
    struct running *r = &w->agents[agent].running[place];
    uint32_t dice = pick(w, 100);
    if (w->agents[agent].session == 0 || r->id[0] == '\0') {
        return;
    }
    if (w->quiet || dice < 4) {
        char id[CORE_ID_BYTES];
        core_text(id, sizeof(id), r->id);
        memset(r, 0, sizeof(*r));
        agent_reports(w, w->agents[agent].session, id, INSTANCE_EXITED);
        w->ended++;
    } else if (dice < 60 && !r->asking && r->held_count < HELD_MAX - 4) {
        acquire(w, agent, place);
    } else if (dice < 75 && r->held_count > 0 && !r->asking) {
        release(w, agent, r);
    }
}

/* Also from one that isn't registered (session 0), and of instances that nobody knows. */
static void access_refused(struct world *w, const struct sim_node *node)
{
    const struct running *r = &w->agents[pick(w, AGENTS)].running[pick(w, RUNNING_MAX)];
    const struct refused_access access = {.kind = (enum core_refused_kind)pick(w, 9),
                                          .fabric = "tcp",
                                          .instance_id = pick(w, 4) == 0 ? "nobody" : r->id,
                                          .peer = "",
                                          .slab_known = pick(w, 2) == 0,
                                          .slab_index = pick(w, 1000),
                                          .count = 1};
    event(w, (struct core_event){
                 .kind = CORE_ACCESS_REFUSED, .session = node->session, .access = &access});
}

/* Everybody comes back after a while, speaks, and now and then breaks. */
static void live_on(struct world *w)
{
    uint32_t trouble = w->quiet ? 0 : 1000;
    for (uint32_t i = 0; i < NODES; i++) {
        struct sim_node *node = &w->nodes[i];
        if (node->session == 0 && pick(w, w->quiet ? 2 : 12) == 0) {
            register_node(w, i);
        } else if (node->session != 0 && (w->quiet || pick(w, 12) != 0)) {
            event(w, (struct core_event){.kind = CORE_NODE_HEARTBEAT, .session = node->session});
        }
        uint32_t dice = trouble == 0 ? trouble : pick(w, trouble);
        if (dice >= 990) {
            access_refused(w, node);
        }
        if (trouble != 0 && dice < 8) {
            break_session(w, node->session, node->session != 0);
        }
        if (trouble != 0 && dice < 2) { /* it crashed: an empty arena */
            node->arena = ++w->next_id;
            memset(node->granted, 0, sizeof(node->granted));
            memset(node->highest, 0, sizeof(node->highest));
        }
    }
    for (uint32_t i = 0; i < AGENTS; i++) {
        struct sim_agent *agent = &w->agents[i];
        if (agent->session == 0 && pick(w, w->quiet ? 2 : 12) == 0) {
            register_agent(w, i);
        } else if (agent->session != 0 && (w->quiet || pick(w, 12) != 0)) {
            event(w, (struct core_event){.kind = CORE_AGENT_HEARTBEAT, .session = agent->session});
        }
        agent_acts(w, i);
        uint32_t dice = trouble == 0 ? trouble : pick(w, trouble);
        if (trouble != 0 && dice < 8) {
            break_session(w, agent->session, agent->session != 0);
        }
        if (trouble != 0 && dice < 2) {
            agent->life = ++w->next_id;
            memset(agent->running, 0, sizeof(agent->running));
        }
    }
}

static bool is_current(const struct world *w, const struct core *core, uint32_t slot)
{
    char arena[CORE_ID_BYTES];
    (void)snprintf(arena, sizeof(arena), "%llu",
                   (unsigned long long)w->nodes[sim_node_of(w, slot)].arena);
    return core->nodes[slot].used && strcmp(core->nodes[slot].arena_id, arena) == 0;
}

static void check_held(struct world *w, const struct core *core, const struct running *r)
{
    uint32_t slot = core_find_instance_id(core, r->id);
    if (slot == CORE_NONE || instance_ended(core->instances[slot].state)) {
        return;
    }
    for (uint32_t k = 0; k < r->held_count; k++) {
        const struct held *held = &r->held[k];
        uint32_t node = core_find_node(core, node_name(held->node));
        if (held->arena != w->nodes[held->node].arena || !is_current(w, core, node)) {
            continue;
        }
        const struct slab *slab = slab_at(core, node, held->slab);
        if (slab->state != SLAB_GRANTED || slab->owner != slot + 1 ||
            slab->generation != held->generation) {
            violated(w, "an instance holds a slab that isn't granted to it");
        }
        if (w->nodes[held->node].granted[held->slab] != held->generation) {
            violated(w, "a held slab was revoked under a live instance");
        }
    }
}

static void check_world(struct world *w)
{
    const struct core *core = engine_core(w->engine);
    for (uint32_t n = 0; n < CORE_NODES_MAX; n++) {
        uint32_t counts[SLAB_STATE_COUNT] = {0};
        for (uint32_t s = 0; core->nodes[n].used && s < SLABS; s++) {
            const struct slab *slab = slab_at(core, n, s);
            counts[slab->state]++;
            if (slab->state == SLAB_FREE && is_current(w, core, n) &&
                w->nodes[sim_node_of(w, n)].granted[s] != 0) {
                violated(w, "a free slab is still granted by its memory node");
            }
        }
        if (memcmp(counts, core->slabs_of[n].count, sizeof(counts)) != 0) {
            violated(w, "slab counts are wrong");
        }
    }
    for (uint32_t a = 0; a < AGENTS; a++) {
        for (uint32_t k = 0; k < RUNNING_MAX; k++) {
            check_held(w, core, &w->agents[a].running[k]);
        }
    }
}

static void step(struct world *w)
{
    w->now_ms += 1 + pick(w, 100);
    deliver_due(w);
    live_on(w);
    if (!w->quiet && pick(w, 12) == 0) {
        launch(w);
    }
    if (!w->quiet && pick(w, 300) == 0) {
        crash_controller(w);
    }
    event(w, (struct core_event){.kind = CORE_TICK});
    flush(w);
    check_world(w);
}

static void finish(struct world *w)
{
    w->quiet = true;
    for (uint32_t i = 0; i < 400; i++) {
        step(w);
        const struct core *core = engine_core(w->engine);
        for (uint32_t k = 0; k < CORE_INSTANCES_MAX && i == 200; k++) {
            if (core->instances[k].used && !instance_ended(core->instances[k].state)) {
                event(w, (struct core_event){.kind = CORE_STOP, .name = core->instances[k].name});
            }
        }
    }
    const struct core *core = engine_core(w->engine);
    for (uint32_t n = 0; n < CORE_NODES_MAX; n++) {
        if (core->nodes[n].used && core->slabs_of[n].count[SLAB_FREE] != SLABS) {
            violated(w, "a slab leaked");
        }
    }
    for (uint32_t n = 0; n < NODES * SLABS; n++) {
        if (w->nodes[n / SLABS].granted[n % SLABS] != 0) {
            violated(w, "a memory node still has a grant");
        }
    }
}

static uint32_t run_seed(uint64_t seed, bool planted, uint32_t *ret_slabs, uint32_t *ret_restarts)
{
    struct world *w = calloc(1, sizeof(*w));
    CHECK(w != NULL);
    w->random = seed * 0x9e3779b97f4a7c15ull + 1;
    w->now_ms = 1000;
    w->planted = planted;
    w->messages = calloc(MESSAGES_MAX, sizeof(*w->messages));
    w->store = store_sim_open();
    for (uint32_t i = 0; i < NODES; i++) {
        w->nodes[i].arena = ++w->next_id;
    }
    start_controller(w);
    for (uint32_t i = 0; i < STEPS && (!planted || w->violations == 0); i++) {
        step(w);
    }
    if (!planted) {
        finish(w);
    }
    uint32_t violations = w->violations;
    *ret_slabs += w->slabs_given;
    *ret_restarts += w->restarts;
    w->engine = engine_close(w->engine);
    w->store = w->store->ops->close(w->store);
    free(w->messages);
    free(w);
    return violations;
}

static void test_invariants_hold(void)
{
    uint32_t slabs = 0, restarts = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint32_t violations = run_seed(seed, false, &slabs, &restarts);
        if (violations != 0) {
            printf("# seed %llu\n", (unsigned long long)seed);
        }
        EXPECT_EQ(violations, 0);
    }
    printf("# %u slabs given, %u restarts of the controller\n", slabs, restarts);
    EXPECT(slabs > 100 * SEEDS);
    EXPECT(restarts > SEEDS);
}

static void test_planted_bug_is_found(void)
{
    uint32_t found = 0, slabs = 0, restarts = 0;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        found += run_seed(seed, true, &slabs, &restarts) != 0 ? 1 : 0;
    }
    EXPECT_EQ(found, 4);
}

int main(void)
{
    TAP_RUN(test_invariants_hold);
    TAP_RUN(test_planted_bug_is_found);
    return tap_done();
}
