/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/verbsop.h"

#include <errno.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/siphash.h"

#define PURPOSE_PROOF 1u
#define PURPOSE_SEAL  2u

static void put_queue(struct bytes_writer *w, const struct verbsop_queue *queue)
{
    bytes_put_u32(w, queue->number);
    bytes_put_u32(w, queue->packet);
    bytes_put(w, queue->gid, sizeof(queue->gid));
    bytes_put(w, queue->nonce, sizeof(queue->nonce));
    bytes_put_u16(w, queue->lid);
    bytes_put_u8(w, queue->mtu);
    bytes_put_u8(w, queue->link);
    bytes_put_u8(w, queue->gid_type);
    bytes_put_u8(w, queue->reads_in);
    bytes_put_u8(w, queue->reads_out);
}

void verbsop_encode(const struct verbsop_message *message, bool to_node, uint8_t *data)
{
    struct bytes_writer w;
    memset(data, 0, VERBSOP_BYTES);
    bytes_writer_init(&w, data, VERBSOP_BYTES);
    bytes_put_u8(&w, message->kind);
    bytes_put_u8(&w, message->status);
    bytes_put_u16(&w, 0);
    bytes_put_u32(&w, message->handle);
    bytes_put_u32(&w, message->sequence);
    if (message->kind == VERBSOP_QUEUE) {
        put_queue(&w, &message->queue);
    } else if (message->kind == VERBSOP_ATTACH && to_node) {
        bytes_put_u32(&w, message->attach.slab_index);
        bytes_put_u32(&w, message->attach.incarnation);
        bytes_put_u64(&w, message->attach.generation);
        bytes_put(&w, message->attach.proof, sizeof(message->attach.proof));
    } else if (message->kind == VERBSOP_ATTACH) {
        bytes_put(&w, message->window, sizeof(message->window));
    }
}

static void copy(uint8_t *to, const uint8_t *from, size_t length)
{
    if (from != NULL) {
        memcpy(to, from, length);
    }
}

static int get_queue(struct bytes_reader *r, bool ok, struct verbsop_queue *ret)
{
    ret->number = bytes_get_u32(r);
    ret->packet = bytes_get_u32(r);
    copy(ret->gid, bytes_get(r, sizeof(ret->gid)), sizeof(ret->gid));
    copy(ret->nonce, bytes_get(r, sizeof(ret->nonce)), sizeof(ret->nonce));
    ret->lid = bytes_get_u16(r);
    ret->mtu = bytes_get_u8(r);
    ret->link = bytes_get_u8(r);
    ret->gid_type = bytes_get_u8(r);
    ret->reads_in = bytes_get_u8(r);
    ret->reads_out = bytes_get_u8(r);
    if (!ok) {
        return 0; /* a refusal: the rest says nothing */
    }
    if (ret->number > VERBSOP_NUMBER_MAX || ret->packet > VERBSOP_NUMBER_MAX ||
        ret->mtu < VERBSOP_MTU_MIN || ret->mtu > VERBSOP_MTU_MAX ||
        ret->gid_type > VERBSOP_GID_ROCE_V2 ||
        (ret->link != VERBSOP_LINK_INFINIBAND && ret->link != VERBSOP_LINK_ETHERNET)) {
        return -EPROTO;
    }
    return 0;
}

static bool header_ok(const struct verbsop_message *message, bool to_node)
{
    uint8_t other_way = to_node ? VERBSOP_REVOKE : VERBSOP_DETACH;
    if (message->kind < VERBSOP_QUEUE || message->kind > VERBSOP_REVOKE ||
        message->kind == other_way || message->status > VERBSOP_MISMATCH) {
        return false;
    }
    return !to_node || message->status == VERBSOP_OK;
}

static bool all_zero(struct bytes_reader *r)
{
    while (bytes_left(r) != 0) {
        if (bytes_get_u8(r) != 0) {
            return false;
        }
    }
    return r->ok;
}

