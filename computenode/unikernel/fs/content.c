/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/content.h"

#include <errno.h>
#include <stddef.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

#define LEAF_CHUNKS 512u /* 8 MiB of file, a table of one page */

static uint64_t limit_pages = UINT64_MAX;
static uint64_t used_pages;

void content_limit_set(uint64_t pages)
{
    limit_pages = pages;
}

uint64_t content_limit_pages(void)
{
    return limit_pages;
}

uint64_t content_used_pages(void)
{
    return used_pages;
}

static uint64_t *chunk_entry(const struct content *c, uint64_t index)
{
    uint64_t leaf = index / LEAF_CHUNKS;
    if (leaf >= c->leaf_count || c->leaves[leaf] == NULL) {
        return NULL;
    }
    return &c->leaves[leaf][index % LEAF_CHUNKS];
}

uint64_t content_chunk(const struct content *c, uint64_t index)
{
    const uint64_t *entry = chunk_entry(c, index);
    return entry == NULL ? 0 : *entry;
}

/* Makes sure that the entry of `index` exists. */
static int entry_make(struct content *c, uint64_t index, uint64_t **ret)
{
    uint32_t leaf = (uint32_t)(index / LEAF_CHUNKS);
    if (leaf >= c->leaf_count) {
        uint32_t count = MAX(leaf + 1, c->leaf_count * 2);
        uint64_t **leaves = krealloc(c->leaves, count * sizeof(leaves[0]));
        if (leaves == NULL) {
            return -ENOMEM;
        }
        for (uint32_t i = c->leaf_count; i < count; i++) {
            leaves[i] = NULL;
        }
        c->leaves = leaves;
        c->leaf_count = count;
    }
    if (c->leaves[leaf] == NULL) {
        c->leaves[leaf] = kzalloc(LEAF_CHUNKS * sizeof(uint64_t));
        if (c->leaves[leaf] == NULL) {
            return -ENOMEM;
        }
    }
    *ret = &c->leaves[leaf][index % LEAF_CHUNKS];
    return 0;
}

int content_chunk_make(struct content *c, uint64_t index, uint64_t *ret_va, int *ret_new)
{
    uint64_t *entry;
    CHECK(index < CONTENT_BYTES_MAX / CONTENT_CHUNK_BYTES);
    int rc = entry_make(c, index, &entry);
    if (rc != 0) {
        return rc;
    }
    *ret_new = 0;
    if (*entry == 0) {
        if (used_pages + CONTENT_CHUNK_PAGES > limit_pages) {
            return -ENOSPC;
        }
        rc = kwin_alloc(CONTENT_CHUNK_PAGES, entry);
        if (rc != 0) {
            *entry = 0;
            return rc;
        }
        used_pages += CONTENT_CHUNK_PAGES;
        c->chunk_count++;
        *ret_new = 1;
    }
    *ret_va = *entry;
    return 0;
}

void content_chunk_drop(struct content *c, uint64_t index)
{
    uint64_t *entry = chunk_entry(c, index);
    if (entry == NULL || *entry == 0) {
        return;
    }
    kwin_free(*entry, CONTENT_CHUNK_PAGES);
    *entry = 0;
    CHECK(used_pages >= CONTENT_CHUNK_PAGES);
    used_pages -= CONTENT_CHUNK_PAGES;
    c->chunk_count--;
}

void content_truncate(struct content *c, uint64_t first)
{
    for (uint64_t leaf = first / LEAF_CHUNKS; leaf < c->leaf_count && c->chunk_count > 0; leaf++) {
        if (c->leaves[leaf] == NULL) {
            continue;
        }
        uint64_t start = MAX(first, leaf * LEAF_CHUNKS);
        for (uint64_t i = start; i < (leaf + 1) * LEAF_CHUNKS; i++) {
            content_chunk_drop(c, i);
        }
    }
    if (first == 0) {
        CHECK(c->chunk_count == 0);
        for (uint32_t leaf = 0; leaf < c->leaf_count; leaf++) {
            kfree(c->leaves[leaf]);
        }
        kfree(c->leaves);
        *c = (struct content){0};
    }
}
