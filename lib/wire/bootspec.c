/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/bootspec.h"

#include <errno.h>
#include <stdbool.h>

#include "lib/base/bytes.h"

#define ITEM_UNIT 8u /* items start at multiples of this */

static bool holds_nul(const struct bootspec_string *s)
{
    for (uint32_t i = 0; i < s->length; i++) {
        if (s->data[i] == '\0') {
            return true;
        }
    }
    return false;
}

struct encoder {
    struct bytes_writer w;
    uint16_t item_count;
    int error; /* first error, 0 so far */
};

static void item_begin(struct encoder *e, enum bootspec_item type, uint32_t length)
{
    e->item_count++;
    bytes_put_u16(&e->w, (uint16_t)type);
    bytes_put_u16(&e->w, 0);
    bytes_put_u32(&e->w, length);
}

static void put_string(struct encoder *e, enum bootspec_item type, const struct bootspec_string *s)
{
    if (e->error == 0 && s->length > BOOTSPEC_STRING_BYTES_MAX) {
        e->error = -EMSGSIZE;
    }
    if (e->error == 0 && holds_nul(s)) {
        e->error = -EINVAL;
    }
    if (e->error != 0) {
        return;
    }
    item_begin(e, type, s->length);
    bytes_put(&e->w, s->data, s->length);
    bytes_put_padding(&e->w, ITEM_UNIT);
}

static void put_optional_string(struct encoder *e, enum bootspec_item type,
                                const struct bootspec_string *s)
{
    if (s->length != 0) {
        put_string(e, type, s);
    }
}

/* Numbers that are 0 are left out: the decoder starts from 0. */
static void put_number(struct encoder *e, enum bootspec_item type, uint64_t value)
{
    if (value == 0) {
        return;
    }
    item_begin(e, type, 8);
    bytes_put_u64(&e->w, value);
}

static void put_items(struct encoder *e, const struct bootspec *spec)
{
    for (uint32_t i = 0; i < spec->argument_count; i++) {
        put_string(e, BOOTSPEC_ARGUMENT, &spec->arguments[i]);
    }
    for (uint32_t i = 0; i < spec->environment_count; i++) {
        put_string(e, BOOTSPEC_ENVIRONMENT, &spec->environment[i]);
    }
    put_optional_string(e, BOOTSPEC_DIRECTORY, &spec->directory);
    put_optional_string(e, BOOTSPEC_HOSTNAME, &spec->hostname);
    put_optional_string(e, BOOTSPEC_PREFETCH, &spec->prefetch);
    put_number(e, BOOTSPEC_LOCAL_BYTES, spec->local_bytes);
    put_number(e, BOOTSPEC_FAR_BYTES, spec->far_bytes);
    put_number(e, BOOTSPEC_SLAB_BYTES, spec->slab_bytes);
    put_number(e, BOOTSPEC_REALTIME_NS, spec->realtime_ns);
    put_number(e, BOOTSPEC_MODE, spec->mode);
    put_number(e, BOOTSPEC_VCPUS, spec->vcpus);
    put_number(e, BOOTSPEC_USER, (uint64_t)spec->uid << 32 | spec->gid);
    item_begin(e, BOOTSPEC_SEED, BOOTSPEC_SEED_BYTES);
    bytes_put(&e->w, spec->seed, BOOTSPEC_SEED_BYTES);
}

int bootspec_encode(const struct bootspec *spec, void *data, size_t capacity, size_t *ret_length)
{
    if (spec->argument_count > BOOTSPEC_ARGUMENTS_MAX ||
        spec->environment_count > BOOTSPEC_ENVIRONMENT_MAX) {
        return -EMSGSIZE;
    }
    if (spec->slab_bytes != 0 && !IS_POWER_OF_TWO(spec->slab_bytes)) {
        return -EINVAL;
    }
    struct encoder e = {.error = 0};
    bytes_writer_init(&e.w, data, MIN(capacity, (size_t)BOOTSPEC_BYTES_MAX));
    bytes_put_u32(&e.w, BOOTSPEC_MAGIC);
    bytes_put_u16(&e.w, BOOTSPEC_VERSION);
    bytes_put_u16(&e.w, 0);
    put_items(&e, spec);
    if (e.error != 0) {
        return e.error;
    }
    if (!e.w.ok) {
        return -EMSGSIZE;
    }
    le16_store((uint8_t *)data + 6, e.item_count);
    *ret_length = e.w.offset;
    return 0;
}

static int take_string(const uint8_t *body, uint32_t length, struct bootspec_string *ret)
{
    struct bootspec_string s = {.data = (const char *)body, .length = length};
    if (length > BOOTSPEC_STRING_BYTES_MAX) {
        return -EMSGSIZE;
    }
    if (holds_nul(&s)) {
        return -EPROTO;
    }
    *ret = s;
    return 0;
}

static int append_string(const uint8_t *body, uint32_t length, struct bootspec_string *to,
                         uint32_t *count, uint32_t count_max)
{
    if (*count == count_max) {
        return -EMSGSIZE;
    }
    int r = take_string(body, length, &to[*count]);
    if (r == 0) {
        (*count)++;
    }
    return r;
}

