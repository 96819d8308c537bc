/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/frame.h"

#include <errno.h>
#include <stdbool.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"

static bool flags_are_legal(uint16_t flags, uint64_t request_id)
{
    switch (flags) {
    case 0:
    case FRAME_REPLY:
    case FRAME_REPLY | FRAME_ERROR:
        return request_id != 0;
    case FRAME_NOTICE:
        return request_id == 0;
    default:
        return false;
    }
}

void frame_encode(const struct frame_header *header, uint8_t *data)
{
    CHECK(header->type != 0);
    CHECK(flags_are_legal(header->flags, header->request_id));
    CHECK(header->length <= FRAME_BODY_BYTES_MAX);
    le32_store(data, FRAME_MAGIC);
    le16_store(data + 4, FRAME_VERSION);
    le16_store(data + 6, header->type);
    le16_store(data + 8, header->flags);
    le16_store(data + 10, 0);
    le32_store(data + 12, header->length);
    le64_store(data + 16, header->request_id);
}

int frame_decode(const uint8_t *data, struct frame_header *ret)
{
    struct frame_header header = {
        .type = le16_load(data + 6),
        .flags = le16_load(data + 8),
        .length = le32_load(data + 12),
        .request_id = le64_load(data + 16),
    };
    if (le32_load(data) != FRAME_MAGIC) {
        return -EPROTO;
    }
    if (le16_load(data + 4) != FRAME_VERSION) {
        return -EPROTONOSUPPORT;
    }
    if (header.type == 0 || le16_load(data + 10) != 0) {
        return -EPROTO;
    }
    if (!flags_are_legal(header.flags, header.request_id)) {
        return -EPROTO;
    }
    if (header.length > FRAME_BODY_BYTES_MAX) {
        return -EMSGSIZE;
    }
    *ret = header;
    return 0;
}
