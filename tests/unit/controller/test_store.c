/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SQLite store: what is loaded equals what was in memory and what the log makes; after a kill
 * at any moment everything acknowledged is there; files that are not ours are refused.
 */
#include <errno.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "controller/core/codec.h"
#include "controller/core/slabs.h"
#include "controller/engine.h"
#include "lib/base/check.h"
#include "tests/tap.h"

#define SLABS   48u
#define ROUNDS  400u
#define CRASHES 12u

static const struct core_times times = {1000, 3000, 10000, 10000};
static char folder[64];

/* A small world whose members answer at once. */
struct driver {
    struct store *store;
    struct engine *engine;
    uint64_t random, now_ms, session, agent_session, next_id;
};

static uint32_t pick(struct driver *d, uint32_t below)
{
    d->random = d->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(d->random >> 33) % below;
}

static void event(struct driver *d, struct core_event e)
{
    engine_event(d->engine, &e,
                 (struct core_now){.mono_ms = d->now_ms, .wall_ns = d->now_ms * 1000000});
}

static void perform(void *context, const struct action *action)
{
    static const uint8_t keys[CORE_ACQUIRE_SLABS_MAX][CORE_KEY_BYTES];
    static const struct refusal no = {.code = CORE_ERROR_UNAVAILABLE, .message = "no"};
    struct driver *d = context;
    if (action->kind == ACTION_GRANT) {
        event(d, (struct core_event){.kind = CORE_GRANT_DONE,
                                     .acquire = action->acquire,
                                     .generation = action->generation,
                                     .node_slot = action->node,
                                     .error = pick(d, 8) == 0 ? &no : NULL,
                                     .keys = keys});
    } else if (action->kind == ACTION_REVOKE && pick(d, 4) != 0) {
        event(d, (struct core_event){.kind = CORE_REVOKE_DONE, .session = action->session});
    } else if (action->kind == ACTION_START) {
        event(d, (struct core_event){.kind = CORE_REPORT,
                                     .session = d->agent_session,
                                     .instance_id = action->instance_id,
                                     .state = INSTANCE_RUNNING,
                                     .exit_kind = "",
                                     .reason = ""});
    }
}

static void wake(void *context)
{
    (void)context;
}

static void register_node(struct driver *d, uint32_t i)
{
    static const char *const names[] = {"mn0", "mn1", "mn2"};
    struct node node = {.slab_bytes = MIB, .slab_count = SLABS - pick(d, 3)};
    core_text(node.name, sizeof(node.name), names[i]);
    core_text(node.node_id, sizeof(node.node_id), names[i]);
    core_text(node.host, sizeof(node.host), names[i]);
    (void)snprintf(node.arena_id, sizeof(node.arena_id), "%llu", (unsigned long long)++d->next_id);
    event(d,
          (struct core_event){
              .kind = CORE_NODE_REGISTER, .session = ++d->session, .node = &node, .address = "-"});
}

static void register_agent(struct driver *d)
{
    struct agent agent = {.cpu_count = 2};
    core_text(agent.name, sizeof(agent.name), "ag");
    d->agent_session = ++d->session;
    event(d, (struct core_event){.kind = CORE_AGENT_REGISTER,
                                 .session = d->agent_session,
                                 .agent = &agent,
                                 .address = "-"});
}

static void launch(struct driver *d)
{
    char id[CORE_ID_BYTES], name[CORE_NAME_BYTES];
    uint8_t key[CORE_KEY_BYTES] = {0};
    uint64_t number = ++d->next_id;
    memcpy(key, &number, sizeof(number));
    (void)snprintf(id, sizeof(id), "id%llu", (unsigned long long)number);
    (void)snprintf(name, sizeof(name), "i%u", pick(d, 12));
    event(d, (struct core_event){.kind = CORE_LAUNCH,
                                 .key = key,
                                 .name = name,
                                 .instance_id = id,
                                 .agent_name = "",
                                 .local_bytes = MIB,
                                 .far_bytes = 9 * MIB,
                                 .spec = key,
                                 .spec_bytes = sizeof(key)});
}

static void use_instance(struct driver *d)
{
    const struct core *core = engine_core(d->engine);
    const struct instance *instance = &core->instances[pick(d, 12)];
    uint8_t key[CORE_KEY_BYTES] = {0};
    uint64_t number = ++d->next_id;
    memcpy(key, &number, sizeof(number));
    if (instance->used && pick(d, 5) == 0) {
        event(d, (struct core_event){.kind = CORE_REPORT,
                                     .session = d->agent_session,
                                     .instance_id = instance->instance_id,
                                     .state = INSTANCE_EXITED,
                                     .exit_kind = "exited",
                                     .reason = "because"});
    } else if (instance->used) {
        event(d, (struct core_event){.kind = CORE_ACQUIRE,
                                     .session = d->agent_session,
                                     .key = key,
                                     .instance_id = instance->instance_id,
                                     .slab_count = 1 + pick(d, 7)});
    }
}

