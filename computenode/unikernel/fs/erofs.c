/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/erofs.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/abi.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define SUPER_OFFSET          1024u
#define SUPER_BYTES           128u
#define SUPER_MAGIC           0xE0F5E1E2u
#define SUPER_CHECKSUM_AT     4u
#define COMPAT_CHECKSUM       0x1u
#define INCOMPAT_ZERO_PADDING 0x1u /* speaks of compressed files only: none here, so harmless */
#define SLOT_BYTES            32u
#define INODE_COMPACT_BYTES   32u
#define INODE_EXTENDED_BYTES  64u
#define LAYOUT_FLAT_PLAIN     0u
#define LAYOUT_FLAT_INLINE    2u
#define XATTR_HEADER_BYTES    12u
#define XATTR_ENTRY_BYTES     4u
#define FILE_BYTES_MAX        (UINT64_C(1) << 46)

/* Reads a range after checking that it lies in the image. */
static int image_read(const struct erofs *fs, uint64_t offset, void *to, size_t bytes)
{
    if (offset > fs->image_bytes || bytes > fs->image_bytes - offset) {
        return -EUCLEAN;
    }
    return fs->read(fs->context, offset, to, bytes);
}

/* CRC-32C (Castagnoli), bit by bit: it runs once, over 3 KiB. */
static uint32_t crc32c_update(uint32_t crc, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
        }
    }
    return crc;
}

/* The checksum covers the rest of the first block, with its own field as zeros. */
static int checksum_verify(const struct erofs *fs, uint32_t expected)
{
    uint8_t piece[256];
    uint32_t crc = UINT32_MAX;
    for (uint64_t at = SUPER_OFFSET; at < EROFS_BLOCK_BYTES; at += sizeof(piece)) {
        int rc = image_read(fs, at, piece, sizeof(piece));
        if (rc != 0) {
            return rc;
        }
        if (at == SUPER_OFFSET) {
            memset(piece + SUPER_CHECKSUM_AT, 0, 4);
        }
        crc = crc32c_update(crc, piece, sizeof(piece));
    }
    return crc == expected ? 0 : -EUCLEAN;
}

static int refuse(int error, const char *why, const char **ret_why)
{
    *ret_why = why;
    return error;
}

struct super {
    uint32_t checksum;
    uint32_t compat;
    uint32_t incompat;
    uint32_t block_bits;
    uint32_t dir_block_bits;
    uint32_t extra_devices;
};

/* Field order of the superblock, all little endian. */
static bool super_decode(struct erofs *fs, const uint8_t *raw, struct super *ret)
{
    struct bytes_reader r;
    bytes_reader_init(&r, raw, SUPER_BYTES);
    bool magic_ok = bytes_get_u32(&r) == SUPER_MAGIC;
    ret->checksum = bytes_get_u32(&r);
    ret->compat = bytes_get_u32(&r);
    ret->block_bits = bytes_get_u8(&r);
    (void)bytes_get_u8(&r); /* extension slots: nothing in them that we need */
    fs->root_nid = bytes_get_u16(&r);
    fs->inode_count = bytes_get_u64(&r);
    fs->build_time_s = bytes_get_u64(&r);
    fs->build_time_ns = bytes_get_u32(&r);
    fs->block_count = bytes_get_u32(&r);
    fs->meta_offset = (uint64_t)bytes_get_u32(&r) * EROFS_BLOCK_BYTES;
    (void)bytes_get(&r, 4 + 16 + 16); /* shared xattr block, uuid, volume name */
    ret->incompat = bytes_get_u32(&r);
    (void)bytes_get_u16(&r);
    ret->extra_devices = bytes_get_u16(&r);
    (void)bytes_get_u16(&r);
    ret->dir_block_bits = bytes_get_u8(&r);
    return magic_ok;
}

