/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file tree. There is one tree of nodes; what other systems do with mounts is done with kinds
 * of nodes:
 *  - The root image (EROFS, read only) is the lower layer. A node that comes from it remembers its
 *    lower inode; children that nobody asked for yet exist only there.
 *  - Everything is writable: what is written, created, renamed or removed lives in memory above
 *    the image, for as long as the instance runs. Removing a name that the image has leaves a
 *    whiteout. A file of the image that is opened for writing stays in the image page by page,
 *    until a page is written.
 *  - /dev, /proc and so on are directories without a lower layer.
 *  - Generated nodes (/proc, /sys) have hooks that say what they hold.
 *
 * Every node has exactly one name; hard links are refused. A node is alive while it has a place in
 * the tree or references. Nodes that only mirror the image are dropped again, oldest first, when
 * there are more than NODE_CLEAN_MAX of them.
 *
 * Context: not in fault context, except where said; nothing here touches user memory.
 */
#ifndef DILOS_UNIKERNEL_FS_NODE_H
#define DILOS_UNIKERNEL_FS_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/fs/content.h"
#include "computenode/unikernel/fs/erofs.h"
#include "lib/base/compiler.h"
#include "lib/base/list.h"

#define NODE_CLEAN_MAX 8192u
#define NODE_COUNT_MAX (1u << 20)

struct node;
struct file;

struct node_time {
    int64_t seconds;
    uint32_t nanoseconds;
};

/* One name of a directory, as listed. */
struct node_entry {
    uint64_t ino;
    uint8_t type; /* LX_DT_* */
    const char *name;
    size_t name_length;
};
typedef int (*node_each_fn)(void *context, const struct node_entry *entry);

/* What a generated node holds. Every hook may be NULL. */
struct node_hooks {
    /* A directory: finds a child; the caller takes over the reference. Errors: -ENOENT. */
    int (*lookup)(struct node *dir, const char *name, size_t name_length, struct node **ret);
    int (*list)(struct node *dir, node_each_fn each, void *context);
    /* A symbolic link: writes the target, returns its length or a negative errno. */
    int64_t (*readlink)(struct node *node, char *to, size_t capacity);
    /*
     * A link that leads to an open file and not to a path (/proc/self/fd/N): the node behind it,
     * referenced.
     */
    int (*follow)(struct node *node, struct node **ret);
    /* A file: sets the operations of a file that is being opened. */
    int (*open)(struct node *node, struct file *file);
};

enum node_flag {
    NODE_LINKED = 1,    /* has a place in the tree */
    NODE_CLEAN = 2,     /* mirrors the image, nothing differs: may be dropped */
    NODE_WHITEOUT = 4,  /* hides a name of the image */
    NODE_PERMANENT = 8, /* part of the fixed tree: can't be removed or renamed */
};

struct node {
    uint32_t references;
    uint32_t flags; /* enum node_flag */
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t link_count;
    uint64_t ino;
    uint64_t device; /* st_dev: which kind of file system it seems to be on */
    uint64_t rdev;
    uint64_t bytes;       /* of contents; of a link's target */
    uint64_t lower_bytes; /* this much of the contents still shows through from the image */
    struct node_time atime, mtime, ctime;
    const struct node_hooks *hooks; /* NULL for ordinary nodes */
    uint64_t hook_value;
    struct node *parent; /* NULL: root, or removed */
    struct list siblings;
    struct list children; /* those in memory */
    struct list bucket;
    struct list clean; /* in the list of droppable nodes */
    bool has_lower;
    struct erofs_inode lower;
    struct content content;    /* of regular files */
    char *target;              /* of symbolic links that are not in the image */
    struct mm_backing backing; /* of mappings of this file */
    uint32_t shared_map_count; /* how often it was made mappable shared and writable */
    uint32_t name_length;
    char *name; /* NUL terminated */
};

#define NODE_DEVICE_ROOT  LX_DEVICE(0, 20)
#define NODE_DEVICE_TMPFS LX_DEVICE(0, 21)
#define NODE_DEVICE_PROC  LX_DEVICE(0, 22)
#define NODE_DEVICE_SYS   LX_DEVICE(0, 23)
#define NODE_DEVICE_DEV   LX_DEVICE(0, 6)
#define NODE_DEVICE_PIPE  LX_DEVICE(0, 13)

