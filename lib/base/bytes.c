/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/bytes.h"

#include "lib/base/check.h"

uint16_t le16_load(const void *p)
{
    const uint8_t *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

uint32_t le32_load(const void *p)
{
    const uint8_t *b = p;
    return (uint32_t)le16_load(b) | (uint32_t)le16_load(b + 2) << 16;
}

uint64_t le64_load(const void *p)
{
    const uint8_t *b = p;
    return (uint64_t)le32_load(b) | (uint64_t)le32_load(b + 4) << 32;
}

void le16_store(void *p, uint16_t value)
{
    uint8_t *b = p;
    b[0] = (uint8_t)value;
    b[1] = (uint8_t)(value >> 8);
}

void le32_store(void *p, uint32_t value)
{
    uint8_t *b = p;
    le16_store(b, (uint16_t)value);
    le16_store(b + 2, (uint16_t)(value >> 16));
}

void le64_store(void *p, uint64_t value)
{
    uint8_t *b = p;
    le32_store(b, (uint32_t)value);
    le32_store(b + 4, (uint32_t)(value >> 32));
}

void bytes_reader_init(struct bytes_reader *r, const void *data, size_t length)
{
    *r = (struct bytes_reader){.data = data, .length = length, .offset = 0, .ok = true};
}

const uint8_t *bytes_get(struct bytes_reader *r, size_t length)
{
    if (!r->ok || length > r->length - r->offset) {
        r->ok = false;
        return NULL;
    }
    const uint8_t *p = r->data + r->offset;
    r->offset += length;
    return p;
}

uint8_t bytes_get_u8(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 1);
    return p == NULL ? 0 : *p;
}

uint16_t bytes_get_u16(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 2);
    return p == NULL ? 0 : le16_load(p);
}

uint32_t bytes_get_u32(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 4);
    return p == NULL ? 0 : le32_load(p);
}

uint64_t bytes_get_u64(struct bytes_reader *r)
{
    const uint8_t *p = bytes_get(r, 8);
    return p == NULL ? 0 : le64_load(p);
}

void bytes_writer_init(struct bytes_writer *w, void *data, size_t capacity)
{
    *w = (struct bytes_writer){.data = data, .capacity = capacity, .offset = 0, .ok = true};
}

/* Room for `length` more bytes, or NULL. */
static uint8_t *writer_take(struct bytes_writer *w, size_t length)
{
    if (!w->ok || length > w->capacity - w->offset) {
        w->ok = false;
        return NULL;
    }
    uint8_t *p = w->data + w->offset;
    w->offset += length;
    return p;
}

void bytes_put(struct bytes_writer *w, const void *data, size_t length)
{
    uint8_t *to = writer_take(w, length);
    if (to != NULL && length > 0) {
        __builtin_memcpy(to, data, length);
    }
}

void bytes_put_u8(struct bytes_writer *w, uint8_t value)
{
    bytes_put(w, &value, 1);
}

void bytes_put_u16(struct bytes_writer *w, uint16_t value)
{
    uint8_t b[2];
    le16_store(b, value);
    bytes_put(w, b, sizeof(b));
}

void bytes_put_u32(struct bytes_writer *w, uint32_t value)
{
    uint8_t b[4];
    le32_store(b, value);
    bytes_put(w, b, sizeof(b));
}

void bytes_put_u64(struct bytes_writer *w, uint64_t value)
{
    uint8_t b[8];
    le64_store(b, value);
    bytes_put(w, b, sizeof(b));
}

void bytes_put_padding(struct bytes_writer *w, size_t unit)
{
    CHECK(IS_POWER_OF_TWO(unit));
    while (w->ok && (w->offset & (unit - 1)) != 0) {
        bytes_put_u8(w, 0);
    }
}
