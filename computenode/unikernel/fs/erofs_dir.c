/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directories of EROFS: each block of 4 KiB (the last may be shorter) holds an array of entries
 *     nid u64, name offset u16, file type u8, zero u8
 * followed by the names. The first name offset tells how many entries there are; a name ends where
 * the next one starts, the last one at a NUL or at the end of the block.
 */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/fs/erofs.h"
#include "lib/base/bytes.h"

#define ENTRY_BYTES 12u

/* Part of one block that is read at once: the entry array and the names are looked at in place. */
struct dir_block {
    const struct erofs *fs;
    const struct erofs_inode *dir;
    uint64_t start; /* offset of the block in the directory */
    uint32_t bytes; /* of the block */
    uint32_t entry_count;
};

static const uint8_t type_of[] = {LX_DT_UNKNOWN, LX_DT_REG,  LX_DT_DIR,  LX_DT_CHR,
                                  LX_DT_BLK,     LX_DT_FIFO, LX_DT_SOCK, LX_DT_LNK};

static int block_open(struct dir_block *b)
{
    uint8_t raw[ENTRY_BYTES];
    if (b->bytes < ENTRY_BYTES) {
        return -EUCLEAN;
    }
    int rc = erofs_read(b->fs, b->dir, b->start, raw, sizeof(raw));
    if (rc != 0) {
        return rc;
    }
    uint32_t first_name = le16_load(raw + 8);
    if (first_name < ENTRY_BYTES || first_name % ENTRY_BYTES != 0 || first_name >= b->bytes) {
        return -EUCLEAN;
    }
    b->entry_count = first_name / ENTRY_BYTES;
    return 0;
}

/* Entry `index` of the block with its name. */
static int block_entry(const struct dir_block *b, uint32_t index, struct erofs_entry *ret)
{
    uint8_t raw[2 * ENTRY_BYTES];
    bool last = index + 1 == b->entry_count;
    size_t raw_bytes = last ? ENTRY_BYTES : sizeof(raw);

    int rc = erofs_read(b->fs, b->dir, b->start + (uint64_t)index * ENTRY_BYTES, raw, raw_bytes);
    if (rc != 0) {
        return rc;
    }
    uint32_t name_start = le16_load(raw + 8);
    uint32_t name_end = last ? b->bytes : le16_load(raw + ENTRY_BYTES + 8);
    if (name_start < b->entry_count * ENTRY_BYTES || name_end <= name_start ||
        name_end > b->bytes) {
        return -EUCLEAN;
    }
    uint32_t length = name_end - name_start;
    if (length > EROFS_NAME_BYTES_MAX) {
        if (!last) {
            return -EUCLEAN;
        }
        length = EROFS_NAME_BYTES_MAX + 1; /* a NUL must follow within */
    }
    rc = erofs_read(b->fs, b->dir, b->start + name_start, ret->name, length);
    if (rc != 0) {
        return rc;
    }
    const char *nul = memchr(ret->name, 0, length);
    length = nul != NULL ? (uint32_t)(nul - ret->name) : length;
    if (length == 0 || length > EROFS_NAME_BYTES_MAX || memchr(ret->name, '/', length) != NULL) {
        return -EUCLEAN;
    }
    ret->name[length] = 0;
    ret->name_length = length;
    ret->nid = le64_load(raw);
    ret->type = raw[10] < sizeof(type_of) ? type_of[raw[10]] : LX_DT_UNKNOWN;
    return 0;
}

static bool is_dot(const struct erofs_entry *e)
{
    return e->name[0] == '.' && (e->name_length == 1 || (e->name_length == 2 && e->name[1] == '.'));
}

int erofs_list(const struct erofs *fs, const struct erofs_inode *dir,
               int (*each)(void *context, const struct erofs_entry *entry), void *context)
{
    struct erofs_entry entry;
    if ((dir->mode & LX_S_IFMT) != LX_S_IFDIR) {
        return -ENOTDIR;
    }
    for (uint64_t start = 0; start < dir->bytes; start += EROFS_BLOCK_BYTES) {
        struct dir_block b = {.fs = fs, .dir = dir, .start = start};
        b.bytes = (uint32_t)MIN(dir->bytes - start, (uint64_t)EROFS_BLOCK_BYTES);
        int rc = block_open(&b);
        for (uint32_t i = 0; rc == 0 && i < b.entry_count; i++) {
            rc = block_entry(&b, i, &entry);
            if (rc == 0 && !is_dot(&entry)) {
                rc = each(context, &entry);
            }
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* <0, 0, >0 as the wanted name comes before, is, or comes after the entry's. */
static int name_compare(const char *name, size_t name_length, const struct erofs_entry *e)
{
    int order = memcmp(name, e->name, MIN(name_length, e->name_length));
    if (order != 0) {
        return order;
    }
    return name_length < e->name_length ? -1 : name_length > e->name_length;
}

/* Names are sorted by bytes within a block and over the blocks. */
static int block_search(const struct dir_block *b, const char *name, size_t name_length,
                        uint64_t *ret_nid)
{
    struct erofs_entry entry;
    uint32_t low = 0, high = b->entry_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int rc = block_entry(b, middle, &entry);
        if (rc != 0) {
            return rc;
        }
        int order = name_compare(name, name_length, &entry);
        if (order == 0) {
            *ret_nid = entry.nid;
            return 0;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return -ENOENT;
}

/* The last block whose first name is not after the wanted one. */
static int find_block(const struct erofs *fs, const struct erofs_inode *dir, const char *name,
                      size_t name_length, struct dir_block *ret)
{
    uint64_t low = 0, high = ALIGN_UP(dir->bytes, EROFS_BLOCK_BYTES) / EROFS_BLOCK_BYTES;
    int found = -ENOENT;
    while (low < high) {
        struct erofs_entry first;
        uint64_t middle = low + (high - low) / 2;
        struct dir_block b = {.fs = fs, .dir = dir, .start = middle * EROFS_BLOCK_BYTES};
        b.bytes = (uint32_t)MIN(dir->bytes - b.start, (uint64_t)EROFS_BLOCK_BYTES);
        int rc = block_open(&b);
        if (rc == 0) {
            rc = block_entry(&b, 0, &first);
        }
        if (rc != 0) {
            return rc;
        }
        if (name_compare(name, name_length, &first) < 0) {
            high = middle;
        } else {
            *ret = b;
            found = 0;
            low = middle + 1;
        }
    }
    return found;
}

int erofs_lookup(const struct erofs *fs, const struct erofs_inode *dir, const char *name,
                 size_t name_length, uint64_t *ret_nid)
{
    struct dir_block b;
    if ((dir->mode & LX_S_IFMT) != LX_S_IFDIR) {
        return -ENOTDIR;
    }
    if (name_length == 0 || name_length > EROFS_NAME_BYTES_MAX) {
        return -ENOENT;
    }
    int rc = find_block(fs, dir, name, name_length, &b);
    return rc != 0 ? rc : block_search(&b, name, name_length, ret_nid);
}
