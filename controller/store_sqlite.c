/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on SQLite: one connection, WAL, synchronous=FULL. A batch is one transaction: its
 * commands, and the records that they changed. The records are what is loaded; the log is for
 * audit, and so that tests can compare replaying with loading.
 *
 * One connection only: SQLite 3.40.1 has a WAL-reset race between two.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/codec.h"
#include "controller/core/slabs.h"
#include "controller/store.h"
#include "lib/base/check.h"

#define APPLICATION_ID 0x44694c4f /* "DiLO" */
#define SCHEMA_VERSION 1
#define LOG_KEPT       100000 /* commands; older ones are forgotten */

enum record_kind {
    RECORD_META,
    RECORD_NODE,
    RECORD_AGENT,
    RECORD_INSTANCE,
    RECORD_SPEC,
    RECORD_KEY,
    RECORD_HISTORY,
    RECORD_KIND_COUNT
};

enum statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    PUT_LOG,
    TRIM_LOG,
    PUT_RECORD,
    DROP_RECORD,
    DROP_EXTENTS,
    PUT_EXTENT,
    STATEMENT_COUNT
};

static const char *const statement_texts[STATEMENT_COUNT] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [PUT_LOG] = "INSERT INTO log(id, command, data) VALUES (?1, ?2, ?3)",
    [TRIM_LOG] = "DELETE FROM log WHERE id <= ?1",
    [PUT_RECORD] = "INSERT OR REPLACE INTO records(kind, slot, name, data) VALUES (?1, ?2, ?3, ?4)",
    [DROP_RECORD] = "DELETE FROM records WHERE kind = ?1 AND slot = ?2",
    [DROP_EXTENTS] = "DELETE FROM extents WHERE node = ?1 AND first >= ?2 AND first < ?3",
    [PUT_EXTENT] = ("INSERT INTO extents(node, first, count, state, owner, generation) "
                    "VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS log(id INTEGER PRIMARY KEY, command TEXT NOT NULL, "
    "data BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS records(kind INTEGER NOT NULL, slot INTEGER NOT NULL, "
    "name TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY(kind, slot)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS extents(node INTEGER NOT NULL, first INTEGER NOT NULL, "
    "count INTEGER NOT NULL, state INTEGER NOT NULL, owner INTEGER NOT NULL, "
    "generation INTEGER NOT NULL, PRIMARY KEY(node, first)) WITHOUT ROWID;";

struct store_sqlite {
    struct store store;
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENT_COUNT];
    uint8_t *buffer; /* CODEC_BYTES_MAX */
};

/* Foreign codes end here. */
static int error_of(int sqlite_code)
{
    switch (sqlite_code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return -EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EBADMSG;
    default:
        return -EIO;
    }
}

static int run(struct store_sqlite *s, enum statement which)
{
    int result = sqlite3_step(s->statements[which]);
    int reset = sqlite3_reset(s->statements[which]);
    return error_of(result == SQLITE_DONE ? reset : result);
}

static int put_log(struct store_sqlite *s, const struct store_batch *batch)
{
    const uint8_t *data = batch->data;
    sqlite3_stmt *put = s->statements[PUT_LOG];
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t kind = le32_load(data);
        sqlite3_bind_int64(put, 1, (sqlite3_int64)(batch->first_index + i));
        sqlite3_bind_text(put, 2, command_name((enum command_kind)kind), -1, SQLITE_STATIC);
        sqlite3_bind_blob(put, 3, data, (int)batch->lengths[i], SQLITE_STATIC);
        int result = run(s, PUT_LOG);
        if (result != 0) {
            return result;
        }
        data += batch->lengths[i];
    }
    uint64_t last = batch->first_index + batch->count;
    sqlite3_bind_int64(s->statements[TRIM_LOG], 1,
                       last > LOG_KEPT ? (sqlite3_int64)(last - LOG_KEPT) : 0);
    return run(s, TRIM_LOG);
}

static int put_record(struct store_sqlite *s, enum record_kind kind, uint64_t slot,
                      const char *name, const struct bytes_writer *writer)
{
    sqlite3_stmt *put = s->statements[PUT_RECORD];
    CHECK(writer->ok);
    sqlite3_bind_int(put, 1, (int)kind);
    sqlite3_bind_int64(put, 2, (sqlite3_int64)slot);
    sqlite3_bind_text(put, 3, name, -1, SQLITE_STATIC);
    sqlite3_bind_blob(put, 4, writer->data, (int)writer->offset, SQLITE_STATIC);
    return run(s, PUT_RECORD);
}

