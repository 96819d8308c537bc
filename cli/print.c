/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/table.h"
#include "cli/words.h"
#include "lib/base/check.h"
#include "lib/sys/text.h"

const char *print_size(uint64_t bytes)
{
    static char buffers[8][32];
    static uint32_t next;
    return text_format_size(bytes, buffers[next++ % ARRAY_LEN(buffers)]);
}

void print_line(const char *label, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    printf("%-14s %s\n", label, table_tame(text));
    free(text);
}

static bool named_before(Dilos__Counter *const *counters, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (strcmp(counters[i]->name, counters[index]->name) == 0) {
            return true;
        }
    }
    return false;
}

void print_counters(struct json *j, const char *key, Dilos__Counter *const *counters, size_t count)
{
    json_object(j, key);
    for (size_t i = 0; i < count; i++) {
        if (!named_before(counters, i)) {
            json_u64(j, counters[i]->name, counters[i]->value);
        }
    }
    json_object_end(j);
}

void print_health(struct json *j, const char *key, Dilos__Health *const *health, size_t count)
{
    json_array(j, key);
    for (size_t i = 0; i < count; i++) {
        json_object(j, NULL);
        json_text(j, "code", health[i]->code);
        json_text(j, "detail", health[i]->detail);
        json_text(j, "remedy", health[i]->remedy);
        json_object_end(j);
    }
    json_array_end(j);
}

void print_health_lines(const char *subject, Dilos__Health *const *health, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print_line(i == 0 ? "Health" : "", "%s  %s%s%s", health[i]->code, subject,
                   subject[0] == '\0' ? "" : ": ", health[i]->detail);
        if (health[i]->remedy[0] != '\0') {
            print_line("", "  remedy: %s", health[i]->remedy);
        }
    }
}

void print_extents(struct json *j, const char *key, Dilos__SlabInfo *const *extents, size_t count)
{
    json_array(j, key);
    for (size_t i = 0; i < count; i++) {
        const Dilos__SlabInfo *e = extents[i];
        json_object(j, NULL);
        json_text(j, "node", e->node);
        json_u64(j, "slab_first", e->slab_first);
        json_u64(j, "slab_count", e->slab_count);
        json_text(j, "state", words_slab_state(e->state));
        json_text(j, "instance", e->instance);
        json_u64(j, "generation", e->generation);
        json_u64(j, "slab_bytes", e->slab_bytes);
        json_object_end(j);
    }
    json_array_end(j);
}

void print_extent_table(Dilos__SlabInfo *const *extents, size_t count)
{
    static const struct table_column columns[] = {
        {"NODE", false},  {"SLABS", true},     {"COUNT", true},     {"SIZE", true},
        {"STATE", false}, {"INSTANCE", false}, {"GENERATION", true}};
    struct table *t = table_open(columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < count; i++) {
        const Dilos__SlabInfo *e = extents[i];
        table_cell(t, "%s", e->node);
        if (e->slab_count > 1) {
            table_cell(t, "%" PRIu32 "-%" PRIu32, e->slab_first, e->slab_first + e->slab_count - 1);
        } else {
            table_cell(t, "%" PRIu32, e->slab_first);
        }
        table_cell(t, "%" PRIu32, e->slab_count);
        table_cell(t, "%s", print_size(e->slab_count * e->slab_bytes));
        table_cell(t, "%s", words_slab_state(e->state));
        table_cell(t, "%s", e->instance);
        table_cell(t, "%" PRIu64, e->generation);
    }
    table_print(t, stdout);
    table_close(t);
}

static void print_texts(struct json *j, const char *key, char *const *texts, size_t count)
{
    json_array(j, key);
    for (size_t i = 0; i < count; i++) {
        json_text(j, NULL, texts[i]);
    }
    json_array_end(j);
}