int erofs_open(struct erofs *ret, const char **ret_why)
{
    uint8_t raw[SUPER_BYTES];
    struct super super;
    struct erofs fs = *ret;

    if (fs.image_bytes < EROFS_BLOCK_BYTES) {
        return refuse(-EUCLEAN, "the image is smaller than one block", ret_why);
    }
    int rc = image_read(&fs, SUPER_OFFSET, raw, sizeof(raw));
    if (rc != 0) {
        return refuse(rc, "the superblock can't be read", ret_why);
    }
    if (!super_decode(&fs, raw, &super)) {
        return refuse(-EUCLEAN, "it is not an EROFS image (wrong magic)", ret_why);
    }
    if (super.block_bits != 12 || super.dir_block_bits != 0) {
        return refuse(-ENOTSUP, "only blocks of 4 KiB are supported", ret_why);
    }
    if ((super.incompat & ~INCOMPAT_ZERO_PADDING) != 0 || super.extra_devices != 0) {
        return refuse(-ENOTSUP,
                      "it uses compression, chunks or extra devices; make it with plain mkfs.erofs",
                      ret_why);
    }
    if ((super.compat & COMPAT_CHECKSUM) != 0 && checksum_verify(&fs, super.checksum) != 0) {
        return refuse(-EUCLEAN, "the checksum of the superblock is wrong", ret_why);
    }
    if (fs.block_count > fs.image_bytes / EROFS_BLOCK_BYTES) {
        return refuse(-EUCLEAN, "the image is truncated", ret_why);
    }
    *ret = fs;
    return 0;
}

/* Positions in and after one inode. */
struct layout {
    uint32_t kind;
    uint32_t header_bytes; /* of inode and extended attributes: the tail follows */
    uint32_t start;        /* raw_blkaddr or device number */
};

static void decode_compact(struct bytes_reader *r, const struct erofs *fs,
                           struct erofs_inode *inode, struct layout *layout)
{
    inode->link_count = bytes_get_u16(r);
    inode->bytes = bytes_get_u32(r);
    (void)bytes_get_u32(r);
    layout->start = bytes_get_u32(r);
    inode->ino = bytes_get_u32(r);
    inode->uid = bytes_get_u16(r);
    inode->gid = bytes_get_u16(r);
    inode->mtime_s = (int64_t)fs->build_time_s;
    inode->mtime_ns = fs->build_time_ns;
}

static void decode_extended(struct bytes_reader *r, struct erofs_inode *inode,
                            struct layout *layout)
{
    (void)bytes_get_u16(r);
    inode->bytes = bytes_get_u64(r);
    layout->start = bytes_get_u32(r);
    inode->ino = bytes_get_u32(r);
    inode->uid = bytes_get_u32(r);
    inode->gid = bytes_get_u32(r);
    inode->mtime_s = (int64_t)bytes_get_u64(r);
    inode->mtime_ns = bytes_get_u32(r);
    inode->link_count = bytes_get_u32(r);
}

/* Whole blocks must lie in the image; an inline tail in the block of its inode. */
static int place_contents(const struct erofs *fs, uint64_t inode_offset,
                          const struct layout *layout, struct erofs_inode *inode)
{
    if (inode->bytes > FILE_BYTES_MAX) {
        return -EUCLEAN;
    }
    uint64_t whole = ALIGN_UP(inode->bytes, EROFS_BLOCK_BYTES);
    if (layout->kind == LAYOUT_FLAT_INLINE && inode->bytes % EROFS_BLOCK_BYTES != 0) {
        whole = ALIGN_DOWN(inode->bytes, EROFS_BLOCK_BYTES);
        inode->inline_bytes = (uint32_t)(inode->bytes - whole);
        inode->inline_offset = inode_offset + layout->header_bytes;
        if (inode->inline_offset % EROFS_BLOCK_BYTES + inode->inline_bytes > EROFS_BLOCK_BYTES ||
            inode->inline_offset + inode->inline_bytes > fs->image_bytes) {
            return -EUCLEAN;
        }
    }
    if (whole > 0) {
        inode->block_offset = (uint64_t)layout->start * EROFS_BLOCK_BYTES;
        if (inode->block_offset > fs->image_bytes ||
            whole > fs->image_bytes - inode->block_offset) {
            return -EUCLEAN;
        }
    }
    return 0;
}