static int drop_record(struct store_sqlite *s, enum record_kind kind, uint64_t slot)
{
    sqlite3_bind_int(s->statements[DROP_RECORD], 1, (int)kind);
    sqlite3_bind_int64(s->statements[DROP_RECORD], 2, (sqlite3_int64)slot);
    return run(s, DROP_RECORD);
}

/* One record, either way. Its name is for people who read the database. */
static const char *code_record(struct codec *c, struct core *core, enum record_kind kind,
                               uint32_t slot)
{
    switch (kind) {
    case RECORD_META:
        codec_meta(c, &core->meta);
        return "meta";
    case RECORD_NODE:
        codec_node(c, &core->nodes[slot]);
        return core->nodes[slot].name;
    case RECORD_AGENT:
        codec_agent(c, &core->agents[slot]);
        return core->agents[slot].name;
    case RECORD_INSTANCE:
        codec_instance(c, &core->instances[slot]);
        return core->instances[slot].name;
    case RECORD_SPEC:
        codec_spec(c, &core->specs[slot]);
        return core->instances[slot].name;
    case RECORD_KEY:
        codec_key(c, &core->keys[slot]);
        return "";
    default:
        codec_history(c, &core->history[slot]);
        return core->history[slot].kind;
    }
}

static bool is_used(const struct core *core, enum record_kind kind, uint32_t slot)
{
    return (kind != RECORD_INSTANCE && kind != RECORD_SPEC) || core->instances[slot].used;
}

static int put_records(struct store_sqlite *s, const struct core *core, enum record_kind kind,
                       const uint64_t *dirty, uint32_t slot_count)
{
    int result = 0;
    for (uint64_t slot = bitmap_find(dirty, slot_count, 0, true); slot < slot_count && result == 0;
         slot = bitmap_find(dirty, slot_count, slot + 1, true)) {
        if (!is_used(core, kind, (uint32_t)slot)) {
            result = drop_record(s, kind, slot);
            continue;
        }
        struct bytes_writer writer;
        bytes_writer_init(&writer, s->buffer, CODEC_BYTES_MAX);
        struct codec c = {.to = &writer};
        const char *name = code_record(&c, (struct core *)(uintptr_t)core, kind, (uint32_t)slot);
        result = put_record(s, kind, slot, name, &writer);
    }
    return result;
}

static int put_extent(struct store_sqlite *s, const struct extent *extent)
{
    sqlite3_stmt *put = s->statements[PUT_EXTENT];
    sqlite3_bind_int64(put, 1, extent->node);
    sqlite3_bind_int64(put, 2, extent->first);
    sqlite3_bind_int64(put, 3, extent->count);
    sqlite3_bind_int64(put, 4, (sqlite3_int64)extent->state);
    sqlite3_bind_int64(put, 5, extent->owner);
    sqlite3_bind_int64(put, 6, (sqlite3_int64)extent->generation);
    return run(s, PUT_EXTENT);
}

/*
 * Rewrites the extents of a node that touch its changed slabs. Stored extents are maximal, so the
 * one before the first change still begins where the extent of its last unchanged slab begins.
 */
static int put_extents(struct store_sqlite *s, const struct core *core, uint32_t node)
{
    const struct node_slabs *slabs = &core->slabs_of[node];
    uint32_t slab_count = core->nodes[node].slab_count;
    uint32_t first = MIN(slabs->dirty_first, slab_count);
    uint32_t end = MIN(slabs->dirty_end, slab_count);
    if (first > 0) {
        first = slab_extent_start(core, node, first - 1);
    }
    if (end < slab_count) {
        struct extent last = slab_extent(core, node, end);
        end = last.first + last.count;
    }
    sqlite3_stmt *drop = s->statements[DROP_EXTENTS];
    sqlite3_bind_int64(drop, 1, node);
    sqlite3_bind_int64(drop, 2, first);
    sqlite3_bind_int64(drop, 3, end == slab_count ? INT64_MAX : (sqlite3_int64)end);
    int result = run(s, DROP_EXTENTS);
    while (result == 0 && first < end) {
        struct extent extent = slab_extent(core, node, first);
        if (extent.state != SLAB_FREE) {
            result = put_extent(s, &extent);
        }
        first += extent.count;
    }
    return result;
}

