/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/pageop.h"

#include <errno.h>
#include <stdbool.h>

#include "lib/base/bytes.h"

void pageop_hello_encode(uint8_t *data)
{
    le32_store(data, PAGEOP_MAGIC);
    le16_store(data + 4, PAGEOP_VERSION);
    le16_store(data + 6, 0);
    le64_store(data + 8, 0);
}

int pageop_hello_decode(const uint8_t *data)
{
    if (le32_load(data) != PAGEOP_MAGIC) {
        return -EPROTO;
    }
    if (le16_load(data + 4) != PAGEOP_VERSION) {
        return -EPROTONOSUPPORT;
    }
    return le16_load(data + 6) == 0 && le64_load(data + 8) == 0 ? 0 : -EPROTO;
}

static bool is_transfer(uint8_t kind)
{
    return kind == PAGEOP_READ || kind == PAGEOP_WRITE;
}

static bool request_length_ok(uint8_t kind, uint32_t length)
{
    if (is_transfer(kind)) {
        return length != 0 && length <= PAGEOP_LENGTH_MAX;
    }
    return length == (kind == PAGEOP_ATTACH ? PAGEOP_ATTACH_BYTES : 0);
}

void pageop_request_encode(const struct pageop_request *request, uint8_t *data)
{
    data[0] = request->kind;
    data[1] = 0;
    le16_store(data + 2, 0);
    le32_store(data + 4, request->handle);
    le64_store(data + 8, request->token);
    le64_store(data + 16, request->offset);
    le32_store(data + 24, request->length);
    le32_store(data + 28, 0);
}

int pageop_request_decode(const uint8_t *data, struct pageop_request *ret)
{
    struct pageop_request request = {.kind = data[0],
                                     .handle = le32_load(data + 4),
                                     .token = le64_load(data + 8),
                                     .offset = le64_load(data + 16),
                                     .length = le32_load(data + 24)};
    if (request.kind < PAGEOP_ATTACH || request.kind > PAGEOP_UNMAPPED ||
        request.kind == PAGEOP_REVOKE) {
        return -EPROTO;
    }
    if (data[1] != 0 || le16_load(data + 2) != 0 || le32_load(data + 28) != 0) {
        return -EPROTO;
    }
    if (!is_transfer(request.kind) && request.offset != 0) {
        return -EPROTO;
    }
    if (!request_length_ok(request.kind, request.length)) {
        return -EMSGSIZE;
    }
    if (request.handle >= PAGEOP_HANDLES_MAX) {
        return -ERANGE;
    }
    *ret = request;
    return 0;
}

static bool reply_length_ok(uint8_t kind, uint16_t status, uint32_t length)
{
    if (kind == PAGEOP_READ && status == PAGEOP_OK) {
        return length != 0 && length <= PAGEOP_LENGTH_MAX;
    }
    return length == 0;
}

void pageop_reply_encode(const struct pageop_reply *reply, uint8_t *data)
{
    data[0] = reply->kind;
    data[1] = 0;
    le16_store(data + 2, reply->status);
    le32_store(data + 4, reply->handle);
    le64_store(data + 8, reply->token);
    le32_store(data + 16, reply->length);
    le32_store(data + 20, 0);
}

int pageop_reply_decode(const uint8_t *data, struct pageop_reply *ret)
{
    struct pageop_reply reply = {.kind = data[0],
                                 .status = le16_load(data + 2),
                                 .handle = le32_load(data + 4),
                                 .token = le64_load(data + 8),
                                 .length = le32_load(data + 16)};
    if (reply.kind != PAGEOP_ATTACH && reply.kind != PAGEOP_REVOKE && !is_transfer(reply.kind)) {
        return -EPROTO;
    }
    if (reply.status > PAGEOP_EXHAUSTED || data[1] != 0 || le32_load(data + 20) != 0) {
        return -EPROTO;
    }
    if (!reply_length_ok(reply.kind, reply.status, reply.length)) {
        return -EMSGSIZE;
    }
    if (reply.handle >= PAGEOP_HANDLES_MAX) {
        return -ERANGE;
    }
    *ret = reply;
    return 0;
}

void pageop_attach_encode(const struct pageop_attach *attach, uint8_t *data)
{
    struct bytes_writer w;
    bytes_writer_init(&w, data, PAGEOP_ATTACH_BYTES);
    bytes_put_u32(&w, attach->slab_index);
    bytes_put_u32(&w, attach->incarnation);
    bytes_put_u64(&w, attach->generation);
    bytes_put(&w, attach->key, PAGEOP_KEY_BYTES);
}

void pageop_attach_decode(const uint8_t *data, struct pageop_attach *ret)
{
    ret->slab_index = le32_load(data);
    ret->incarnation = le32_load(data + 4);
    ret->generation = le64_load(data + 8);
    for (unsigned i = 0; i < PAGEOP_KEY_BYTES; i++) {
        ret->key[i] = data[16 + i];
    }
}
