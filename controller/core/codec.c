/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/core/codec.h"

#include <errno.h>
#include <string.h>

#include "lib/base/check.h"

static void code_u64(struct codec *c, uint64_t *v)
{
    if (c->to != NULL) {
        bytes_put_u64(c->to, *v);
    } else {
        *v = bytes_get_u64(c->from);
    }
}

static void code_u32(struct codec *c, uint32_t *v)
{
    if (c->to != NULL) {
        bytes_put_u32(c->to, *v);
    } else {
        *v = bytes_get_u32(c->from);
    }
}

static void fail(struct codec *c)
{
    if (c->from != NULL) {
        c->from->ok = false;
    }
}

/* A number below `limit`; what is read beyond that becomes 0 and an error. */
static void code_below(struct codec *c, uint32_t *v, uint32_t limit)
{
    code_u32(c, v);
    if (*v >= limit) {
        CHECK(c->to == NULL);
        *v = 0;
        fail(c);
    }
}

static void code_bool(struct codec *c, bool *v)
{
    uint32_t number = *v ? 1 : 0;
    code_below(c, &number, 2);
    *v = number != 0;
}

static void code_bytes(struct codec *c, uint8_t *data, uint32_t bytes)
{
    if (c->to != NULL) {
        bytes_put(c->to, data, bytes);
        return;
    }
    const uint8_t *from = bytes_get(c->from, bytes);
    if (from != NULL) {
        memcpy(data, from, bytes);
    }
}

static void code_text(struct codec *c, char *text, uint32_t bytes)
{
    uint32_t length = c->to != NULL ? (uint32_t)strlen(text) : 0;
    code_below(c, &length, bytes);
    code_bytes(c, (uint8_t *)text, length);
    if (c->from != NULL) {
        memset(text + length, 0, bytes - length);
        if (!c->from->ok || memchr(text, 0, length) != NULL) {
            memset(text, 0, bytes);
            fail(c);
        }
    }
}

#define CODE_TEXT(c, array) code_text(c, array, sizeof(array))

#define CODE_STATE(c, field, limit)                                                                \
    do {                                                                                           \
        uint32_t number = (uint32_t)(field);                                                       \
        code_below(c, &number, limit);                                                             \
        (field) = number;                                                                          \
    } while (0)

void codec_meta(struct codec *c, struct core_meta *meta)
{
    CODE_TEXT(c, meta->cluster_id);
    code_u64(c, &meta->epoch);
    code_u64(c, &meta->applied_index);
    code_u64(c, &meta->next_generation);
    code_u64(c, &meta->next_serial);
    code_u64(c, &meta->history_count);
    code_u64(c, &meta->key_count);
}

static void code_labels(struct codec *c, struct labels *labels)
{
    code_below(c, &labels->count, CORE_LABELS_MAX + 1);
    for (uint32_t i = 0; i < labels->count; i++) {
        CODE_TEXT(c, labels->items[i].key);
        CODE_TEXT(c, labels->items[i].value);
    }
}

void codec_node(struct codec *c, struct node *node)
{
    code_bool(c, &node->used);
    CODE_STATE(c, node->state, NODE_STATE_COUNT);
    code_bool(c, &node->cordoned);
    CODE_TEXT(c, node->name);
    CODE_TEXT(c, node->node_id);
    CODE_TEXT(c, node->arena_id);
    CODE_TEXT(c, node->host);
    code_labels(c, &node->labels);
    code_u64(c, &node->slab_bytes);
    code_below(c, &node->slab_count, CORE_SLABS_PER_NODE_MAX + 1);
    CODE_TEXT(c, node->endpoint.host_id);
    CODE_TEXT(c, node->endpoint.tcp_address);
    CODE_TEXT(c, node->endpoint.shm_path);
    CODE_TEXT(c, node->endpoint.verbs_address);
}

void codec_agent(struct codec *c, struct agent *agent)
{
    code_bool(c, &agent->used);
    code_bool(c, &agent->up);
    CODE_TEXT(c, agent->name);
    CODE_TEXT(c, agent->agent_id);
    CODE_TEXT(c, agent->host);
    CODE_TEXT(c, agent->host_id);
    CODE_TEXT(c, agent->accelerator);
    code_labels(c, &agent->labels);
    code_u64(c, &agent->memory_bytes);
    code_u32(c, &agent->cpu_count);
}

