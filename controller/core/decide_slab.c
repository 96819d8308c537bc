/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs: acquire, what memory nodes answer, release. */
#include <string.h>

#include "controller/core/decide.h"
#include "controller/core/place.h"
#include "controller/core/slabs.h"

#define MIB_OF(bytes) ((unsigned long long)((bytes) / MIB))

uint32_t acquire_find_key(const struct core *core, const uint8_t *key)
{
    for (uint32_t i = 0; i < CORE_ACQUIRES_MAX; i++) {
        if (core->acquires[i].used && memcmp(core->acquires[i].key, key, CORE_KEY_BYTES) == 0) {
            return i;
        }
    }
    return CORE_NONE;
}

uint32_t granted_count(const struct core *core, uint32_t instance, uint64_t generation)
{
    uint32_t count = 0;
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        uint32_t left = core->owned[instance][node];
        for (uint32_t i = 0; left > 0 && i < core->slabs_of[node].top; i++) {
            const struct slab *slab = slab_at(core, node, i);
            if (slab->owner == instance + 1) {
                left--;
                count += slab->state == SLAB_GRANTED && slab->generation == generation ? 1 : 0;
            }
        }
    }
    return count;
}

static bool acquires_full(const struct core *core)
{
    for (uint32_t i = 0; i < CORE_ACQUIRES_MAX; i++) {
        if (!core->acquires[i].used) {
            return false;
        }
    }
    return true;
}

static uint32_t live_on_agent(const struct core *core, const struct core_event *e,
                              struct decision *d)
{
    uint32_t agent = core_agent_of_session(core, e->session);
    uint32_t slot = core_find_instance_id(core, e->instance_id);
    if (agent == CORE_NONE || slot == CORE_NONE || core->instances[slot].agent != agent) {
        decide_refuse(d, CORE_ERROR_NOT_FOUND, "end it", "instance %s is not known on this agent",
                      e->instance_id);
        return CORE_NONE;
    }
    if (instance_ended(core->instances[slot].state)) {
        decide_refuse(d, CORE_ERROR_REFUSED, "end it", "instance %s has ended: %s",
                      core->instances[slot].name, core->instances[slot].reason);
        return CORE_NONE;
    }
    return slot;
}

void decide_reserve(const struct core *core, uint32_t instance, uint32_t slab_count,
                    const uint8_t *key, const uint64_t *excluded, struct decision *d)
{
    const struct instance *owner = &core->instances[instance];
    uint32_t quota = core_quota_slabs(core, owner);
    uint32_t held = core->held[instance];
    uint32_t counts[CORE_NODES_MAX];
    if (held >= quota && quota > 0) {
        decide_refuse(
            d, CORE_ERROR_REFUSED, "launch it with a larger --far-memory",
            "instance %s holds %u slabs of %lluM, all that its far memory of %lluM allows",
            owner->name, held, MIB_OF(core_pool_slab_bytes(core, CORE_NONE)),
            MIB_OF(owner->far_bytes));
        return;
    }
    uint32_t wanted = MIN(MIN(slab_count, quota - held), CORE_ACQUIRE_SLABS_MAX);
    if (place_slabs(core, wanted, excluded, counts) == 0) {
        char why[CORE_REASON_BYTES];
        place_explain(core, excluded, why, sizeof(why) / 2);
        decide_refuse(
            d, CORE_ERROR_REFUSED,
            "add a memory node, or stop an instance that holds slabs (dilosctl slab list)",
            "no slab is free for instance %s: %s", owner->name, why);
        return;
    }
    struct command *command = decide_command(d, COMMAND_RESERVE);
    command->instance = instance;
    command->generation = core->meta.next_generation;
    memcpy(command->key, key, CORE_KEY_BYTES);
    for (uint32_t node = 0; node < CORE_NODES_MAX; node++) {
        uint32_t index = 0;
        for (uint32_t i = 0; i < counts[node]; i++, index++) {
            index = slab_find_free(core, node, index);
            struct extent extent = {
                .node = node, .first = index, .count = 1, .state = SLAB_RESERVED};
            (void)decide_extent(command, &extent); /* CORE_EXTENTS_MAX is larger */
        }
    }
}

