/* SPDX-License-Identifier: Apache-2.0 */
/* From a path to a node: path_resolution(7). */
#ifndef DILOS_UNIKERNEL_FS_WALK_H
#define DILOS_UNIKERNEL_FS_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/fs/abi.h"
#include "computenode/unikernel/fs/node.h"

#define WALK_SYMLINKS_MAX 40u

enum walk_flag {
    WALK_NOFOLLOW = 1,  /* a symbolic link as last component is the result itself */
    WALK_PARENT = 2,    /* the last component need not exist: `node` may be NULL */
    WALK_DIRECTORY = 4, /* the result must be a directory */
};

struct walk {
    struct node *node;   /* referenced; NULL with WALK_PARENT when there is nothing of that name */
    struct node *parent; /* referenced; only with WALK_PARENT, NULL if the path ends in "/", "." */
    uint32_t name_length;
    bool trailing_slash;
    char name[LX_NAME_MAX + 1]; /* last component, with WALK_PARENT */
};

/* Who asks: for search permission on directories. */
struct walk_identity {
    uint32_t uid;
    uint32_t gid;
};

/*
 * base: where a relative path starts. path: NUL terminated, not empty. The caller ends with
 * walk_end(). Errors: -ENOENT, -ENOTDIR, -EACCES, -ELOOP, -ENAMETOOLONG, -ENOMEM, -EIO, -EUCLEAN.
 */
int walk_path(struct node *base, const char *path, unsigned flags, struct walk_identity who,
              struct walk *ret) MUST_CHECK;
void walk_end(struct walk *w);

/* Only the node; referenced. */
int walk_node(struct node *base, const char *path, unsigned flags, struct walk_identity who,
              struct node **ret) MUST_CHECK;

#endif