static int put_state(struct store_sqlite *s, const struct core *core)
{
    static const uint64_t only[1] = {1};
    const struct {
        enum record_kind kind;
        const uint64_t *dirty;
        uint32_t slot_count;
    } tables[] = {
        {RECORD_META, only, 1},
        {RECORD_NODE, core->dirty.nodes, CORE_NODES_MAX},
        {RECORD_AGENT, core->dirty.agents, CORE_AGENTS_MAX},
        {RECORD_INSTANCE, core->dirty.instances, CORE_INSTANCES_MAX},
        {RECORD_SPEC, core->dirty.specs, CORE_INSTANCES_MAX},
        {RECORD_KEY, core->dirty.keys, CORE_KEYS_MAX},
        {RECORD_HISTORY, core->dirty.history, CORE_HISTORY_MAX},
    };
    int result = 0;
    for (uint32_t i = 0; i < ARRAY_LEN(tables) && result == 0; i++) {
        result = put_records(s, core, tables[i].kind, tables[i].dirty, tables[i].slot_count);
    }
    for (uint32_t node = 0; node < CORE_NODES_MAX && result == 0; node++) {
        if (core->slabs_of[node].dirty_end > 0) {
            result = put_extents(s, core, node);
        }
    }
    return result;
}

static int sqlite_append(struct store *store, const struct core *core,
                         const struct store_batch *batch)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, store);
    int result = run(s, BEGIN);
    if (result != 0) {
        return result;
    }
    result = put_log(s, batch);
    result = result == 0 ? put_state(s, core) : result;
    result = result == 0 ? run(s, COMMIT) : result;
    if (result != 0) {
        (void)run(s, ROLLBACK);
    }
    return result;
}

static int load_record(struct core *core, sqlite3_stmt *row)
{
    static const uint32_t slot_counts[RECORD_KIND_COUNT] = {1,
                                                            CORE_NODES_MAX,
                                                            CORE_AGENTS_MAX,
                                                            CORE_INSTANCES_MAX,
                                                            CORE_INSTANCES_MAX,
                                                            CORE_KEYS_MAX,
                                                            CORE_HISTORY_MAX};
    sqlite3_int64 kind = sqlite3_column_int64(row, 0);
    sqlite3_int64 slot = sqlite3_column_int64(row, 1);
    if (kind < 0 || kind >= RECORD_KIND_COUNT || slot < 0 || slot >= slot_counts[kind]) {
        return -EBADMSG;
    }
    struct bytes_reader reader;
    bytes_reader_init(&reader, sqlite3_column_blob(row, 2), (size_t)sqlite3_column_bytes(row, 2));
    struct codec c = {.from = &reader};
    (void)code_record(&c, core, (enum record_kind)kind, (uint32_t)slot);
    return codec_end(&c);
}

static int load_extent(struct core *core, sqlite3_stmt *row)
{
    sqlite3_int64 v[6];
    for (int i = 0; i < 6; i++) {
        v[i] = sqlite3_column_int64(row, i);
    }
    if (v[0] < 0 || v[0] >= CORE_NODES_MAX || v[3] <= SLAB_FREE || v[3] >= SLAB_STATE_COUNT ||
        v[4] < 0 || v[4] > CORE_INSTANCES_MAX || v[5] <= 0) {
        return -EBADMSG;
    }
    sqlite3_int64 slab_count = core->nodes[v[0]].slab_count;
    if (v[1] < 0 || v[2] <= 0 || v[1] >= slab_count || v[2] > slab_count - v[1]) {
        return -EBADMSG;
    }
    const struct extent extent = {.node = (uint32_t)v[0],
                                  .first = (uint32_t)v[1],
                                  .count = (uint32_t)v[2],
                                  .state = (enum slab_state)v[3],
                                  .owner = (uint32_t)v[4],
                                  .generation = (uint64_t)v[5]};
    slab_load(core, &extent);
    return 0;
}

static int load_rows(struct store_sqlite *s, struct core *core, const char *query,
                     int (*load)(struct core *, sqlite3_stmt *))
{
    sqlite3_stmt *rows = NULL;
    int result = error_of(sqlite3_prepare_v2(s->db, query, -1, &rows, NULL));
    while (result == 0) {
        int step = sqlite3_step(rows);
        if (step != SQLITE_ROW) {
            result = error_of(step);
            break;
        }
        result = load(core, rows);
    }
    (void)sqlite3_finalize(rows);
    return result;
}

/* What codec_end() can't know: that the records fit this core and each other. */
static int check_loaded(const struct core *core)
{
    for (uint32_t i = 0; i < CORE_NODES_MAX; i++) {
        if (core->nodes[i].slab_count > core->slabs_per_node) {
            return -EBADMSG;
        }
    }
    return 0;
}

static int sqlite_load(struct store *store, struct core *core)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, store);
    int result = load_rows(s, core, "SELECT kind, slot, data FROM records", load_record);
    result = result == 0 ? check_loaded(core) : result;
    result =
        result == 0
            ? load_rows(s, core, "SELECT node, first, count, state, owner, generation FROM extents",
                        load_extent)
            : result;
    if (result == 0) {
        core_derive(core);
        core_clean(core);
    }
    return result;
}