void decide_acquire(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t slot = live_on_agent(core, e, d);
    if (slot == CORE_NONE || acquire_find_key(core, e->key) != CORE_NONE) {
        return; /* refused; or being worked on: the newer request gets the answer */
    }
    if (e->slab_count == 0) {
        decide_refuse(d, CORE_ERROR_INVALID, "ask for at least one", "no slab was asked for");
        return;
    }
    if (acquires_full(core)) {
        decide_refuse(d, CORE_ERROR_UNAVAILABLE, "try again",
                      "%u requests for slabs are being worked on already", CORE_ACQUIRES_MAX);
        return;
    }
    const struct request_key *key = core_find_key(core, e->key);
    if (key != NULL && key->serial != core->instances[slot].serial) {
        decide_refuse(d, CORE_ERROR_INVALID, "use 16 random bytes for each request",
                      "the request key was used for another instance");
        return;
    }
    if (key != NULL && granted_count(core, slot, key->generation) > 0) {
        return; /* repeated: the same slabs */
    }
    decide_reserve(core, slot, e->slab_count, e->key, NULL, d);
}

void decide_grant_done(const struct core *core, const struct core_event *e, struct decision *d)
{
    const struct acquire *a = &core->acquires[e->acquire];
    if (!a->used || a->again || a->generation != e->generation) {
        return;
    }
    struct command *command =
        decide_command(d, e->error == NULL ? COMMAND_GRANTED : COMMAND_GRANT_FAILED);
    command->generation = a->generation;
    for (uint32_t i = 0; i < a->slab_count; i++) {
        const struct acquired_slab *s = &a->slabs[i];
        struct extent extent = {
            .node = s->node, .first = s->index, .count = 1, .generation = a->generation};
        if (s->node != e->node_slot || s->index >= core->nodes[s->node].slab_count) {
            continue;
        }
        const struct slab *slab = slab_at(core, s->node, s->index);
        if (slab->state == SLAB_RESERVED && slab->generation == a->generation) {
            (void)decide_extent(command, &extent);
        }
    }
    if (command->extent_count == 0) {
        d->kind = DECISION_NOTHING; /* the instance ended, or the node lost them meanwhile */
    }
}

void decide_release(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t agent = core_agent_of_session(core, e->session);
    uint32_t slot = core_find_instance_id(core, e->instance_id);
    if (agent == CORE_NONE || slot == CORE_NONE || core->instances[slot].agent != agent) {
        decide_refuse(d, CORE_ERROR_NOT_FOUND, "end it", "instance %s is not known on this agent",
                      e->instance_id);
        return;
    }
    struct command *command = decide_command(d, COMMAND_RELEASE);
    for (uint32_t i = 0; i < e->released_count; i++) {
        const struct released_slab *r = &e->released[i];
        struct extent extent = {.node = core_find_node(core, r->node),
                                .first = r->index,
                                .count = 1,
                                .generation = r->generation};
        if (extent.node == CORE_NONE || r->index >= core->nodes[extent.node].slab_count) {
            continue;
        }
        const struct slab *slab = slab_at(core, extent.node, r->index);
        if (slab->state == SLAB_GRANTED && slab->owner == slot + 1 &&
            slab->generation == r->generation && !decide_extent(command, &extent)) {
            decide_refuse(d, CORE_ERROR_INVALID, "release fewer at a time",
                          "too many slabs are released at once");
            return;
        }
    }
    if (command->extent_count == 0) {
        d->kind = DECISION_NOTHING; /* repeated: all are released already */
    }
}

void decide_revoke_done(const struct core *core, const struct core_event *e, struct decision *d)
{
    uint32_t node = core_node_of_session(core, e->session);
    if (node == CORE_NONE || e->error != NULL) {
        return;
    }
    const struct node_link *link = &core->node_links[node];
    struct command *command = decide_command(d, COMMAND_REVOKED);
    for (uint32_t i = 0; i < link->revoke_count; i++) {
        const struct slab *slab = slab_at(core, node, link->revoke_slabs[i]);
        struct extent extent = {.node = node,
                                .first = link->revoke_slabs[i],
                                .count = 1,
                                .generation = slab->generation};
        if (slab->state == SLAB_REVOKING || slab->state == SLAB_LOST) {
            (void)decide_extent(command, &extent);
        }
    }
    if (command->extent_count == 0) {
        d->kind = DECISION_NOTHING;
    }
}