static void act(struct driver *d)
{
    uint32_t dice = pick(d, 100);
    d->now_ms += 300;
    if (dice < 3) {
        register_node(d, pick(d, 3));
    } else if (dice < 25) {
        launch(d);
    } else {
        use_instance(d);
    }
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t session = engine_core(d->engine)->node_links[i].session;
        event(d, (struct core_event){.kind = CORE_NODE_HEARTBEAT, .session = session});
    }
    event(d, (struct core_event){.kind = CORE_AGENT_HEARTBEAT, .session = d->agent_session});
}

static void driver_open(struct driver *d, const char *path, uint64_t seed)
{
    char error[STORE_ERROR_BYTES];
    *d = (struct driver){.random = seed, .now_ms = 1000};
    CHECK(store_sqlite_open(path, &d->store, error) == 0);
    const struct engine_config config = {.times = times,
                                         .slabs_per_node = SLABS,
                                         .store = d->store,
                                         .cluster_id = "test",
                                         .perform = perform,
                                         .wake = wake,
                                         .context = d};
    CHECK(engine_open(&config, (struct core_now){1000, 1}, &d->engine) == 0);
    for (uint32_t i = 0; i < 3; i++) {
        register_node(d, i);
    }
    register_agent(d);
    CHECK(engine_flush(d->engine) == 0);
}

static struct core *fresh_core(void)
{
    void *memory = mmap(NULL, core_bytes(SLABS), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    return core_init(memory, SLABS, &times);
}

static void drop_core(struct core *core)
{
    (void)munmap(core, core_bytes(SLABS));
}

static void load(const char *path, struct core *core)
{
    char error[STORE_ERROR_BYTES];
    struct store *store;
    CHECK(store_sqlite_open(path, &store, error) == 0);
    EXPECT_EQ(store->ops->load(store, core), 0);
    (void)store->ops->close(store);
}

static void replay(const char *path, struct core *core)
{
    static struct command command;
    sqlite3 *db;
    sqlite3_stmt *rows;
    CHECK(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_prepare_v2(db, "SELECT data FROM log ORDER BY id", -1, &rows, NULL) == SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        CHECK(command_decode(sqlite3_column_blob(rows, 0), (uint32_t)sqlite3_column_bytes(rows, 0),
                             &command) == 0);
        core_apply(core, &command);
    }
    (void)sqlite3_finalize(rows);
    (void)sqlite3_close(db);
}

/* Records byte by byte in their coded form: padding does not count. */
static bool same_bytes(struct core *a, struct core *b, uint32_t slot, int which)
{
    static uint8_t buffers[2][CODEC_BYTES_MAX];
    struct bytes_writer writers[2];
    struct core *cores[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        bytes_writer_init(&writers[i], buffers[i], CODEC_BYTES_MAX);
        struct codec c = {.to = &writers[i]};
        if (which == 0) {
            codec_node(&c, &cores[i]->nodes[slot]);
        } else if (which == 1) {
            codec_agent(&c, &cores[i]->agents[slot]);
        } else if (which == 2) {
            codec_instance(&c, &cores[i]->instances[slot]);
            codec_spec(&c, &cores[i]->specs[slot]);
        } else if (which == 3) {
            codec_key(&c, &cores[i]->keys[slot]);
        } else if (which == 4) {
            codec_history(&c, &cores[i]->history[slot]);
        } else {
            codec_meta(&c, &cores[i]->meta);
        }
    }
    return writers[0].offset == writers[1].offset &&
           memcmp(buffers[0], buffers[1], writers[0].offset) == 0;
}

static bool same_core(struct core *a, struct core *b)
{
    static const uint32_t counts[] = {CORE_NODES_MAX, CORE_AGENTS_MAX,  CORE_INSTANCES_MAX,
                                      CORE_KEYS_MAX,  CORE_HISTORY_MAX, 1};
    bool same = true;
    for (int which = 0; which < 6; which++) {
        for (uint32_t slot = 0; slot < counts[which] && same; slot++) {
            same = same_bytes(a, b, slot, which);
            if (!same) {
                printf("# table %d, slot %u differs\n", which, slot);
            }
        }
    }
    for (uint32_t n = 0; n < CORE_NODES_MAX && same; n++) {
        for (uint32_t s = 0; s < a->nodes[n].slab_count && same; s++) {
            const struct slab *x = slab_at(a, n, s), *y = slab_at(b, n, s);
            same = x->state == y->state && x->owner == y->owner && x->generation == y->generation;
        }
        same = same && memcmp(a->slabs_of[n].count, b->slabs_of[n].count,
                              sizeof(a->slabs_of[n].count)) == 0;
    }
    same = same && memcmp(a->owned, b->owned, sizeof(a->owned)) == 0;
    return same && memcmp(a->held, b->held, sizeof(a->held)) == 0;
}

static const char *path_of(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void test_round_trip(void)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        char name[16];
        struct driver d;
        (void)snprintf(name, sizeof(name), "trip%llu", (unsigned long long)seed);
        driver_open(&d, path_of(name), seed);
        for (uint32_t i = 0; i < ROUNDS; i++) {
            act(&d);
            if (pick(&d, 3) == 0) {
                CHECK(engine_flush(d.engine) == 0);
            }
        }
        CHECK(engine_flush(d.engine) == 0);
        (void)d.store->ops->close(d.store);
        struct core *loaded = fresh_core(), *replayed = fresh_core();
        load(path_of(name), loaded);
        replay(path_of(name), replayed);
        EXPECT(engine_core(d.engine)->meta.applied_index > ROUNDS / 2);
        EXPECT(same_core(engine_core(d.engine), loaded));
        EXPECT(same_core(replayed, loaded));
        loaded->slabs[3].state ^= 1; /* the comparison itself can fail */
        EXPECT(!same_core(replayed, loaded));
        drop_core(loaded);
        drop_core(replayed);
        (void)engine_close(d.engine);
    }
}

