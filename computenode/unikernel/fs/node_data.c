/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/node_data.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/fs/rootcache.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

/* What the image has there, up to the end of a cached chunk; to be given back. */
struct lower_part {
    struct rootcache_slot *slot;
    const void *data;
    uint64_t bytes;
};

static int lower_get(struct node *n, uint64_t offset, struct lower_part *ret)
{
    uint64_t image_offset, run, cached;
    erofs_map(&n->lower, offset, &image_offset, &run);
    int rc = rootcache_get(image_offset, &ret->slot, &ret->data, &cached);
    if (rc == 0) {
        ret->bytes = MIN(run, cached);
    }
    return rc;
}

/* From the image; the count moved. */
static int64_t read_lower(struct node *n, uint64_t offset, struct iobuf *b, uint64_t bytes)
{
    struct lower_part lower;
    int rc = lower_get(n, offset, &lower);
    if (rc != 0) {
        return rc;
    }
    uint64_t part = MIN(bytes, lower.bytes);
    rc = iobuf_put(b, lower.data, part);
    rootcache_put(lower.slot);
    return rc != 0 ? rc : (int64_t)part;
}

/* One piece that lies in one place; the count moved. */
static int64_t read_piece(struct node *n, uint64_t offset, struct iobuf *b, uint64_t bytes)
{
    uint64_t within = offset % CONTENT_CHUNK_BYTES;
    uint64_t part = MIN(bytes, CONTENT_CHUNK_BYTES - within);
    uint64_t va = content_chunk(&n->content, offset / CONTENT_CHUNK_BYTES);
    int rc;
    if (va != 0) {
        rc = iobuf_put_window(b, va + within, part);
    } else if (offset < n->lower_bytes) {
        if (n->content.chunk_count == 0) {
            part = bytes;
        }
        return read_lower(n, offset, b, MIN(part, n->lower_bytes - offset));
    } else {
        rc = iobuf_put_zeros(b, part);
    }
    return rc != 0 ? rc : (int64_t)part;
}

int64_t node_read(struct node *n, uint64_t offset, struct iobuf *b)
{
    int64_t done = 0;
    while (b->left > 0 && offset < n->bytes) {
        int64_t part = read_piece(n, offset, b, MIN(b->left, n->bytes - offset));
        if (part < 0) {
            return done > 0 ? done : part;
        }
        offset += (uint64_t)part;
        done += part;
    }
    return done;
}

int node_read_exact(struct node *n, uint64_t offset, void *to, size_t bytes)
{
    struct iobuf b = {.address = (uint64_t)(uintptr_t)to, .left = bytes, .kernel = true};
    if (offset > n->bytes || bytes > n->bytes - offset) {
        return -ENOEXEC;
    }
    int64_t done = node_read(n, offset, &b);
    return done < 0 ? (int)done : (uint64_t)done == bytes ? 0 : -EIO;
}

/* A new chunk starts with what the image has there. */
static int fill_from_lower(struct node *n, uint64_t chunk, uint64_t va)
{
    uint64_t offset = chunk * CONTENT_CHUNK_BYTES;
    while (offset < n->lower_bytes && offset < (chunk + 1) * CONTENT_CHUNK_BYTES) {
        struct lower_part lower;
        int rc = lower_get(n, offset, &lower);
        if (rc != 0) {
            return rc;
        }
        uint64_t part = MIN(lower.bytes, (chunk + 1) * CONTENT_CHUNK_BYTES - offset);
        part = MIN(part, n->lower_bytes - offset);
        rc = copy_to_window(va + offset % CONTENT_CHUNK_BYTES, lower.data, part);
        rootcache_put(lower.slot);
        if (rc != 0) {
            return rc;
        }
        offset += part;
    }
    return 0;
}

static int chunk_make(struct node *n, uint64_t chunk, uint64_t *ret_va)
{
    int is_new;
    int rc = content_chunk_make(&n->content, chunk, ret_va, &is_new);
    if (rc == 0 && is_new != 0) {
        rc = fill_from_lower(n, chunk, *ret_va);
        if (rc != 0) {
            content_chunk_drop(&n->content, chunk);
        }
    }
    return rc;
}

int64_t node_write(struct node *n, uint64_t offset, struct iobuf *b)
{
    int64_t done = 0;
    int rc = 0;
    if (offset > CONTENT_BYTES_MAX || b->left > CONTENT_BYTES_MAX - offset) {
        return -EFBIG;
    }
    if (b->left > 0) {
        node_touch(n);
    }
    while (b->left > 0) {
        uint64_t va, within = offset % CONTENT_CHUNK_BYTES;
        uint64_t part = MIN(b->left, CONTENT_CHUNK_BYTES - within);
        rc = chunk_make(n, offset / CONTENT_CHUNK_BYTES, &va);
        if (rc == 0) {
            rc = iobuf_get_window(b, va + within, part);
        }
        if (rc != 0) {
            break;
        }
        offset += part;
        done += (int64_t)part;
        n->bytes = MAX(n->bytes, offset);
    }
    return done > 0 ? done : rc;
}

static const uint8_t zero_page[PAGE_BYTES];

/* Zeros inside one chunk that exists. */
static int window_zero(uint64_t va, uint64_t bytes)
{
    while (bytes > 0) {
        uint64_t part = MIN(bytes, sizeof(zero_page));
        int rc = copy_to_window(va, zero_page, part);
        if (rc != 0) {
            return rc;
        }
        va += part;
        bytes -= part;
    }
    return 0;
}

