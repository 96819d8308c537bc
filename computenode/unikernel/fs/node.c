/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/node.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

#define BUCKET_COUNT 4096u
#define INO_FIRST    0x100000000ull /* above the 32-bit inode numbers of the image */

/* The one tree of the machine. */
static struct {
    const struct erofs *lower;
    struct node *root;
    uint64_t ino_next;
    uint32_t node_count;
    uint32_t clean_count;    /* nodes in clean_nodes */
    struct list clean_nodes; /* unreferenced mirrors of the image, oldest first */
    struct list buckets[BUCKET_COUNT];
} tree;

struct node *node_root(void)
{
    return tree.root;
}

const struct erofs *node_lower(void)
{
    return tree.lower;
}

uint64_t node_count(void)
{
    return tree.node_count;
}

/* FNV-1a over the address of the directory and the name. */
static struct list *bucket_of(const struct node *dir, const char *name, size_t name_length)
{
    uint64_t hash = 0xcbf29ce484222325ull ^ (uint64_t)(uintptr_t)dir >> 4;
    for (size_t i = 0; i < name_length; i++) {
        hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3ull;
    }
    return &tree.buckets[(hash ^ hash >> 32) % BUCKET_COUNT];
}

static void clean_list_remove(struct node *n)
{
    if (!list_empty(&n->clean)) {
        list_remove(&n->clean);
        tree.clean_count--;
    }
}

static void node_free(struct node *n)
{
    CHECK(n->references == 0);
    CHECK((n->flags & NODE_LINKED) == 0);
    CHECK(list_empty(&n->children));
    content_truncate(&n->content, 0);
    kfree(n->target);
    kfree(n->name);
    kfree(n);
    tree.node_count--;
}

static void node_unlink(struct node *n)
{
    clean_list_remove(n);
    list_remove(&n->siblings);
    list_remove(&n->bucket);
    n->flags &= ~(uint32_t)NODE_LINKED;
    n->parent = NULL;
}

static void node_link(struct node *dir, struct node *n)
{
    n->parent = dir;
    n->flags |= NODE_LINKED;
    list_append(&dir->children, &n->siblings);
    list_append(bucket_of(dir, n->name, n->name_length), &n->bucket);
    clean_list_remove(dir);
}

static bool droppable(const struct node *n)
{
    return (n->flags & NODE_CLEAN) != 0 && n->references == 0 && list_empty(&n->children);
}

/* A node that may be dropped waits in the list; the oldest goes when the list is full. */
static void clean_list_add(struct node *n)
{
    if (!droppable(n) || !list_empty(&n->clean)) {
        return;
    }
    list_append(&tree.clean_nodes, &n->clean);
    tree.clean_count++;
    while (tree.clean_count > NODE_CLEAN_MAX) {
        struct node *oldest = list_entry(list_first(&tree.clean_nodes), struct node, clean);
        struct node *parent = oldest->parent;
        node_unlink(oldest);
        node_free(oldest);
        clean_list_add(parent);
    }
}

struct node *node_ref(struct node *n)
{
    if (n != NULL) {
        n->references++;
        clean_list_remove(n);
    }
    return n;
}

struct node *node_unref(struct node *n)
{
    if (n == NULL) {
        return NULL;
    }
    CHECK(n->references > 0);
    if (--n->references == 0) {
        if ((n->flags & NODE_LINKED) == 0 && n != tree.root) {
            node_free(n);
        } else {
            clean_list_add(n);
        }
    }
    return NULL;
}

static struct node_time time_now(void)
{
    uint64_t now = clock_realtime_ns();
    return (struct node_time){(int64_t)(now / 1000000000u), (uint32_t)(now % 1000000000u)};
}

static char *name_copy(const char *name, size_t name_length)
{
    char *copy = kmalloc(name_length + 1);
    if (copy != NULL) {
        memcpy(copy, name, name_length);
        copy[name_length] = 0;
    }
    return copy;
}