/* Acknowledges each flush by its applied index, until it is killed. */
static void child(const char *path, uint64_t seed, int fd)
{
    struct driver d;
    driver_open(&d, path, seed);
    for (;;) {
        uint64_t applied;
        for (uint32_t i = pick(&d, 5); i < 5; i++) {
            act(&d);
        }
        CHECK(engine_flush(d.engine) == 0);
        applied = engine_core(d.engine)->meta.applied_index;
        if (write(fd, &applied, sizeof(applied)) != sizeof(applied)) {
            _exit(1);
        }
    }
}

static void crash_once(uint32_t round)
{
    char name[16];
    int fds[2];
    uint64_t applied = 0, last = 0;
    (void)snprintf(name, sizeof(name), "crash%u", round % 3); /* crashes on top of crashes */
    CHECK(pipe(fds) == 0);
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(fds[0]);
        child(path_of(name), round + 1, fds[1]);
    }
    (void)close(fds[1]);
    uint32_t reads = 1 + round * 3;
    while (reads-- > 0 && read(fds[0], &applied, sizeof(applied)) == sizeof(applied)) {
        last = applied;
    }
    (void)usleep(round * 130);
    CHECK(kill(pid, SIGKILL) == 0);
    while (read(fds[0], &applied, sizeof(applied)) == sizeof(applied)) {
        last = applied;
    }
    (void)close(fds[0]);
    (void)waitpid(pid, NULL, 0);
    struct core *loaded = fresh_core(), *replayed = fresh_core();
    load(path_of(name), loaded);
    replay(path_of(name), replayed);
    EXPECT(last > 0);
    EXPECT(loaded->meta.applied_index >= last);
    EXPECT(same_core(replayed, loaded));
    drop_core(loaded);
    drop_core(replayed);
}

static void test_kill_loses_nothing(void)
{
    for (uint32_t i = 0; i < CRASHES; i++) {
        crash_once(i);
    }
}

static void expect_refused(const char *name, int error, const char *part)
{
    char text[STORE_ERROR_BYTES] = "";
    struct store *store = NULL;
    int result = store_sqlite_open(path_of(name), &store, text);
    EXPECT_EQ(result, error);
    EXPECT(strstr(text, part) != NULL);
    if (result == 0) {
        (void)store->ops->close(store);
    }
}

static void run_sql(const char *name, const char *sql)
{
    sqlite3 *db;
    CHECK(sqlite3_open(path_of(name), &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite3_close(db);
}

static void test_refused_files(void)
{
    FILE *file = fopen(path_of("garbage"), "w");
    CHECK(file != NULL);
    for (int i = 0; i < 5000; i++) {
        (void)fputs("no database", file);
    }
    (void)fclose(file);
    expect_refused("garbage", -EBADMSG, "damaged");
    run_sql("other", "CREATE TABLE t(x)");
    expect_refused("other", -EBADMSG, "not a database of dilos-controller");
    run_sql("trip1", "PRAGMA user_version=99");
    expect_refused("trip1", -EPROTONOSUPPORT, "newer");
    run_sql("trip2", "UPDATE records SET data = x'00' WHERE kind = 1");
    char text[STORE_ERROR_BYTES];
    struct store *store;
    CHECK(store_sqlite_open(path_of("trip2"), &store, text) == 0);
    struct core *core = fresh_core();
    EXPECT_EQ(store->ops->load(store, core), -EBADMSG);
    drop_core(core);
    (void)store->ops->close(store);
    expect_refused("no/such/folder", -EACCES, "can't be opened");
}

int main(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/dilos-store.XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    TAP_RUN(test_round_trip);
    TAP_RUN(test_kill_loses_nothing);
    TAP_RUN(test_refused_files);
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    CHECK(system(command) == 0);
    return tap_done();
}
