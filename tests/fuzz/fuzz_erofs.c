/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The EROFS reader: the input is an image without the 1024 unused bytes at its start, filled up
 * with zeros to whole blocks. Run as it is, and once more without its checksum, so that changes
 * get past that. Everything that can be reached is read, within a budget.
 */
#include <stdlib.h>
#include <string.h>

#include "computenode/unikernel/fs/erofs.h"

#define UNUSED_BYTES      1024u
#define COMPAT_AT         8u
#define VISITS_MAX        64
#define DEPTH_MAX         16
#define CONTENT_BYTES_MAX 16384u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    uint8_t *bytes;
    size_t length;
};

struct visit {
    const struct erofs *fs;
    int *budget;
    int depth;
};

static int input_read(void *context, uint64_t offset, void *to, size_t bytes)
{
    const struct input *in = context;
    if (offset > in->length || bytes > in->length - offset) {
        abort(); /* the promise of struct erofs */
    }
    memcpy(to, in->bytes + offset, bytes);
    return 0;
}

static int visit_entry(void *context, const struct erofs_entry *entry);

static void visit_node(const struct erofs *fs, uint64_t nid, int *budget, int depth)
{
    struct erofs_inode inode;
    uint8_t piece[256];
    struct visit visit = {fs, budget, depth + 1};
    if (--*budget <= 0 || depth > DEPTH_MAX || erofs_inode_read(fs, nid, &inode) != 0) {
        return;
    }
    uint64_t limit = inode.bytes < CONTENT_BYTES_MAX ? inode.bytes : CONTENT_BYTES_MAX;
    for (uint64_t at = 0; at < limit; at += sizeof(piece)) {
        size_t part = limit - at < sizeof(piece) ? (size_t)(limit - at) : sizeof(piece);
        if (erofs_read(fs, &inode, at, piece, part) != 0) {
            abort(); /* what erofs_inode_read accepts lies in the image */
        }
    }
    uint64_t found;
    (void)!erofs_lookup(fs, &inode, "b", 1, &found);
    (void)!erofs_list(fs, &inode, visit_entry, &visit);
}

static int visit_entry(void *context, const struct erofs_entry *entry)
{
    const struct visit *visit = context;
    if (entry->name_length == 0 || entry->name[entry->name_length] != 0) {
        abort();
    }
    visit_node(visit->fs, entry->nid, visit->budget, visit->depth);
    return *visit->budget <= 0 ? 1 : 0;
}

static void run(struct input *in)
{
    struct erofs fs = {.read = input_read, .context = in, .image_bytes = in->length};
    const char *why = NULL;
    int budget = VISITS_MAX;
    if (erofs_open(&fs, &why) == 0) {
        visit_node(&fs, fs.root_nid, &budget, 0);
    } else if (why == NULL) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in;
    in.length = (size_t)ALIGN_UP(size + UNUSED_BYTES, EROFS_BLOCK_BYTES);
    in.bytes = calloc(1, in.length);
    if (in.bytes == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(in.bytes + UNUSED_BYTES, data, size);
    }
    run(&in);
    in.bytes[UNUSED_BYTES + COMPAT_AT] &= 0xfe;
    run(&in);
    free(in.bytes);
    return 0;
}
