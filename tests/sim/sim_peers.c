/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated memory nodes and agents: what they do with the messages that reach them. */
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim_world.h"

uint32_t pick(struct world *w, uint32_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (uint32_t)(w->random >> 33) % below;
}

void violated(struct world *w, const char *what)
{
    if (!w->planted && w->violations == 0) {
        printf("# at %llu ms: %s\n", (unsigned long long)w->now_ms, what);
    }
    w->violations++;
}

void event(struct world *w, struct core_event e)
{
    engine_event(w->engine, &e,
                 (struct core_now){.mono_ms = w->now_ms, .wall_ns = w->now_ms * 1000000});
}

const char *node_name(uint32_t node)
{
    static const char *const names[NODES] = {"mn0", "mn1", "mn2", "mn3"};
    return names[node];
}

const char *agent_name(uint32_t agent)
{
    static const char *const names[AGENTS] = {"a0", "a1", "a2"};
    return names[agent];
}

struct message *post(struct world *w, uint64_t session, uint64_t *last_ms)
{
    CHECK(w->message_count < MESSAGES_MAX);
    struct message *m = &w->messages[w->message_count++];
    memset(m, 0, offsetof(struct message, slabs));
    m->session = session;
    uint64_t at_ms = w->now_ms + pick(w, w->quiet ? 5 : 400);
    m->at_ms = MAX(*last_ms, at_ms);
    *last_ms = m->at_ms;
    return m;
}

const struct refusal lost = {.code = CORE_ERROR_UNAVAILABLE, .message = "connection lost"};

void answer_grant(struct world *w, const struct message *m, bool ok)
{
    static const uint8_t keys[CORE_ACQUIRE_SLABS_MAX][CORE_KEY_BYTES];
    event(w, (struct core_event){.kind = CORE_GRANT_DONE,
                                 .acquire = m->acquire,
                                 .generation = m->generation,
                                 .node_slot = m->node,
                                 .error = ok ? NULL : &lost,
                                 .keys = keys});
}

void answer_start(struct world *w, const struct message *m, const struct refusal *error)
{
    event(w, (struct core_event){
                 .kind = CORE_START_DONE, .instance_id = m->instance_id, .error = error});
}

void flush(struct world *w)
{
    CHECK(engine_flush(w->engine) == 0);
}

static struct running *find_running(struct world *w, uint64_t session, const char *id)
{
    for (uint32_t i = 0; i < AGENTS; i++) {
        for (uint32_t k = 0; k < RUNNING_MAX && w->agents[i].session == session; k++) {
            if (strcmp(w->agents[i].running[k].id, id) == 0) {
                return &w->agents[i].running[k];
            }
        }
    }
    return NULL;
}

static void node_gets(struct world *w, struct message m)
{
    uint32_t n = 0;
    while (w->nodes[n].session != m.session) {
        n++;
    }
    struct sim_node *node = &w->nodes[n];
    bool ok = pick(w, 20) != 0 || w->quiet;
    for (uint32_t i = 0; i < m.count && m.kind == GRANT && ok; i++) {
        uint64_t granted = node->granted[m.slabs[i]];
        if (granted != 0 && granted != m.generation) {
            violated(w, "granted while another grant of the slab is valid");
            ok = false;
        }
        if (m.generation < node->highest[m.slabs[i]]) {
            violated(w, "a generation came back");
        }
    }
    for (uint32_t i = 0; i < m.count && ok; i++) {
        uint32_t s = m.slabs[i];
        if (m.kind == GRANT) {
            node->granted[s] = m.generation;
            node->highest[s] = MAX(node->highest[s], m.generation);
        } else if (node->granted[s] == m.generations[i]) {
            node->granted[s] = 0;
        }
    }
    struct message *answer = post(w, m.session, &node->last_ms);
    uint64_t at_ms = answer->at_ms;
    *answer = m;
    answer->at_ms = at_ms;
    answer->ok = ok;
    answer->kind = m.kind == GRANT ? GRANT_ANSWER : REVOKE_ANSWER;
}