static void print_spec(struct json *j, const char *key, const Dilos__InstanceSpec *spec)
{
    json_object(j, key);
    print_texts(j, "arguments", spec->arguments, spec->n_arguments);
    print_texts(j, "environment", spec->environment, spec->n_environment);
    json_text(j, "directory", spec->directory);
    json_u64(j, "local_bytes", spec->local_bytes);
    json_u64(j, "local_bytes_max", spec->local_bytes_max);
    json_u64(j, "far_bytes", spec->far_bytes);
    json_array(j, "files");
    for (size_t i = 0; i < spec->n_files; i++) {
        json_object(j, NULL);
        json_text(j, "host_path", spec->files[i]->host_path);
        json_text(j, "guest_path", spec->files[i]->guest_path);
        json_object_end(j);
    }
    json_array_end(j);
    json_text(j, "image", spec->image);
    json_text(j, "agent", spec->agent);
    json_text(j, "prefetch", spec->prefetch);
    json_bool(j, "measure_device", spec->measure_device);
    json_bool(j, "device_only", spec->device_only);
    json_u64(j, "vcpus", spec->vcpus == 0 ? 1 : spec->vcpus);
    json_object_end(j);
}

static void print_live(struct json *j, const char *key, const Dilos__InstanceLive *live)
{
    json_object(j, key);
    print_counters(j, "counters", live->counters, live->n_counters);
    print_texts(j, "unknown_syscalls", live->unknown_syscalls, live->n_unknown_syscalls);
    json_array(j, "fabrics");
    for (size_t i = 0; i < live->n_fabrics; i++) {
        const Dilos__FabricUse *use = live->fabrics[i];
        json_object(j, NULL);
        json_text(j, "node", use->node);
        json_text(j, "fabric", use->fabric);
        json_u64(j, "slabs", use->slabs);
        json_u64(j, "bytes_read", use->bytes_read);
        json_u64(j, "bytes_written", use->bytes_written);
        json_text(j, "fallback_reason", use->fallback_reason);
        json_u64(j, "breaks", use->breaks);
        json_object_end(j);
    }
    json_array_end(j);
    json_u64(j, "local_bytes", live->local_bytes);
    json_u64(j, "local_bytes_max", live->local_bytes_max);
    json_u64(j, "far_bytes", live->far_bytes);
    json_text(j, "prefetch", live->prefetch);
    print_health(j, "health", live->health, live->n_health);
    json_object_end(j);
}

void print_instance(struct json *j, const char *key, const Dilos__InstanceInfo *info, bool detailed)
{
    json_object(j, key);
    json_text(j, "name", info->name);
    json_text(j, "instance_id", info->instance_id);
    json_text(j, "state", words_instance_state(info->state));
    json_text(j, "agent", info->agent);
    json_text(j, "exit_kind", info->exit_kind);
    json_i64(j, "exit_code", info->exit_code);
    json_text(j, "reason", info->reason);
    json_u64(j, "created_ns", info->created_ns);
    json_u64(j, "started_ns", info->started_ns);
    json_u64(j, "ended_ns", info->ended_ns);
    json_u64(j, "slabs_held", info->slabs_held);
    if (info->spec != NULL) {
        print_spec(j, "spec", info->spec);
    }
    if (detailed) {
        print_extents(j, "extents", info->extents, info->n_extents);
        json_bool(j, "extents_cut", info->extents_cut);
        if (info->live != NULL) {
            print_live(j, "live", info->live);
        } else {
            json_null(j, "live");
        }
        json_text(j, "live_error", info->live_error);
    }
    json_object_end(j);
}

void print_instance_json(const Dilos__InstanceInfo *info)
{
    struct json j;
    json_init(&j, stdout, false);
    print_instance(&j, NULL, info, false);
    json_fini(&j);
}

static bool has_ended(const Dilos__InstanceInfo *info)
{
    return info->state == DILOS__INSTANCE_STATE__INSTANCE_EXITED ||
           info->state == DILOS__INSTANCE_STATE__INSTANCE_FAILED;
}

char *print_outcome(const Dilos__InstanceInfo *info, char *to, size_t capacity)
{
    const char *kind = info->exit_kind[0] == '\0' ? "failed" : info->exit_kind;
    const char *separator = info->reason[0] == '\0' ? "" : ": ";
    if (!has_ended(info)) {
        snprintf(to, capacity, "%s", "");
    } else if (strcmp(kind, "exited") == 0) {
        snprintf(to, capacity, "exited with status %" PRId32 "%s%s", info->exit_code, separator,
                 info->reason);
    } else if (strcmp(kind, "signaled") == 0) {
        snprintf(to, capacity, "killed by signal %" PRId32 "%s%s", info->exit_code, separator,
                 info->reason);
    } else {
        snprintf(to, capacity, "%s%s%s", kind, separator, info->reason);
    }
    return to;
}