int verbsop_decode(const uint8_t *data, bool to_node, struct verbsop_message *ret)
{
    struct verbsop_message message = {0};
    struct bytes_reader r;
    bytes_reader_init(&r, data, VERBSOP_BYTES);
    message.kind = bytes_get_u8(&r);
    message.status = bytes_get_u8(&r);
    uint16_t zero = bytes_get_u16(&r);
    message.handle = bytes_get_u32(&r);
    message.sequence = bytes_get_u32(&r);
    if (zero != 0 || !header_ok(&message, to_node)) {
        return -EPROTO;
    }
    if (message.handle >= VERBSOP_HANDLES_MAX) {
        return -ERANGE;
    }
    int error = 0;
    if (message.kind == VERBSOP_QUEUE) {
        error = get_queue(&r, message.status == VERBSOP_OK, &message.queue);
    } else if (message.kind == VERBSOP_ATTACH && to_node) {
        message.attach.slab_index = bytes_get_u32(&r);
        message.attach.incarnation = bytes_get_u32(&r);
        message.attach.generation = bytes_get_u64(&r);
        copy(message.attach.proof, bytes_get(&r, VERBSOP_PROOF_BYTES), VERBSOP_PROOF_BYTES);
    } else if (message.kind == VERBSOP_ATTACH) {
        copy(message.window, bytes_get(&r, VERBSOP_WINDOW_BYTES), VERBSOP_WINDOW_BYTES);
    }
    if (error != 0 || !all_zero(&r)) {
        return -EPROTO;
    }
    *ret = message;
    return 0;
}

static void keyed(const uint8_t *key, uint32_t purpose, const struct verbsop_nonces *nonces,
                  const struct verbsop_message *message, uint8_t *ret)
{
    uint8_t data[4 + 2 * VERBSOP_NONCE_BYTES + 4 + 4 + 4 + 4 + 8];
    struct bytes_writer w;
    bool is_proof = purpose == PURPOSE_PROOF;
    bytes_writer_init(&w, data, sizeof(data));
    bytes_put_u32(&w, purpose);
    bytes_put(&w, nonces->client, sizeof(nonces->client));
    bytes_put(&w, nonces->node, sizeof(nonces->node));
    bytes_put_u32(&w, message->handle);
    bytes_put_u32(&w, message->sequence);
    bytes_put_u32(&w, is_proof ? message->attach.slab_index : 0);
    bytes_put_u32(&w, is_proof ? message->attach.incarnation : 0);
    bytes_put_u64(&w, is_proof ? message->attach.generation : 0);
    siphash(key, data, w.offset, ret);
}

void verbsop_prove(const uint8_t *key, const struct verbsop_nonces *nonces,
                   const struct verbsop_message *message, uint8_t *ret_proof)
{
    keyed(key, PURPOSE_PROOF, nonces, message, ret_proof);
}

bool verbsop_proof_ok(const uint8_t *key, const struct verbsop_nonces *nonces,
                      const struct verbsop_message *message)
{
    uint8_t wanted[VERBSOP_PROOF_BYTES];
    uint8_t difference = 0;
    keyed(key, PURPOSE_PROOF, nonces, message, wanted);
    for (unsigned i = 0; i < VERBSOP_PROOF_BYTES; i++) {
        difference |= wanted[i] ^ message->attach.proof[i];
    }
    return difference == 0;
}

void verbsop_seal(const uint8_t *key, const struct verbsop_nonces *nonces,
                  const struct verbsop_window *window, struct verbsop_message *message)
{
    uint8_t mask[VERBSOP_WINDOW_BYTES];
    keyed(key, PURPOSE_SEAL, nonces, message, mask);
    le32_store(message->window, window->remote_key);
    le32_store(message->window + 4, window->writable ? 1 : 0);
    le64_store(message->window + 8, window->address);
    for (unsigned i = 0; i < VERBSOP_WINDOW_BYTES; i++) {
        message->window[i] ^= mask[i];
    }
}

void verbsop_unseal(const uint8_t *key, const struct verbsop_nonces *nonces,
                    const struct verbsop_message *message, struct verbsop_window *ret)
{
    uint8_t data[VERBSOP_WINDOW_BYTES];
    keyed(key, PURPOSE_SEAL, nonces, message, data);
    for (unsigned i = 0; i < VERBSOP_WINDOW_BYTES; i++) {
        data[i] ^= message->window[i];
    }
    ret->remote_key = le32_load(data);
    ret->writable = (le32_load(data + 4) & 1) != 0;
    ret->address = le64_load(data + 8);
}