static bool mode_has_contents(uint32_t mode)
{
    uint32_t type = mode & LX_S_IFMT;
    return type == LX_S_IFREG || type == LX_S_IFDIR || type == LX_S_IFLNK;
}

static bool mode_is_device(uint32_t mode)
{
    uint32_t type = mode & LX_S_IFMT;
    return type == LX_S_IFCHR || type == LX_S_IFBLK;
}

int erofs_inode_read(const struct erofs *fs, uint64_t nid, struct erofs_inode *ret)
{
    uint8_t raw[INODE_EXTENDED_BYTES];
    struct erofs_inode inode = {.nid = nid};
    struct layout layout = {0};
    struct bytes_reader r;

    if (nid > fs->image_bytes / SLOT_BYTES) {
        return -EUCLEAN;
    }
    uint64_t offset = fs->meta_offset + nid * SLOT_BYTES;
    int rc = image_read(fs, offset, raw, INODE_COMPACT_BYTES);
    if (rc != 0) {
        return rc;
    }
    uint16_t format = le16_load(raw);
    bool extended = (format & 1) != 0;
    layout.kind = format >> 1 & 7;
    layout.header_bytes = extended ? INODE_EXTENDED_BYTES : INODE_COMPACT_BYTES;
    rc = extended ? image_read(fs, offset, raw, INODE_EXTENDED_BYTES) : 0;
    if (rc != 0) {
        return rc;
    }
    bytes_reader_init(&r, raw, layout.header_bytes);
    (void)bytes_get_u16(&r);
    uint32_t xattr_count = bytes_get_u16(&r);
    if (xattr_count != 0) {
        layout.header_bytes += XATTR_HEADER_BYTES + XATTR_ENTRY_BYTES * (xattr_count - 1);
    }
    inode.mode = bytes_get_u16(&r);
    if (extended) {
        decode_extended(&r, &inode, &layout);
    } else {
        decode_compact(&r, fs, &inode, &layout);
    }
    CHECK(r.ok);
    if (mode_is_device(inode.mode)) {
        inode.device = layout.start;
    }
    if (!mode_has_contents(inode.mode)) {
        inode.bytes = 0;
    } else if (layout.kind != LAYOUT_FLAT_PLAIN && layout.kind != LAYOUT_FLAT_INLINE) {
        return -ENOTSUP;
    }
    rc = place_contents(fs, offset, &layout, &inode);
    if (rc == 0) {
        *ret = inode;
    }
    return rc;
}

void erofs_map(const struct erofs_inode *inode, uint64_t offset, uint64_t *ret_image_offset,
               uint64_t *ret_bytes)
{
    CHECK(offset < inode->bytes);
    uint64_t whole = inode->bytes - inode->inline_bytes;
    if (offset < whole) {
        *ret_image_offset = inode->block_offset + offset;
        *ret_bytes = whole - offset;
    } else {
        *ret_image_offset = inode->inline_offset + (offset - whole);
        *ret_bytes = inode->bytes - offset;
    }
}

int erofs_read(const struct erofs *fs, const struct erofs_inode *inode, uint64_t offset, void *to,
               size_t bytes)
{
    uint8_t *at = to;
    CHECK(offset <= inode->bytes);
    CHECK(bytes <= inode->bytes - offset);
    while (bytes > 0) {
        uint64_t image_offset, run;
        erofs_map(inode, offset, &image_offset, &run);
        size_t part = run < bytes ? (size_t)run : bytes;
        int rc = image_read(fs, image_offset, at, part);
        if (rc != 0) {
            return rc;
        }
        at += part;
        offset += part;
        bytes -= part;
    }
    return 0;
}
