/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getdents64(2). The names of a directory are taken down when it is first read (and again after a
 * seek to its start), so that a program that removes what it lists sees every name exactly once.
 */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/file.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define LISTING_BYTES_MAX (64u * 1024 * 1024)
#define RECORD_BYTES      19u /* d_ino u64, d_off i64, d_reclen u16, d_type u8, then the name */

/* Records in the format of getdents64, one after the other; an offset is a byte position. */
struct listing {
    size_t capacity;
    size_t length;
    uint8_t records[];
};

struct builder {
    struct listing *listing;
};

static int builder_room(struct builder *b, size_t bytes)
{
    struct listing *l = b->listing;
    if (l != NULL && bytes <= l->capacity - l->length) {
        return 0;
    }
    size_t capacity = l == NULL ? 4096 : l->capacity * 2;
    if (capacity > LISTING_BYTES_MAX) {
        return -ENOMEM;
    }
    struct listing *grown = krealloc(l, sizeof(*grown) + capacity);
    if (grown == NULL) {
        return -ENOMEM;
    }
    grown->capacity = capacity;
    grown->length = l == NULL ? 0 : grown->length;
    b->listing = grown;
    return 0;
}

static int append(void *context, const struct node_entry *e)
{
    struct builder *b = context;
    size_t bytes = ALIGN_UP(RECORD_BYTES + e->name_length + 1, 8);
    int rc = builder_room(b, bytes);
    if (rc != 0) {
        return rc;
    }
    struct listing *l = b->listing;
    uint8_t *to = l->records + l->length;
    memset(to, 0, bytes);
    l->length += bytes;
    le64_store(to, e->ino);
    le64_store(to + 8, l->length);
    le16_store(to + 16, (uint16_t)bytes);
    to[18] = e->type;
    memcpy(to + RECORD_BYTES, e->name, e->name_length);
    return 0;
}

static int take_down(struct file *f)
{
    struct builder b = {.listing = f->listing};
    struct node *dir = f->node;
    struct node *parent = dir->parent != NULL ? dir->parent : dir;
    struct node_entry dot = {dir->ino, LX_DT_DIR, ".", 1};
    struct node_entry dot_dot = {parent->ino, LX_DT_DIR, "..", 2};
    if (b.listing != NULL) {
        b.listing->length = 0;
    }
    int rc = append(&b, &dot);
    if (rc == 0) {
        rc = append(&b, &dot_dot);
    }
    if (rc == 0) {
        rc = node_list(dir, append, &b);
    }
    f->listing = b.listing;
    return rc;
}

/* The first record that starts at or after `offset`: a program may seek anywhere. */
static uint64_t record_boundary(const struct listing *l, uint64_t offset)
{
    uint64_t at = 0;
    while (at < offset && at < l->length) {
        at += le16_load(l->records + at + 16);
    }
    return at;
}

int64_t file_list(struct file *f, struct iobuf *b)
{
    if (!node_is(f->node, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    if (f->offset == 0 || f->listing == NULL) {
        int rc = take_down(f);
        if (rc != 0) {
            return rc;
        }
    }
    const struct listing *l = f->listing;
    uint64_t start = record_boundary(l, f->offset), end = start;
    while (end < l->length) {
        uint16_t bytes = le16_load(l->records + end + 16);
        if (end + bytes - start > b->left) {
            break;
        }
        end += bytes;
    }
    if (start >= l->length) {
        return 0;
    }
    if (end == start) {
        return -EINVAL;
    }
    int rc = iobuf_put(b, l->records + start, end - start);
    if (rc != 0) {
        return rc;
    }
    f->offset = end;
    return (int64_t)(end - start);
}