void agent_reports(struct world *w, uint64_t session, const char *id, enum instance_state state)
{
    event(w, (struct core_event){.kind = CORE_REPORT,
                                 .session = session,
                                 .instance_id = id,
                                 .state = state,
                                 .exit_kind = "exited",
                                 .reason = ""});
}

static void agent_starts(struct world *w, struct message m)
{
    struct running *r = pick(w, 8) == 0 ? NULL : find_running(w, m.session, "");
    struct sim_agent *agent = w->agents;
    while (agent->session != m.session) {
        agent++;
    }
    if (r != NULL) {
        core_text(r->id, sizeof(r->id), m.instance_id);
    }
    struct message *answer = post(w, m.session, &agent->last_ms);
    uint64_t at_ms = answer->at_ms;
    *answer = m;
    answer->at_ms = at_ms;
    answer->kind = START_ANSWER;
    answer->ok = r != NULL;
}

static void agent_gets_slabs(struct world *w, const struct message *m)
{
    struct running *r = find_running(w, m->session, m->instance_id);
    /* An answer to a request that was answered before, or given up, is not looked at. */
    if (r != NULL && memcmp(r->key, m->key, CORE_KEY_BYTES) != 0) {
        return;
    }
    for (uint32_t i = 0; r != NULL && i < m->count; i++) {
        bool known = false;
        for (uint32_t k = 0; k < r->held_count; k++) {
            known = known || (r->held[k].node == m->nodes[i] && r->held[k].slab == m->slabs[i] &&
                              r->held[k].generation == m->generation);
        }
        CHECK(known || r->held_count < HELD_MAX);
        if (!known) {
            r->held[r->held_count++] = (struct held){.node = m->nodes[i],
                                                     .slab = m->slabs[i],
                                                     .generation = m->generation,
                                                     .arena = w->nodes[m->nodes[i]].arena};
            w->slabs_given++;
        }
    }
    if (r != NULL) {
        r->asking = false;
        memset(r->key, 0, sizeof(r->key));
    }
}

static void deliver(struct world *w, struct message m)
{
    static const struct refusal refused = {.code = CORE_ERROR_REFUSED, .message = "no"};
    struct running *r;
    switch (m.kind) {
    case GRANT:
    case REVOKE:
        node_gets(w, m);
        break;
    case GRANT_ANSWER:
        answer_grant(w, &m, m.ok);
        break;
    case REVOKE_ANSWER:
        if (!w->planted) {
            event(w, (struct core_event){.kind = CORE_REVOKE_DONE,
                                         .session = m.session,
                                         .error = m.ok ? NULL : &lost});
        }
        break;
    case START:
        agent_starts(w, m);
        break;
    case START_ANSWER:
        answer_start(w, &m, m.ok ? NULL : &refused);
        if (m.ok) {
            agent_reports(w, m.session, m.instance_id, INSTANCE_RUNNING);
        }
        break;
    case SIGNAL:
        r = find_running(w, m.session, m.instance_id);
        if (r != NULL && m.instance_id[0] != '\0') {
            memset(r, 0, sizeof(*r));
            agent_reports(w, m.session, m.instance_id, INSTANCE_EXITED);
        }
        break;
    case SLABS_REPLY:
        agent_gets_slabs(w, &m);
        break;
    }
}

void deliver_due(struct world *w)
{
    for (;;) {
        uint32_t first = w->message_count;
        for (uint32_t i = 0; i < w->message_count; i++) {
            if (w->messages[i].at_ms <= w->now_ms &&
                (first == w->message_count || w->messages[i].at_ms < w->messages[first].at_ms)) {
                first = i;
            }
        }
        if (first == w->message_count) {
            return;
        }
        struct message m = w->messages[first];
        memmove(&w->messages[first], &w->messages[first + 1],
                (--w->message_count - first) * sizeof(m));
        if (m.session != 0) {
            deliver(w, m);
            flush(w);
        }
    }
}
