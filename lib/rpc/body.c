/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/rpc/body.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/rpc/limits.h"
#include "proto/dilos.pb-c.h"

/* Where the general limits don't fit. message NULL: a field of that name in any message. */
struct exception {
    const ProtobufCMessageDescriptor *message;
    const char *field;
    size_t bytes_max;
    size_t count_max;
};

static const struct exception exceptions[] = {
    {&dilos__log_chunk__descriptor, "data", RPC_LOG_CHUNK_BYTES_MAX, 1},
    {&dilos__instance_spec__descriptor, "arguments", RPC_ARGUMENT_BYTES_MAX, RPC_ARGUMENTS_MAX},
    {&dilos__instance_spec__descriptor, "environment", RPC_ARGUMENT_BYTES_MAX, RPC_ARGUMENTS_MAX},
    {NULL, "files", RPC_FIELD_BYTES_MAX, RPC_FILES_MAX},
    {NULL, "labels", RPC_FIELD_BYTES_MAX, RPC_LABELS_MAX},
    {NULL, "health", RPC_FIELD_BYTES_MAX, RPC_HEALTH_MAX},
    {NULL, "machine", RPC_FIELD_BYTES_MAX, RPC_HEALTH_MAX},
    {NULL, "counters", RPC_FIELD_BYTES_MAX, RPC_COUNTERS_MAX},
};

struct limit {
    size_t bytes_max;
    size_t count_max;
};

static struct limit limit_of(const ProtobufCMessageDescriptor *message,
                             const ProtobufCFieldDescriptor *field)
{
    for (size_t i = 0; i < ARRAY_LEN(exceptions); i++) {
        const struct exception *e = &exceptions[i];
        bool applies = e->message == NULL || e->message == message;
        if (applies && strcmp(e->field, field->name) == 0) {
            return (struct limit){e->bytes_max, e->count_max};
        }
    }
    return (struct limit){RPC_FIELD_BYTES_MAX, RPC_REPEATED_MAX};
}

/* Members of a protobuf-c structure are found by the offsets of its descriptor. */
static const void *member(const ProtobufCMessage *message, unsigned offset)
{
    return (const char *)message + offset;
}

static int check_message(const ProtobufCMessage *message, unsigned depth, char *why);

static int check_length(const ProtobufCMessageDescriptor *type,
                        const ProtobufCFieldDescriptor *field, size_t length, char *why)
{
    size_t limit = limit_of(type, field).bytes_max;
    if (length <= limit) {
        return 0;
    }
    (void)snprintf(why, RPC_WHY_BYTES, "%s.%s: %zu bytes, the limit is %zu", type->short_name,
                   field->name, length, limit);
    return -EMSGSIZE;
}

static int check_enum(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                      int value, char *why)
{
    if (protobuf_c_enum_descriptor_get_value(field->descriptor, value) != NULL) {
        return 0;
    }
    (void)snprintf(why, RPC_WHY_BYTES, "%s.%s: unknown value %d", type->short_name, field->name,
                   value);
    return -EPROTO;
}

/* One element: of a repeated field the i-th, else the only one (i is 0). */
static int check_element(const ProtobufCMessageDescriptor *type,
                         const ProtobufCFieldDescriptor *field, const void *elements, size_t i,
                         unsigned depth, char *why)
{
    const char *text;
    const ProtobufCMessage *child;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        text = ((const char *const *)elements)[i];
        return text == NULL ? 0 : check_length(type, field, strlen(text), why);
    case PROTOBUF_C_TYPE_BYTES:
        return check_length(type, field, ((const ProtobufCBinaryData *)elements)[i].len, why);
    case PROTOBUF_C_TYPE_ENUM:
        return check_enum(type, field, ((const int *)elements)[i], why);
    case PROTOBUF_C_TYPE_MESSAGE:
        child = ((const ProtobufCMessage *const *)elements)[i];
        return child == NULL ? 0 : check_message(child, depth + 1, why);
    default:
        return 0;
    }
}

static bool is_absent_alternative(const ProtobufCMessage *message,
                                  const ProtobufCFieldDescriptor *field)
{
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0) {
        return false;
    }
    return *(const uint32_t *)member(message, field->quantifier_offset) != field->id;
}

static int check_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                       unsigned depth, char *why)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const void *elements = member(message, field->offset);
    size_t count = 1;
    if (is_absent_alternative(message, field)) {
        return 0;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        count = *(const size_t *)member(message, field->quantifier_offset);
        elements = *(const void *const *)elements;
    }
    size_t limit = limit_of(type, field).count_max;
    if (count > limit) {
        (void)snprintf(why, RPC_WHY_BYTES, "%s.%s: %zu entries, the limit is %zu", type->short_name,
                       field->name, count, limit);
        return -EMSGSIZE;
    }
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        error = check_element(type, field, elements, i, depth, why);
    }
    return error;
}

/* Field number 0 doesn't exist (protobuf encoding, "field numbers"); protobuf-c lets it through. */
static int check_unknown_fields(const ProtobufCMessage *message, char *why)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        if (message->unknown_fields[i].tag == 0) {
            (void)snprintf(why, RPC_WHY_BYTES, "%s: a field with the number 0",
                           message->descriptor->short_name);
            return -EPROTO;
        }
    }
    return 0;
}

static int check_message(const ProtobufCMessage *message, unsigned depth, char *why)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    if (depth > RPC_DEPTH_MAX || message->n_unknown_fields > RPC_UNKNOWN_FIELDS_MAX) {
        (void)snprintf(why, RPC_WHY_BYTES, "%s: too deep, or too many unknown fields",
                       type->short_name);
        return -EMSGSIZE;
    }
    int error = check_unknown_fields(message, why);
    for (unsigned i = 0; i < type->n_fields && error == 0; i++) {
        error = check_field(message, &type->fields[i], depth, why);
    }
    return error;
}

int rpc_body_check(const ProtobufCMessage *message, char why[RPC_WHY_BYTES])
{
    return check_message(message, 0, why);
}

/* An allocator with a budget. What is freed while unpacking isn't given back: a bound is enough. */
static void *budget_alloc(void *budget, size_t bytes)
{
    size_t *left = budget;
    if (bytes > *left) {
        return NULL;
    }
    *left -= bytes;
    return malloc(bytes);
}

static void budget_free(void *budget, void *memory)
{
    (void)budget;
    free(memory);
}

int rpc_body_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t length,
                    ProtobufCMessage **ret, char why[RPC_WHY_BYTES])
{
    size_t left = RPC_BODY_MEMORY_MAX;
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &left};
    ProtobufCMessage *message = protobuf_c_message_unpack(type, &allocator, length, data);
    if (message == NULL) {
        (void)snprintf(why, RPC_WHY_BYTES, "the body is no %s", type->short_name);
        return -EPROTO;
    }
    int error = rpc_body_check(message, why);
    if (error != 0) {
        protobuf_c_message_free_unpacked(message, NULL);
        return error;
    }
    *ret = message;
    return 0;
}
