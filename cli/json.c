/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/json.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/check.h"

void json_init(struct json *j, FILE *to, bool one_line)
{
    memset(j, 0, sizeof(*j));
    j->to = to;
    j->one_line = one_line;
}

void json_fini(struct json *j)
{
    CHECK(j->depth == 0);
    fputc('\n', j->to);
}

/* The length of the UTF-8 sequence at `s` (RFC 3629: no surrogates, shortest form), or 0. */
static uint32_t utf8_length(const unsigned char *s)
{
    unsigned char low = 0x80, high = 0xbf;
    uint32_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] > 0xf4) {
        return 0;
    }
    switch (s[0]) {
    case 0xe0:
        low = 0xa0;
        break;
    case 0xed:
        high = 0x9f;
        break;
    case 0xf0:
        low = 0x90;
        break;
    case 0xf4:
        high = 0x8f;
        break;
    default:
        break;
    }
    for (uint32_t i = 1; i < length; i++) {
        if (s[i] < low || s[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

static void write_text(FILE *to, const char *value)
{
    fputc('"', to);
    for (const unsigned char *s = (const unsigned char *)value; *s != 0;) {
        uint32_t length = utf8_length(s);
        if (length == 0) {
            fputs("\\ufffd", to);
            length = 1;
        } else if (*s == '"' || *s == '\\') {
            fprintf(to, "\\%c", *s);
        } else if (*s == '\n') {
            fputs("\\n", to);
        } else if (*s < 0x20 || *s == 0x7f) {
            fprintf(to, "\\u%04x", *s);
        } else {
            fwrite(s, 1, length, to);
        }
        s += length;
    }
    fputc('"', to);
}

static void new_line(struct json *j)
{
    if (!j->one_line) {
        fprintf(j->to, "\n%*s", (int)(2 * j->depth), "");
    }
}

static void begin_item(struct json *j, const char *key)
{
    if (j->depth > 0) {
        if (j->has_item[j->depth - 1]) {
            fputc(',', j->to);
        }
        j->has_item[j->depth - 1] = true;
        new_line(j);
    }
    if (key != NULL) {
        write_text(j->to, key);
        fputs(j->one_line ? ":" : ": ", j->to);
    }
}

static void begin_nest(struct json *j, const char *key, char bracket)
{
    CHECK(j->depth < JSON_DEPTH_MAX);
    begin_item(j, key);
    fputc(bracket, j->to);
    j->has_item[j->depth++] = false;
}

static void end_nest(struct json *j, char bracket)
{
    CHECK(j->depth > 0);
    j->depth--;
    if (j->has_item[j->depth]) {
        new_line(j);
    }
    fputc(bracket, j->to);
}

void json_object(struct json *j, const char *key)
{
    begin_nest(j, key, '{');
}

void json_object_end(struct json *j)
{
    end_nest(j, '}');
}

void json_array(struct json *j, const char *key)
{
    begin_nest(j, key, '[');
}

void json_array_end(struct json *j)
{
    end_nest(j, ']');
}

void json_text(struct json *j, const char *key, const char *value)
{
    begin_item(j, key);
    write_text(j->to, value == NULL ? "" : value);
}

void json_u64(struct json *j, const char *key, uint64_t value)
{
    begin_item(j, key);
    fprintf(j->to, "%" PRIu64, value);
}

void json_i64(struct json *j, const char *key, int64_t value)
{
    begin_item(j, key);
    fprintf(j->to, "%" PRId64, value);
}

void json_bool(struct json *j, const char *key, bool value)
{
    begin_item(j, key);
    fputs(value ? "true" : "false", j->to);
}

void json_null(struct json *j, const char *key)
{
    begin_item(j, key);
    fputs("null", j->to);
}
