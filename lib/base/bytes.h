/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bounded reading and writing of little-endian fields: a peer's bytes are parsed, never cast.
 * Freestanding, no allocation.
 *
 * An error is sticky: after the first read or write past the end every further one does nothing
 * (reads give 0), and ok is false. So a decoder reads all its fields and checks once.
 */
#ifndef DILOS_LIB_BASE_BYTES_H
#define DILOS_LIB_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes_reader {
    const uint8_t *data;
    size_t length;
    size_t offset; /* <= length */
    bool ok;
};

struct bytes_writer {
    uint8_t *data;
    size_t capacity;
    size_t offset; /* <= capacity */
    bool ok;
};

void bytes_reader_init(struct bytes_reader *r, const void *data, size_t length);
uint8_t bytes_get_u8(struct bytes_reader *r);
uint16_t bytes_get_u16(struct bytes_reader *r);
uint32_t bytes_get_u32(struct bytes_reader *r);
uint64_t bytes_get_u64(struct bytes_reader *r);
/* A pointer into the reader's data, or NULL (and not ok) if fewer than `length` bytes are left. */
const uint8_t *bytes_get(struct bytes_reader *r, size_t length);
static inline size_t bytes_left(const struct bytes_reader *r)
{
    return r->length - r->offset;
}

void bytes_writer_init(struct bytes_writer *w, void *data, size_t capacity);
void bytes_put_u8(struct bytes_writer *w, uint8_t value);
void bytes_put_u16(struct bytes_writer *w, uint16_t value);
void bytes_put_u32(struct bytes_writer *w, uint32_t value);
void bytes_put_u64(struct bytes_writer *w, uint64_t value);
void bytes_put(struct bytes_writer *w, const void *data, size_t length);
/* Zero bytes up to the next multiple of `unit` (a power of two) of the offset. */
void bytes_put_padding(struct bytes_writer *w, size_t unit);

/* Loads and stores at any alignment. */
uint16_t le16_load(const void *p);
uint32_t le32_load(const void *p);
uint64_t le64_load(const void *p);
void le16_store(void *p, uint16_t value);
void le32_store(void *p, uint32_t value);
void le64_store(void *p, uint64_t value);

#endif
