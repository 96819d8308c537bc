/* SPDX-License-Identifier: Apache-2.0 */
/* What one may ask of a node: its entries, its target, its path, its permissions. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/fs/node.h"
#include "lib/base/check.h"

struct list_lower {
    struct node *dir;
    node_each_fn each;
    void *context;
};

static int each_lower(void *context, const struct erofs_entry *e)
{
    const struct list_lower *l = context;
    if (node_child_in_memory(l->dir, e->name, e->name_length) != NULL) {
        return 0;
    }
    struct node_entry entry = {
        .ino = e->nid, .type = e->type, .name = e->name, .name_length = e->name_length};
    return l->each(l->context, &entry);
}

int node_list(struct node *dir, node_each_fn each, void *context)
{
    if (!node_is(dir, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    if (dir->hooks != NULL && dir->hooks->list != NULL) {
        int rc = dir->hooks->list(dir, each, context);
        if (rc != 0) {
            return rc;
        }
    }
    list_for_each (at, &dir->children) {
        struct node *n = list_entry(at, struct node, siblings);
        if ((n->flags & NODE_WHITEOUT) != 0) {
            continue;
        }
        struct node_entry entry = {.ino = n->ino,
                                   .type = (uint8_t)((n->mode & LX_S_IFMT) >> 12),
                                   .name = n->name,
                                   .name_length = n->name_length};
        int rc = each(context, &entry);
        if (rc != 0) {
            return rc;
        }
    }
    if (!dir->has_lower) {
        return 0;
    }
    struct list_lower lower = {.dir = dir, .each = each, .context = context};
    return erofs_list(node_lower(), &dir->lower, each_lower, &lower);
}

int64_t node_readlink(struct node *n, char *to, size_t capacity)
{
    if (!node_is(n, LX_S_IFLNK)) {
        return -EINVAL;
    }
    if (n->hooks != NULL && n->hooks->readlink != NULL) {
        return n->hooks->readlink(n, to, capacity);
    }
    if (n->bytes > capacity) {
        return -ENAMETOOLONG;
    }
    if (n->target != NULL) {
        memcpy(to, n->target, n->bytes);
        return (int64_t)n->bytes;
    }
    CHECK(n->has_lower);
    int rc = erofs_read(node_lower(), &n->lower, 0, to, n->bytes);
    return rc != 0 ? rc : (int64_t)n->bytes;
}

int64_t node_path(struct node *n, char *to, size_t capacity)
{
    size_t length = 0;
    for (struct node *at = n; at != node_root(); at = at->parent) {
        if (at == NULL || at->parent == NULL) {
            return -ENOENT;
        }
        length += at->name_length + 1;
    }
    if (length == 0) {
        if (capacity < 2) {
            return -ERANGE;
        }
        memcpy(to, "/", 2);
        return 1;
    }
    if (length + 1 > capacity) {
        return -ERANGE;
    }
    to[length] = 0;
    size_t end = length;
    for (struct node *at = n; at != node_root(); at = at->parent) {
        end -= at->name_length;
        memcpy(to + end, at->name, at->name_length);
        to[--end] = '/';
    }
    CHECK(end == 0);
    return (int64_t)length;
}

int node_permission(const struct node *n, uint32_t uid, uint32_t gid, unsigned mask)
{
    if (uid == 0) {
        bool any_execute = (n->mode & 0111) != 0 || node_is(n, LX_S_IFDIR);
        return (mask & LX_X_OK) != 0 && !any_execute ? -EACCES : 0;
    }
    unsigned granted = n->mode & 7;
    if (uid == n->uid) {
        granted = n->mode >> 6 & 7;
    } else if (gid == n->gid) {
        granted = n->mode >> 3 & 7;
    }
    return (granted & mask) == mask ? 0 : -EACCES;
}
