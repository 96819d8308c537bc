/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "controller/core/codec.h"
#include "lib/base/check.h"

#define BATCH_COMMANDS_MAX 4096u
#define BATCH_BYTES_MAX    (CODEC_BYTES_MAX + (8u << 20))

struct engine {
    struct engine_config config;
    struct core *core;
    size_t core_length;
    struct decision *scratch;
    struct action_queue *waiting;
    struct action_queue *performing;
    bool is_performing;
    bool is_awake;
    int broken; /* the error after which the store is behind the core */
    struct store_batch batch;
    uint32_t batch_bytes;
    uint32_t batch_lengths[BATCH_COMMANDS_MAX];
};

static void log_command(void *context, struct command *command)
{
    struct engine *engine = context;
    struct store_batch *batch = &engine->batch;
    CHECK(batch->count < BATCH_COMMANDS_MAX);
    if (batch->count == 0) {
        batch->first_index = engine->core->meta.applied_index;
    }
    CHECK(engine->batch_bytes + CODEC_BYTES_MAX <= BATCH_BYTES_MAX);
    uint32_t length = command_encode(command, batch->data + engine->batch_bytes);
    batch->lengths[batch->count++] = length;
    engine->batch_bytes += length;
}

static int commit(struct engine *engine)
{
    struct store_batch *batch = &engine->batch;
    if (batch->count == 0 || engine->broken != 0) {
        return engine->broken;
    }
    engine->broken = engine->config.store->ops->append(engine->config.store, engine->core, batch);
    if (engine->broken == 0) {
        core_clean(engine->core);
        batch->count = 0;
        engine->batch_bytes = 0;
    }
    return engine->broken;
}

/* A step logs no more than this. */
static bool is_full(const struct engine *engine)
{
    return engine->batch.count + 2 * CORE_INSTANCES_MAX > BATCH_COMMANDS_MAX ||
           engine->batch_bytes + 3 * CODEC_BYTES_MAX > BATCH_BYTES_MAX;
}

void engine_event(struct engine *engine, const struct core_event *event, struct core_now now)
{
    if (is_full(engine)) {
        (void)commit(engine); /* kept in `broken` */
    }
    if (engine->broken == 0) {
        core_step(engine->core, event, now, engine->scratch, engine->waiting, log_command, engine);
    }
    if (!engine->is_performing && engine->waiting->count + ACTIONS_PER_STEP > ACTIONS_MAX) {
        engine->broken = engine_flush(engine);
    }
    if (!engine->is_awake &&
        (engine->waiting->count > 0 || engine->batch.count > 0 || engine->broken != 0)) {
        engine->is_awake = true;
        engine->config.wake(engine->config.context);
    }
}

int engine_flush(struct engine *engine)
{
    CHECK(!engine->is_performing);
    engine->is_performing = true;
    engine->is_awake = true;
    int result = commit(engine);
    while (result == 0 && engine->waiting->count > 0) {
        struct action_queue *actions = engine->waiting;
        engine->waiting = engine->performing;
        engine->performing = actions;
        for (uint32_t i = 0; i < actions->count; i++) {
            engine->config.perform(engine->config.context, &actions->items[i]);
            if (actions->items[i].kind == ACTION_REPLY_SLABS) {
                core_acquire_done(engine->core, actions->items[i].acquire);
            }
        }
        actions->count = 0;
        result = commit(engine);
    }
    engine->is_performing = false;
    engine->is_awake = false;
    return result;
}

struct core *engine_core(struct engine *engine)
{
    return engine->core;
}

struct engine *engine_close(struct engine *engine)
{
    if (engine != NULL) {
        if (engine->core != NULL) {
            (void)munmap(engine->core, engine->core_length);
        }
        free(engine->scratch);
        free(engine->waiting);
        free(engine->performing);
        free(engine->batch.data);
        free(engine);
    }
    return NULL;
}

static int allocate(struct engine *engine)
{
    engine->core_length = core_bytes(engine->config.slabs_per_node);
    void *memory = mmap(NULL, engine->core_length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return -ENOMEM;
    }
    engine->core = core_init(memory, engine->config.slabs_per_node, &engine->config.times);
    engine->scratch = calloc(1, sizeof(*engine->scratch));
    engine->waiting = calloc(1, sizeof(*engine->waiting));
    engine->performing = calloc(1, sizeof(*engine->performing));
    engine->batch.data = malloc(BATCH_BYTES_MAX);
    engine->batch.lengths = engine->batch_lengths;
    return engine->scratch == NULL || engine->waiting == NULL || engine->performing == NULL ||
                   engine->batch.data == NULL
               ? -ENOMEM
               : 0;
}

int engine_open(const struct engine_config *config, struct core_now now, struct engine **ret)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL) {
        return -ENOMEM;
    }
    engine->config = *config;
    int result = allocate(engine);
    result = result == 0 ? config->store->ops->load(config->store, engine->core) : result;
    if (result == 0) {
        const struct core_event boot = {.kind = CORE_BOOT, .cluster_id = config->cluster_id};
        engine->is_awake = true; /* nobody has to be woken: it is committed here */
        engine_event(engine, &boot, now);
        result = engine_flush(engine);
    }
    if (result != 0) {
        (void)engine_close(engine);
        return result;
    }
    *ret = engine;
    return 0;
}
