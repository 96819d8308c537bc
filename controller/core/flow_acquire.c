/* SPDX-License-Identifier: Apache-2.0 */
/* Requests for slabs while they wait for memory nodes. */
#include <string.h>

#include "controller/core/decide.h"
#include "controller/core/flow_internal.h"
#include "controller/core/slabs.h"
#include "lib/base/check.h"

static bool is_granted(const struct core *core, const struct acquire *a,
                       const struct acquired_slab *s)
{
    if (!s->granted || s->index >= core->nodes[s->node].slab_count) {
        return false;
    }
    const struct slab *slab = slab_at(core, s->node, s->index);
    return slab->state == SLAB_GRANTED && slab->generation == a->generation &&
           slab->owner == a->instance + 1;
}

static void add_slab(struct acquire *a, uint32_t node, uint32_t index)
{
    if (a->slab_count < CORE_ACQUIRE_SLABS_MAX) {
        struct acquired_slab *s = &a->slabs[a->slab_count++];
        memset(s, 0, sizeof(*s));
        s->node = node;
        s->index = index;
        s->waiting = true;
    }
}

/* The slabs that were granted for this key before. */
static void add_granted(const struct core *core, struct acquire *a)
{
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        uint32_t left = core->owned[a->instance][node];
        for (uint32_t i = 0; left > 0 && i < core->slabs_of[node].top; i++) {
            const struct slab *slab = slab_at(core, node, i);
            if (slab->owner != a->instance + 1) {
                continue;
            }
            left--;
            if (slab->state == SLAB_GRANTED && slab->generation == a->generation) {
                add_slab(a, node, i);
            }
        }
    }
}

static void add_reserved(struct acquire *a, const struct command *command)
{
    a->generation = command->generation;
    a->slab_count = 0;
    for (uint32_t i = 0; i < command->extent_count; i++) {
        const struct extent *extent = &command->extents[i];
        for (uint32_t k = 0; k < extent->count; k++) {
            add_slab(a, extent->node, extent->first + k);
        }
    }
}

static void ask_nodes(struct flow *f, struct acquire *a)
{
    uint64_t asked[BITMAP_WORDS(CORE_NODES_MAX)] = {0};
    for (uint32_t i = 0; i < a->slab_count; i++) {
        uint32_t node = a->slabs[i].node;
        if (!bitmap_test(asked, node)) {
            bitmap_set(asked, node);
            struct action *action = flow_action(f, ACTION_GRANT);
            action->acquire = (uint32_t)(a - f->core->acquires);
            action->generation = a->generation;
            action->node = node;
        }
    }
}

static struct acquire *unused(struct core *core)
{
    for (uint32_t i = 0; i < CORE_ACQUIRES_MAX; i++) {
        if (!core->acquires[i].used) {
            return &core->acquires[i];
        }
    }
    return NULL;
}

void flow_acquire_begin(struct flow *f, const struct core_event *e, bool reserved)
{
    struct core *core = f->core;
    uint32_t running = acquire_find_key(core, e->key);
    if (running != CORE_NONE) {
        struct acquire *a = &core->acquires[running];
        const struct refusal repeated = {.code = CORE_ERROR_UNAVAILABLE,
                                         .message = "the request was repeated",
                                         .remedy = "wait for the answer of the repetition"};
        /* Whichever is answered already, the other one is to be tried again. */
        flow_reply_error(f, a->replied ? e->token : a->token, &repeated);
        a->token = a->replied ? a->token : e->token;
        return;
    }
    struct acquire *a = unused(core);
    CHECK(a != NULL);
    memset(a, 0, sizeof(*a));
    a->used = true;
    a->again = !reserved;
    a->token = e->token;
    a->wanted = e->slab_count;
    a->instance = core_find_instance_id(core, e->instance_id);
    a->serial = core->instances[a->instance].serial;
    memcpy(a->key, e->key, CORE_KEY_BYTES);
    if (reserved) {
        add_reserved(a, &f->decision->command);
    } else {
        a->generation = core_find_key(core, e->key)->generation;
        add_granted(core, a);
    }
    ask_nodes(f, a);
}

static bool live(const struct core *core, const struct acquire *a)
{
    const struct instance *instance = &core->instances[a->instance];
    return instance->used && instance->serial == a->serial && !instance_ended(instance->state);
}

static void give_up(struct flow *f, struct acquire *a, const struct refusal *refusal)
{
    flow_reply_error(f, a->token, refusal);
    core_acquire_done(f->core, (uint32_t)(a - f->core->acquires));
}

/* No memory node granted anything: others may. */
static void try_others(struct flow *f, struct acquire *a)
{
    struct core *core = f->core;
    struct refusal refusal = {.code = CORE_ERROR_UNAVAILABLE, .remedy = "try again"};
    if (!live(core, a)) {
        refusal.code = CORE_ERROR_REFUSED;
        core_text(refusal.message, sizeof(refusal.message), "the instance has ended");
        core_text(refusal.remedy, sizeof(refusal.remedy), "end it");
        give_up(f, a, &refusal);
        return;
    }
    if (a->again || ++a->tries >= CORE_ACQUIRE_TRIES) {
        core_text(refusal.message, sizeof(refusal.message), a->failure);
        give_up(f, a, &refusal);
        return;
    }
    f->decision->kind = DECISION_NOTHING;
    decide_reserve(core, a->instance, a->wanted, a->key, a->failed_nodes, f->decision);
    if (f->decision->kind == DECISION_REFUSE) {
        give_up(f, a, &f->decision->refusal);
        return;
    }
    f->decision->command.time_ns = f->now.wall_ns;
    flow_apply(f);
    add_reserved(a, &f->decision->command);
    ask_nodes(f, a);
}

static void finish(struct flow *f, struct acquire *a)
{
    bool any = false;
    for (uint32_t i = 0; i < a->slab_count; i++) {
        a->slabs[i].granted = is_granted(f->core, a, &a->slabs[i]);
        any = any || a->slabs[i].granted;
    }
    if (!any) {
        try_others(f, a);
        return;
    }
    a->replied = true;
    struct action *action = flow_action(f, ACTION_REPLY_SLABS);
    action->token = a->token;
    action->acquire = (uint32_t)(a - f->core->acquires);
}

void flow_grant_done(struct flow *f, const struct core_event *e)
{
    struct acquire *a = &f->core->acquires[e->acquire];
    bool waiting = false;
    uint32_t key = 0;
    if (!a->used || a->replied || a->generation != e->generation) {
        return;
    }
    for (uint32_t i = 0; i < a->slab_count; i++) {
        struct acquired_slab *s = &a->slabs[i];
        if (s->node == e->node_slot && s->waiting) {
            s->waiting = false;
            s->granted = e->error == NULL;
            if (s->granted) {
                memcpy(s->key, e->keys[key++], CORE_KEY_BYTES);
            }
        }
        waiting = waiting || s->waiting;
    }
    if (e->error != NULL) {
        bitmap_set(a->failed_nodes, e->node_slot);
        core_text(a->failure, sizeof(a->failure), e->error->message);
    }
    if (!waiting) {
        finish(f, a);
    }
}

void core_acquire_done(struct core *core, uint32_t acquire)
{
    explicit_bzero(&core->acquires[acquire], sizeof(core->acquires[acquire]));
}