int node_zero_range(struct node *n, uint64_t offset, uint64_t bytes)
{
    uint64_t end = MIN(n->bytes, offset + bytes);
    node_touch(n);
    while (offset < end) {
        uint64_t chunk = offset / CONTENT_CHUNK_BYTES, within = offset % CONTENT_CHUNK_BYTES;
        uint64_t part = MIN(end - offset, CONTENT_CHUNK_BYTES - within);
        uint64_t va = content_chunk(&n->content, chunk);
        bool whole = part == CONTENT_CHUNK_BYTES && n->shared_map_count == 0;
        int rc = 0;
        if (whole && offset >= n->lower_bytes) {
            content_chunk_drop(&n->content, chunk);
        } else if (va != 0 || offset < n->lower_bytes) {
            rc = chunk_make(n, chunk, &va);
            rc = rc != 0 ? rc : window_zero(va + within, part);
        }
        if (rc != 0) {
            return rc;
        }
        offset += part;
    }
    return 0;
}

int node_allocate(struct node *n, uint64_t offset, uint64_t bytes)
{
    if (offset > CONTENT_BYTES_MAX || bytes > CONTENT_BYTES_MAX - offset) {
        return -EFBIG;
    }
    uint64_t last = (offset + bytes + CONTENT_CHUNK_BYTES - 1) / CONTENT_CHUNK_BYTES;
    for (uint64_t chunk = offset / CONTENT_CHUNK_BYTES; chunk < last; chunk++) {
        uint64_t va;
        int rc = chunk_make(n, chunk, &va);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

int node_share(struct node *n)
{
    int rc = node_allocate(n, 0, ALIGN_UP(n->bytes, CONTENT_CHUNK_BYTES));
    if (rc == 0) {
        node_dirty(n);
        n->shared_map_count++;
    }
    return rc;
}

/*
 * Growing shows zeros; so what lies behind the old end must be zeros. Chunks of a file that was
 * mapped shared stay, because a mapping may hold their frames.
 */
int node_truncate(struct node *n, uint64_t bytes)
{
    if (bytes > CONTENT_BYTES_MAX) {
        return -EFBIG;
    }
    node_touch(n);
    if (bytes < n->bytes) {
        uint64_t first = ALIGN_UP(bytes, CONTENT_CHUNK_BYTES);
        uint64_t keep_end = n->shared_map_count > 0 ? n->bytes : MIN(first, n->bytes);
        if (n->content.chunk_count > 0) {
            int rc = node_zero_range(n, bytes, keep_end - bytes);
            if (rc != 0) {
                return rc;
            }
        }
        if (n->shared_map_count == 0) {
            content_truncate(&n->content, first / CONTENT_CHUNK_BYTES);
        }
        n->lower_bytes = MIN(n->lower_bytes, bytes);
        n->bytes = bytes;
    } else if (n->shared_map_count > 0) {
        int rc = node_allocate(n, n->bytes, bytes - n->bytes);
        if (rc != 0) {
            return rc;
        }
    }
    n->bytes = bytes;
    return 0;
}

/* ---- mappings ---- */

static struct node *node_of(struct mm_backing *b)
{
    return container_of(b, struct node, backing);
}

static void backing_ref(struct mm_backing *b)
{
    node_ref(node_of(b));
}

static void backing_unref(struct mm_backing *b)
{
    node_unref(node_of(b));
}

static int backing_read_page(struct mm_backing *b, uint64_t page_index, void *page)
{
    struct node *n = node_of(b);
    uint64_t offset = page_index * PAGE_BYTES;
    if (page_index >= CONTENT_BYTES_MAX / PAGE_BYTES || offset >= n->bytes) {
        return -EFAULT;
    }
    struct iobuf to = {.address = (uint64_t)(uintptr_t)page, .left = PAGE_BYTES, .kernel = true};
    int64_t done = node_read(n, offset, &to);
    uint64_t wanted = MIN(n->bytes - offset, PAGE_BYTES);
    if (done < 0 || (uint64_t)done != wanted) {
        return -EIO;
    }
    memset((uint8_t *)page + done, 0, PAGE_BYTES - (uint64_t)done);
    return 0;
}

static int backing_shared_page(struct mm_backing *b, uint64_t page_index, uint64_t *ret_kernel_va)
{
    struct node *n = node_of(b);
    uint64_t offset = page_index * PAGE_BYTES;
    if (page_index >= CONTENT_BYTES_MAX / PAGE_BYTES || offset >= ALIGN_UP(n->bytes, PAGE_BYTES)) {
        return -EFAULT;
    }
    uint64_t va = content_chunk(&n->content, offset / CONTENT_CHUNK_BYTES);
    if (va == 0) {
        return -EFAULT; /* grew by write(2) after it was mapped: made at the next mmap */
    }
    *ret_kernel_va = va + offset % CONTENT_CHUNK_BYTES;
    return 0;
}

static const char *backing_name(struct mm_backing *b, uint64_t *ret_inode)
{
    static char path[LX_PATH_MAX];
    struct node *n = node_of(b);
    *ret_inode = n->ino;
    if (node_path(n, path, sizeof(path)) < 0) {
        return "/ (deleted)";
    }
    return path;
}

const struct mm_backing_ops node_backing_ops = {
    .ref = backing_ref,
    .unref = backing_unref,
    .read_page = backing_read_page,
    .shared_page = backing_shared_page,
    .name = backing_name,
};