static int take_number(const uint8_t *body, uint32_t length, uint64_t *ret)
{
    if (length != 8) {
        return -EPROTO;
    }
    *ret = le64_load(body);
    return 0;
}

static int take_slab_bytes(const uint8_t *body, uint32_t length, struct bootspec *ret)
{
    uint64_t value;
    int r = take_number(body, length, &value);
    if (r != 0) {
        return r;
    }
    if (value != 0 && !IS_POWER_OF_TWO(value)) {
        return -EPROTO;
    }
    ret->slab_bytes = value;
    return 0;
}

static int take_user(const uint8_t *body, uint32_t length, struct bootspec *ret)
{
    uint64_t value;
    int r = take_number(body, length, &value);
    if (r == 0) {
        ret->uid = (uint32_t)(value >> 32);
        ret->gid = (uint32_t)value;
    }
    return r;
}

static int take_seed(const uint8_t *body, uint32_t length, struct bootspec *ret)
{
    if (length != BOOTSPEC_SEED_BYTES) {
        return -EPROTO;
    }
    for (uint32_t i = 0; i < BOOTSPEC_SEED_BYTES; i++) {
        ret->seed[i] = body[i];
    }
    return 0;
}

static int take_mode(const uint8_t *body, uint32_t length, struct bootspec *ret)
{
    uint64_t value;
    int r = take_number(body, length, &value);
    if (r != 0) {
        return r;
    }
    if (value > BOOTSPEC_BENCH_DEVICE) {
        return -EPROTO;
    }
    ret->mode = value;
    return 0;
}

static int take_item(uint16_t type, const uint8_t *body, uint32_t length, struct bootspec *ret)
{
    switch (type) {
    case BOOTSPEC_ARGUMENT:
        return append_string(body, length, ret->arguments, &ret->argument_count,
                             BOOTSPEC_ARGUMENTS_MAX);
    case BOOTSPEC_ENVIRONMENT:
        return append_string(body, length, ret->environment, &ret->environment_count,
                             BOOTSPEC_ENVIRONMENT_MAX);
    case BOOTSPEC_DIRECTORY:
        return take_string(body, length, &ret->directory);
    case BOOTSPEC_HOSTNAME:
        return take_string(body, length, &ret->hostname);
    case BOOTSPEC_PREFETCH:
        return take_string(body, length, &ret->prefetch);
    case BOOTSPEC_LOCAL_BYTES:
        return take_number(body, length, &ret->local_bytes);
    case BOOTSPEC_FAR_BYTES:
        return take_number(body, length, &ret->far_bytes);
    case BOOTSPEC_SLAB_BYTES:
        return take_slab_bytes(body, length, ret);
    case BOOTSPEC_SEED:
        return take_seed(body, length, ret);
    case BOOTSPEC_REALTIME_NS:
        return take_number(body, length, &ret->realtime_ns);
    case BOOTSPEC_MODE:
        return take_mode(body, length, ret);
    case BOOTSPEC_VCPUS:
        return take_number(body, length, &ret->vcpus);
    case BOOTSPEC_USER:
        return take_user(body, length, ret);
    default:
        return -EPROTO;
    }
}

/* Zero bytes up to the next item; the last item may end the data without them. */
static bool skip_padding(struct bytes_reader *r)
{
    while (!IS_ALIGNED(r->offset, ITEM_UNIT) && bytes_left(r) > 0) {
        if (bytes_get_u8(r) != 0) {
            return false;
        }
    }
    return true;
}

/* The structure is large (it holds all strings' addresses): cleared in place, not on the stack. */
static void clear(struct bootspec *ret)
{
    uint8_t *byte = (uint8_t *)ret;
    for (size_t i = 0; i < sizeof(*ret); i++) {
        byte[i] = 0;
    }
}

int bootspec_decode(const void *data, size_t length, struct bootspec *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, data, length);
    uint32_t magic = bytes_get_u32(&r);
    uint16_t version = bytes_get_u16(&r);
    uint16_t item_count = bytes_get_u16(&r);
    if (!r.ok || magic != BOOTSPEC_MAGIC) {
        return -EPROTO;
    }
    if (version != BOOTSPEC_VERSION) {
        return -EPROTONOSUPPORT;
    }
    if (length > BOOTSPEC_BYTES_MAX) {
        return -EMSGSIZE;
    }
    clear(ret);
    for (uint16_t i = 0; i < item_count; i++) {
        uint16_t type = bytes_get_u16(&r);
        uint16_t zero = bytes_get_u16(&r);
        uint32_t item_length = bytes_get_u32(&r);
        const uint8_t *body = bytes_get(&r, item_length);
        if (!r.ok || zero != 0 || !skip_padding(&r)) {
            return -EPROTO;
        }
        int error = take_item(type, body, item_length, ret);
        if (error != 0) {
            return error;
        }
    }
    return bytes_left(&r) == 0 ? 0 : -EPROTO;
}