void codec_instance(struct codec *c, struct instance *instance)
{
    code_bool(c, &instance->used);
    CODE_STATE(c, instance->state, INSTANCE_STATE_COUNT);
    code_u64(c, &instance->serial);
    CODE_TEXT(c, instance->name);
    CODE_TEXT(c, instance->instance_id);
    code_below(c, &instance->agent, CORE_AGENTS_MAX);
    code_u64(c, &instance->local_bytes);
    code_u64(c, &instance->far_bytes);
    CODE_TEXT(c, instance->exit_kind);
    code_u32(c, (uint32_t *)&instance->exit_code);
    CODE_TEXT(c, instance->reason);
    CODE_TEXT(c, instance->lost);
    code_u64(c, &instance->created_ns);
    code_u64(c, &instance->started_ns);
    code_u64(c, &instance->ended_ns);
}

void codec_spec(struct codec *c, struct instance_spec *spec)
{
    code_below(c, &spec->bytes, CORE_SPEC_BYTES + 1);
    code_bytes(c, spec->data, spec->bytes);
}

void codec_key(struct codec *c, struct request_key *key)
{
    code_bytes(c, key->key, CORE_KEY_BYTES);
    code_u64(c, &key->serial);
    code_u64(c, &key->generation);
}

void codec_history(struct codec *c, struct history *history)
{
    code_u64(c, &history->index);
    code_u64(c, &history->time_ns);
    CODE_TEXT(c, history->kind);
    CODE_TEXT(c, history->subject);
    CODE_TEXT(c, history->detail);
}

void codec_extent(struct codec *c, struct extent *extent)
{
    code_below(c, &extent->node, CORE_NODES_MAX);
    code_below(c, &extent->first, CORE_SLABS_PER_NODE_MAX);
    code_below(c, &extent->count, CORE_SLABS_PER_NODE_MAX + 1);
    CODE_STATE(c, extent->state, SLAB_STATE_COUNT);
    code_below(c, &extent->owner, CORE_INSTANCES_MAX + 1);
    code_u64(c, &extent->generation);
}

static void code_extents(struct codec *c, struct command *command)
{
    code_below(c, &command->extent_count, CORE_EXTENTS_MAX + 1);
    for (uint32_t i = 0; i < command->extent_count; i++) {
        codec_extent(c, &command->extents[i]);
    }
}

static void code_command(struct codec *c, struct command *command)
{
    uint32_t kind = command->kind;
    code_below(c, &kind, COMMAND_KIND_COUNT);
    command->kind = (enum command_kind)kind;
    code_u64(c, &command->time_ns);
    CODE_TEXT(c, command->cluster_id);
    code_below(c, &command->node, CORE_NODES_MAX);
    code_below(c, &command->agent, CORE_AGENTS_MAX);
    code_below(c, &command->instance, CORE_INSTANCES_MAX);
    code_u32(c, &command->state);
    code_u64(c, &command->generation);
    code_bytes(c, command->key, CORE_KEY_BYTES);
    code_u32(c, (uint32_t *)&command->exit_code);
    CODE_TEXT(c, command->exit_kind);
    CODE_TEXT(c, command->reason);
    if (kind == COMMAND_NODE_REGISTER) {
        codec_node(c, &command->new_node);
    }
    if (kind == COMMAND_AGENT_REGISTER) {
        codec_agent(c, &command->new_agent);
    }
    if (kind == COMMAND_LAUNCH || kind == COMMAND_RESIZE) {
        codec_instance(c, &command->new_instance);
        codec_spec(c, &command->spec);
    }
    code_extents(c, command);
}

uint32_t command_encode(struct command *command, uint8_t *to)
{
    struct bytes_writer writer;
    bytes_writer_init(&writer, to, CODEC_BYTES_MAX);
    code_command(&(struct codec){.to = &writer}, command);
    CHECK(writer.ok);
    return (uint32_t)writer.offset;
}

int command_decode(const uint8_t *data, uint32_t length, struct command *ret)
{
    struct bytes_reader reader;
    bytes_reader_init(&reader, data, length);
    struct codec c = {.from = &reader};
    ret->extent_count = 0;
    code_command(&c, ret);
    return codec_end(&c);
}

int codec_end(const struct codec *c)
{
    CHECK(c->from != NULL);
    return c->from->ok && bytes_left(c->from) == 0 ? 0 : -EBADMSG;
}

const char *command_name(enum command_kind kind)
{
    static const char *const names[COMMAND_KIND_COUNT] = {
        "none",           "boot",       "node.register", "node.state",
        "agent.register", "agent.down", "launch",        "instance.state",
        "reserve",        "granted",    "grant.failed",  "release",
        "revoked",        "remove",     "resize",        "access.refused"};
    CHECK(kind < COMMAND_KIND_COUNT);
    return names[kind];
}
