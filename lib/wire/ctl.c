/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/ctl.h"

#include <errno.h>
#include <stdbool.h>

#include "lib/base/bytes.h"

#define EXIT_FIXED_BYTES  8u /* kind, three zero bytes, code */
#define TUNED_FIXED_BYTES 4u /* status */

static bool type_exists(uint16_t type)
{
    return (type >= CTL_HELLO && type <= CTL_RESIZED) || (type >= CTL_SIGNAL && type <= CTL_FAR);
}

void ctl_header_encode(const struct ctl_header *header, uint8_t *data)
{
    le16_store(data, CTL_MAGIC);
    le16_store(data + 2, header->type);
    le32_store(data + 4, header->length);
}

int ctl_header_decode(const uint8_t *data, struct ctl_header *ret)
{
    struct ctl_header header = {.type = le16_load(data + 2), .length = le32_load(data + 4)};
    if (le16_load(data) != CTL_MAGIC || !type_exists(header.type)) {
        return -EPROTO;
    }
    if (header.length > CTL_BODY_BYTES_MAX) {
        return -EMSGSIZE;
    }
    *ret = header;
    return 0;
}

int ctl_exit_encode(const struct ctl_exit *exit, void *data, size_t capacity, size_t *ret_length)
{
    if (exit->reason_length > CTL_BODY_BYTES_MAX - EXIT_FIXED_BYTES) {
        return -EMSGSIZE;
    }
    struct bytes_writer w;
    bytes_writer_init(&w, data, capacity);
    bytes_put_u8(&w, exit->kind);
    bytes_put_u8(&w, 0);
    bytes_put_u16(&w, 0);
    bytes_put_u32(&w, (uint32_t)exit->code);
    bytes_put(&w, exit->reason, exit->reason_length);
    if (!w.ok) {
        return -EMSGSIZE;
    }
    *ret_length = w.offset;
    return 0;
}

int ctl_exit_decode(const void *data, size_t length, struct ctl_exit *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, data, length);
    uint8_t kind = bytes_get_u8(&r);
    uint8_t zero_u8 = bytes_get_u8(&r);
    uint16_t zero_u16 = bytes_get_u16(&r);
    int32_t code = (int32_t)bytes_get_u32(&r);
    if (!r.ok || kind > CTL_PANIC || zero_u8 != 0 || zero_u16 != 0 || length > CTL_BODY_BYTES_MAX) {
        return -EPROTO;
    }
    ret->kind = kind;
    ret->code = code;
    ret->reason_length = (uint32_t)bytes_left(&r);
    ret->reason = (const char *)bytes_get(&r, bytes_left(&r));
    return 0;
}

int ctl_tuned_encode(const struct ctl_tuned *tuned, void *data, size_t capacity, size_t *ret_length)
{
    if (tuned->text_length > CTL_BODY_BYTES_MAX - TUNED_FIXED_BYTES) {
        return -EMSGSIZE;
    }
    struct bytes_writer w;
    bytes_writer_init(&w, data, capacity);
    bytes_put_u32(&w, (uint32_t)tuned->status);
    bytes_put(&w, tuned->text, tuned->text_length);
    if (!w.ok) {
        return -EMSGSIZE;
    }
    *ret_length = w.offset;
    return 0;
}

int ctl_tuned_decode(const void *data, size_t length, struct ctl_tuned *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, data, length);
    int32_t status = (int32_t)bytes_get_u32(&r);
    if (!r.ok || status > 0 || length > CTL_BODY_BYTES_MAX) {
        return -EPROTO;
    }
    ret->status = status;
    ret->text_length = (uint32_t)bytes_left(&r);
    ret->text = (const char *)bytes_get(&r, bytes_left(&r));
    return 0;
}

void ctl_resized_encode(const struct ctl_resized *resized, uint8_t *data)
{
    le32_store(data, (uint32_t)resized->status);
    le64_store(data + 4, resized->bytes);
}

int ctl_resized_decode(const void *data, size_t length, struct ctl_resized *ret)
{
    const uint8_t *bytes = data;
    if (length != CTL_RESIZED_BYTES || (int32_t)le32_load(bytes) > 0) {
        return -EPROTO;
    }
    *ret = (struct ctl_resized){.status = (int32_t)le32_load(bytes), .bytes = le64_load(bytes + 4)};
    return 0;
}