static struct store *sqlite_close(struct store *store)
{
    struct store_sqlite *s = container_of(store, struct store_sqlite, store);
    for (uint32_t i = 0; i < STATEMENT_COUNT; i++) {
        (void)sqlite3_finalize(s->statements[i]);
    }
    (void)sqlite3_close(s->db);
    free(s->buffer);
    free(s);
    return NULL;
}

static int query_number(sqlite3 *db, const char *query, sqlite3_int64 *ret)
{
    sqlite3_stmt *row = NULL;
    int result = sqlite3_prepare_v2(db, query, -1, &row, NULL);
    if (result == SQLITE_OK) {
        result = sqlite3_step(row);
        *ret = result == SQLITE_ROW ? sqlite3_column_int64(row, 0) : 0;
        result = result == SQLITE_ROW ? SQLITE_OK : result;
    }
    (void)sqlite3_finalize(row);
    return error_of(result);
}

static bool is_sound(sqlite3 *db)
{
    sqlite3_stmt *row = NULL;
    bool sound = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &row, NULL) == SQLITE_OK &&
                 sqlite3_step(row) == SQLITE_ROW &&
                 strcmp((const char *)sqlite3_column_text(row, 0), "ok") == 0;
    (void)sqlite3_finalize(row);
    return sound;
}

/* Is it ours, whole, and not from the future? Empty files are fine. */
static int check_database(sqlite3 *db, const char *path, char *ret_error)
{
    sqlite3_int64 application = 0, version = 0, tables = 0;
    int result = query_number(db, "PRAGMA application_id", &application);
    result = result == 0 ? query_number(db, "PRAGMA user_version", &version) : result;
    result = result == 0 ? query_number(db, "SELECT count(*) FROM sqlite_master", &tables) : result;
    if (result == -EBADMSG || (result == 0 && !is_sound(db))) {
        (void)snprintf(ret_error, STORE_ERROR_BYTES,
                       "the database %s is damaged; restore it from a backup, or move it away: the "
                       "controller then starts empty, and members with data of before are refused",
                       path);
        return -EBADMSG;
    }
    if (result != 0) {
        (void)snprintf(ret_error, STORE_ERROR_BYTES, "the database %s can't be read: %s", path,
                       sqlite3_errmsg(db));
        return result;
    }
    if (tables > 0 && application != APPLICATION_ID) {
        (void)snprintf(ret_error, STORE_ERROR_BYTES,
                       "%s is not a database of dilos-controller; use another --state folder",
                       path);
        return -EBADMSG;
    }
    if (version > SCHEMA_VERSION) {
        (void)snprintf(ret_error, STORE_ERROR_BYTES,
                       "the database %s was written by a newer dilos-controller (schema %lld, this "
                       "one knows %d); use that version",
                       path, version, SCHEMA_VERSION);
        return -EPROTONOSUPPORT;
    }
    return 0;
}

static int prepare(struct store_sqlite *s, const char *path, char *ret_error)
{
    char pragmas[256];
    (void)snprintf(pragmas, sizeof(pragmas),
                   "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                   "PRAGMA synchronous=FULL; PRAGMA application_id=%d; PRAGMA user_version=%d;",
                   APPLICATION_ID, SCHEMA_VERSION);
    int result = check_database(s->db, path, ret_error);
    if (result != 0) {
        return result;
    }
    result = sqlite3_exec(s->db, pragmas, NULL, NULL, NULL);
    result = result == SQLITE_OK ? sqlite3_exec(s->db, schema, NULL, NULL, NULL) : result;
    for (uint32_t i = 0; i < STATEMENT_COUNT && result == SQLITE_OK; i++) {
        result = sqlite3_prepare_v2(s->db, statement_texts[i], -1, &s->statements[i], NULL);
    }
    if (result != SQLITE_OK) {
        (void)snprintf(ret_error, STORE_ERROR_BYTES, "the database %s can't be written: %s", path,
                       sqlite3_errmsg(s->db));
    }
    return error_of(result);
}

int store_sqlite_open(const char *path, struct store **ret, char *ret_error)
{
    static const struct store_ops ops = {
        .append = sqlite_append, .load = sqlite_load, .close = sqlite_close};
    struct store_sqlite *s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->store.ops = &ops;
    s->buffer = malloc(CODEC_BYTES_MAX);
    int result = s->buffer == NULL ? -ENOMEM : 0;
    if (result == 0) {
        result = error_of(
            sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL));
        if (result != 0) {
            (void)snprintf(ret_error, STORE_ERROR_BYTES, "the database %s can't be opened: %s",
                           path, sqlite3_errmsg(s->db));
        }
    }
    result = result == 0 ? prepare(s, path, ret_error) : result;
    if (result != 0) {
        (void)sqlite_close(&s->store);
        return result;
    }
    *ret = &s->store;
    return 0;
}