int node_new(const char *name, size_t name_length, uint32_t mode, struct node **ret)
{
    if (name_length > LX_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    if (tree.node_count >= NODE_COUNT_MAX) {
        return -ENOSPC;
    }
    struct node *n = kzalloc(sizeof(*n));
    if (n == NULL) {
        return -ENOMEM;
    }
    n->name = name_copy(name, name_length);
    if (n->name == NULL) {
        kfree(n);
        return -ENOMEM;
    }
    n->name_length = (uint32_t)name_length;
    n->references = 1;
    n->mode = mode;
    n->link_count = node_is(n, LX_S_IFDIR) ? 2 : 1;
    n->ino = tree.ino_next++;
    n->device = NODE_DEVICE_TMPFS;
    n->atime = n->mtime = n->ctime = time_now();
    n->backing.ops = &node_backing_ops;
    list_init(&n->siblings);
    list_init(&n->children);
    list_init(&n->bucket);
    list_init(&n->clean);
    tree.node_count++;
    *ret = n;
    return 0;
}

/* Linux packs minor and major of device nodes as new_encode_dev() does; so does the image. */
static void take_lower(struct node *n, const struct erofs_inode *lower)
{
    n->lower = *lower;
    n->has_lower = true;
    n->flags |= NODE_CLEAN;
    n->device = NODE_DEVICE_ROOT;
    n->ino = lower->ino != 0 ? lower->ino : lower->nid;
    n->uid = lower->uid;
    n->gid = lower->gid;
    n->link_count = lower->link_count;
    n->rdev = lower->device;
    n->bytes = lower->bytes;
    n->lower_bytes = lower->bytes;
    n->mtime = (struct node_time){lower->mtime_s, lower->mtime_ns};
    n->atime = n->ctime = n->mtime;
}

static int from_lower(struct node *dir, uint64_t nid, const char *name, size_t name_length,
                      struct node **ret)
{
    struct erofs_inode lower;
    struct node *n;
    int rc = erofs_inode_read(tree.lower, nid, &lower);
    if (rc == 0) {
        rc = node_new(name, name_length, lower.mode, &n);
    }
    if (rc != 0) {
        return rc;
    }
    take_lower(n, &lower);
    if (dir != NULL) {
        node_link(dir, n);
    }
    *ret = n;
    return 0;
}

int node_tree_init(const struct erofs *lower)
{
    tree.lower = lower;
    tree.ino_next = INO_FIRST;
    tree.node_count = 0;
    tree.clean_count = 0;
    list_init(&tree.clean_nodes);
    for (uint32_t i = 0; i < BUCKET_COUNT; i++) {
        list_init(&tree.buckets[i]);
    }
    int rc = lower != NULL ? from_lower(NULL, lower->root_nid, "", 0, &tree.root)
                           : node_new("", 0, LX_S_IFDIR | 0755, &tree.root);
    if (rc == 0 && !node_is(tree.root, LX_S_IFDIR)) {
        tree.root = node_unref(tree.root);
        rc = -EUCLEAN;
    }
    if (rc == 0) {
        tree.root->flags &= ~(uint32_t)NODE_CLEAN;
        tree.root->flags |= NODE_PERMANENT;
    }
    return rc;
}

void node_tree_fini(void)
{
    struct node *n = tree.root;
    while (n != NULL) {
        struct list *child = list_first(&n->children);
        if (child != NULL) {
            n = list_entry(child, struct node, siblings);
            continue;
        }
        struct node *parent = n->parent;
        n->references = 0;
        node_unlink(n);
        node_free(n);
        n = parent;
    }
    tree.root = NULL;
}

struct node *node_child_in_memory(struct node *dir, const char *name, size_t name_length)
{
    struct list *head = bucket_of(dir, name, name_length);
    list_for_each (at, head) {
        struct node *n = list_entry(at, struct node, bucket);
        if (n->parent == dir && n->name_length == name_length &&
            memcmp(n->name, name, name_length) == 0) {
            return n;
        }
    }
    return NULL;
}

int node_child(struct node *dir, const char *name, size_t name_length, struct node **ret)
{
    if (!node_is(dir, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    if (name_length > LX_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    struct node *n = node_child_in_memory(dir, name, name_length);
    if (n != NULL) {
        if ((n->flags & NODE_WHITEOUT) != 0) {
            return -ENOENT;
        }
        *ret = node_ref(n);
        return 0;
    }
    if (dir->hooks != NULL && dir->hooks->lookup != NULL) {
        return dir->hooks->lookup(dir, name, name_length, ret);
    }
    if (!dir->has_lower) {
        return -ENOENT;
    }
    uint64_t nid;
    int rc = erofs_lookup(tree.lower, &dir->lower, name, name_length, &nid);
    return rc != 0 ? rc : from_lower(dir, nid, name, name_length, ret);
}

void node_dirty(struct node *n)
{
    n->flags &= ~(uint32_t)NODE_CLEAN;
    clean_list_remove(n);
}

void node_touch(struct node *n)
{
    node_dirty(n);
    n->mtime = n->ctime = time_now();
}

/* Does the image have this name in this directory? Then a removal needs a whiteout. */
static int lower_has(struct node *dir, const char *name, size_t name_length, bool *ret)
{
    uint64_t nid;
    *ret = false;
    if (!dir->has_lower) {
        return 0;
    }
    int rc = erofs_lookup(tree.lower, &dir->lower, name, name_length, &nid);
    *ret = rc == 0;
    return rc == -ENOENT ? 0 : rc;
}

static int directory_writable(const struct node *dir)
{
    if (!node_is(dir, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    if (dir != tree.root && (dir->flags & NODE_LINKED) == 0) {
        return -ENOENT;
    }
    return dir->device == NODE_DEVICE_PROC || dir->device == NODE_DEVICE_SYS ? -EPERM : 0;
}

static void drop_whiteout(struct node *dir, const char *name, size_t name_length)
{
    struct node *n = node_child_in_memory(dir, name, name_length);
    if (n != NULL && (n->flags & NODE_WHITEOUT) != 0) {
        node_unlink(n);
        node_free(n);
    }
}

static int target_copy(struct node *n, const char *target)
{
    n->bytes = strlen(target);
    n->target = kmalloc(n->bytes + 1);
    if (n->target == NULL) {
        return -ENOMEM;
    }
    memcpy(n->target, target, n->bytes + 1);
    return 0;
}

int node_create(struct node *dir, const char *name, size_t name_length,
                const struct node_creation *how, struct node **ret)
{
    struct node *n;
    int rc = directory_writable(dir);
    if (rc != 0) {
        return rc;
    }
    rc = node_child(dir, name, name_length, &n);
    if (rc != -ENOENT) {
        if (rc == 0) {
            node_unref(n);
        }
        return rc == 0 ? -EEXIST : rc;
    }
    rc = node_new(name, name_length, how->mode, &n);
    if (rc != 0) {
        return rc;
    }
    n->uid = how->uid;
    n->gid = how->gid;
    n->rdev = how->rdev;
    n->device = dir->device;
    if (how->target != NULL && target_copy(n, how->target) != 0) {
        node_unref(n);
        return -ENOMEM;
    }
    drop_whiteout(dir, name, name_length);
    node_link(dir, n);
    node_touch(dir);
    dir->link_count += node_is(n, LX_S_IFDIR) ? 1 : 0;
    *ret = n;
    return 0;
}

int node_place(struct node *dir, const char *name, size_t name_length, uint32_t mode,
               uint64_t device, struct node **ret)
{
    struct node *n;
    struct node *old = node_child_in_memory(dir, name, name_length);
    if (old != NULL) {
        CHECK(list_empty(&old->children));
        node_ref(old);
        node_unlink(old);
        node_unref(old);
    }
    int rc = node_new(name, name_length, mode, &n);
    if (rc != 0) {
        return rc;
    }
    n->device = device;
    n->flags |= NODE_PERMANENT;
    node_link(dir, n);
    dir->link_count += node_is(n, LX_S_IFDIR) ? 1 : 0;
    *ret = n;
    return 0;
}

static int any_entry(void *context, const struct node_entry *entry)
{
    return 1;
}

/* Takes the name away and leaves a whiteout if the image has it. The node lives while referenced.
 */
static int take_away(struct node *n)
{
    struct node *dir = n->parent, *whiteout = NULL;
    bool lower;
    int rc = lower_has(dir, n->name, n->name_length, &lower);
    if (rc == 0 && lower) {
        rc = node_new(n->name, n->name_length, 0, &whiteout);
    }
    if (rc != 0) {
        return rc;
    }
    node_unlink(n);
    if (whiteout != NULL) {
        whiteout->flags |= NODE_WHITEOUT;
        whiteout->references = 0;
        node_link(dir, whiteout);
    }
    node_touch(dir);
    return 0;
}

int node_remove(struct node *n, bool directory)
{
    struct node *dir = n->parent;
    if (n == tree.root || (n->flags & NODE_PERMANENT) != 0) {
        return -EBUSY;
    }
    if (dir == NULL) {
        return -ENOENT;
    }
    int rc = directory_writable(dir);
    if (rc != 0) {
        return rc;
    }
    bool is_directory = node_is(n, LX_S_IFDIR);
    if (is_directory != directory) {
        return directory ? -ENOTDIR : -EISDIR;
    }
    if (is_directory) {
        rc = node_list(n, any_entry, NULL);
        if (rc != 0) {
            return rc > 0 ? -ENOTEMPTY : rc;
        }
    }
    node_ref(n);
    rc = take_away(n);
    if (rc == 0) {
        node_dirty(n);
        n->link_count = 0;
        n->ctime = time_now();
        dir->link_count -= is_directory ? 1 : 0;
        while (!list_empty(&n->children)) { /* only whiteouts are left */
            struct node *child = list_entry(list_first(&n->children), struct node, siblings);
            node_unlink(child);
            node_free(child);
        }
    }
    node_unref(n);
    return rc;
}

static bool is_inside(const struct node *n, const struct node *ancestor)
{
    while (n != NULL && n != ancestor) {
        n = n->parent;
    }
    return n == ancestor;
}

/* May `n` replace what has the name already? Removes that. */
static int replace(struct node *n, struct node *dir, const char *name, size_t name_length,
                   bool no_replace)
{
    struct node *old;
    int rc = node_child(dir, name, name_length, &old);
    if (rc != 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    bool directory = node_is(n, LX_S_IFDIR);
    if (no_replace) {
        rc = -EEXIST;
    } else if (old == n) {
        rc = 1;
    } else if (directory && !node_is(old, LX_S_IFDIR)) {
        rc = -ENOTDIR;
    } else if (!directory && node_is(old, LX_S_IFDIR)) {
        rc = -EISDIR;
    } else {
        rc = node_remove(old, directory);
    }
    node_unref(old);
    return rc;
}

/* The new name is free and allowed. */
static int move(struct node *n, struct node *dir, const char *name, size_t name_length)
{
    struct node *old_dir = n->parent;
    char *new_name = name_copy(name, name_length);
    if (new_name == NULL) {
        return -ENOMEM;
    }
    node_ref(n);
    node_dirty(n);
    int rc = take_away(n);
    if (rc != 0) {
        kfree(new_name);
        node_unref(n);
        return rc;
    }
    kfree(n->name);
    n->name = new_name;
    n->name_length = (uint32_t)name_length;
    n->ctime = time_now();
    drop_whiteout(dir, name, name_length);
    node_link(dir, n);
    node_touch(dir);
    if (node_is(n, LX_S_IFDIR)) {
        old_dir->link_count--;
        dir->link_count++;
    }
    node_unref(n);
    return 0;
}

int node_rename(struct node *n, struct node *dir, const char *name, size_t name_length,
                bool no_replace)
{
    if (n == tree.root || (n->flags & NODE_PERMANENT) != 0) {
        return -EBUSY;
    }
    if (n->parent == NULL) {
        return -ENOENT;
    }
    int rc = directory_writable(dir);
    if (rc == 0) {
        rc = directory_writable(n->parent);
    }
    if (rc != 0) {
        return rc;
    }
    if (n->device != dir->device) {
        return -EXDEV;
    }
    if (is_inside(dir, n)) {
        return -EINVAL;
    }
    if (name_length > LX_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    rc = replace(n, dir, name, name_length, no_replace);
    return rc == 0 ? move(n, dir, name, name_length) : MIN(rc, 0);
}