/*
 * Makes the root. lower: the root image, which must outlive the tree, or NULL for an empty one.
 * Errors: -ENOMEM, and those of erofs_inode_read().
 */
int node_tree_init(const struct erofs *lower) MUST_CHECK;
/* Frees everything; for tests. Nothing may be referenced any more. */
void node_tree_fini(void);
struct node *node_root(void);
const struct erofs *node_lower(void);

struct node *node_ref(struct node *n);   /* NULL is fine */
struct node *node_unref(struct node *n); /* NULL is fine; returns NULL */

static inline bool node_is(const struct node *n, uint32_t type)
{
    return (n->mode & 0170000u) == type;
}

/* A node with one reference and no place in the tree. Errors: -ENOMEM, -ENOSPC too many nodes. */
int node_new(const char *name, size_t name_length, uint32_t mode, struct node **ret) MUST_CHECK;

/*
 * The child of that name (not "." or ".."), referenced. Errors: -ENOENT, -ENOTDIR, -ENOMEM,
 * -ENAMETOOLONG, -EIO, -EUCLEAN.
 */
int node_child(struct node *dir, const char *name, size_t name_length,
               struct node **ret) MUST_CHECK;

/* The child if it is in memory, not referenced, a whiteout too; NULL if there is none. */
struct node *node_child_in_memory(struct node *dir, const char *name, size_t name_length);

/*
 * Makes a child; mode with its type; uid and gid are those of the caller; target for symbolic
 * links. Errors: -EEXIST, -ENOTDIR, -ENOENT the directory was removed, -ENAMETOOLONG, -ENOMEM,
 * -ENOSPC, -EPERM in a generated directory, and those of node_child().
 */
struct node_creation {
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint64_t rdev;
    const char *target;
};
int node_create(struct node *dir, const char *name, size_t name_length,
                const struct node_creation *how, struct node **ret) MUST_CHECK;

/*
 * Puts a permanent node into `dir` (of kernel's choosing: nothing is asked), in place of what the
 * image has under that name. *ret is referenced. Errors: -ENOMEM, -ENOSPC.
 */
int node_place(struct node *dir, const char *name, size_t name_length, uint32_t mode,
               uint64_t device, struct node **ret) MUST_CHECK;

/* place.c: the same by absolute path, whose parent exists. Errors also: -ENOENT, -ENOTDIR. */
int node_place_directory(const char *path, uint32_t permissions, uint64_t device,
                         struct node **ret) MUST_CHECK;
int node_place_generated(const char *path, uint32_t mode, uint64_t device,
                         const struct node_hooks *hooks, uint64_t value) MUST_CHECK;

/* Removes a name. Errors: -EBUSY, -EPERM, -ENOTEMPTY, -EISDIR / -ENOTDIR as `directory` wants. */
int node_remove(struct node *n, bool directory) MUST_CHECK;

/*
 * Gives `n` the name in `dir`, replacing what is there if that is allowed. Errors as rename(2).
 */
int node_rename(struct node *n, struct node *dir, const char *name, size_t name_length,
                bool no_replace) MUST_CHECK;

/* Calls `each` for every name but "." and "..", until it returns non-zero. */
int node_list(struct node *dir, node_each_fn each, void *context) MUST_CHECK;

/* Length of the target. Errors: -EINVAL not a link, -ENAMETOOLONG, -EIO. */
int64_t node_readlink(struct node *n, char *to, size_t capacity);

/* Absolute path, NUL terminated. Errors: -ENOENT removed, -ERANGE. The length without NUL. */
int64_t node_path(struct node *n, char *to, size_t capacity);

/* To be called before anything of the node differs from the image. */
void node_dirty(struct node *n);

void node_touch(struct node *n); /* mtime and ctime are now */

/* Permission check as the process `uid`, `gid`; mask of LX_R_OK, LX_W_OK, LX_X_OK. 0 or -EACCES. */
int node_permission(const struct node *n, uint32_t uid, uint32_t gid, unsigned mask) MUST_CHECK;

uint64_t node_count(void);

#endif
