/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes one JSON document (RFC 8259) to a stream. Text that isn't UTF-8 gets U+FFFD for each bad
 * byte, so the output always parses. `key` is NULL at the top and inside arrays. Nothing is
 * allocated; what the stream can't take shows in ferror().
 */
#ifndef DILOS_CLI_JSON_H
#define DILOS_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_DEPTH_MAX 16

struct json {
    FILE *to;
    bool one_line; /* for streams of documents, one a line */
    uint32_t depth;
    bool has_item[JSON_DEPTH_MAX];
};

void json_init(struct json *j, FILE *to, bool one_line);
/* Ends the document; every object and array must be closed. */
void json_fini(struct json *j);

void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);

/* NULL is written as "". */
void json_text(struct json *j, const char *key, const char *value);
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

#endif
