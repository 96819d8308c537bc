/* SPDX-License-Identifier: Apache-2.0 */
/* A store in memory for tests: nothing but the log; loading replays it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/codec.h"
#include "controller/store.h"
#include "lib/base/check.h"

struct sim_entry {
    struct sim_entry *next;
    uint32_t length;
    uint8_t data[];
};

struct store_sim {
    struct store store;
    struct sim_entry *first;
    struct sim_entry **end;
    struct command *scratch;
};

static int sim_append(struct store *store, const struct core *core, const struct store_batch *batch)
{
    struct store_sim *sim = container_of(store, struct store_sim, store);
    const uint8_t *data = batch->data;
    for (uint32_t i = 0; i < batch->count; i++) {
        struct sim_entry *entry = malloc(sizeof(*entry) + batch->lengths[i]);
        if (entry == NULL) {
            return -ENOMEM;
        }
        entry->next = NULL;
        entry->length = batch->lengths[i];
        memcpy(entry->data, data, entry->length);
        data += entry->length;
        *sim->end = entry;
        sim->end = &entry->next;
    }
    (void)core;
    return 0;
}

static int sim_load(struct store *store, struct core *core)
{
    struct store_sim *sim = container_of(store, struct store_sim, store);
    for (const struct sim_entry *entry = sim->first; entry != NULL; entry = entry->next) {
        int result = command_decode(entry->data, entry->length, sim->scratch);
        if (result != 0) {
            return result;
        }
        core_apply(core, sim->scratch);
    }
    return 0;
}

static struct store *sim_close(struct store *store)
{
    struct store_sim *sim = container_of(store, struct store_sim, store);
    while (sim->first != NULL) {
        struct sim_entry *next = sim->first->next;
        free(sim->first);
        sim->first = next;
    }
    free(sim->scratch);
    free(sim);
    return NULL;
}

struct store *store_sim_open(void)
{
    static const struct store_ops ops = {
        .append = sim_append, .load = sim_load, .close = sim_close};
    struct store_sim *sim = calloc(1, sizeof(*sim));
    CHECK(sim != NULL);
    sim->scratch = calloc(1, sizeof(*sim->scratch));
    CHECK(sim->scratch != NULL);
    sim->store.ops = &ops;
    sim->end = &sim->first;
    return &sim->store;
}
