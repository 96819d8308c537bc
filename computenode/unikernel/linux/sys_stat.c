/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that describe files. */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"

static int64_t put_stat(struct node *n, uint64_t user)
{
    struct lx_stat st;
    file_stat(n, &st);
    return copy_to_user(user, &st, sizeof(st));
}

static int64_t stat_at(const struct call *c, int fd, uint64_t user_path, uint64_t user,
                       uint64_t flags)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    unsigned walk_flags = (flags & LX_AT_SYMLINK_NOFOLLOW) != 0 ? WALK_NOFOLLOW : 0;
    int rc = call_node_at(c, fd, user_path, walk_flags, (flags & LX_AT_EMPTY_PATH) != 0, &n);
    return rc != 0 ? rc : put_stat(n, user);
}

int64_t sys_stat(const struct call *c)
{
    return stat_at(c, LX_AT_FDCWD, c->arg[0], c->arg[1], 0);
}

int64_t sys_lstat(const struct call *c)
{
    return stat_at(c, LX_AT_FDCWD, c->arg[0], c->arg[1], LX_AT_SYMLINK_NOFOLLOW);
}

int64_t sys_newfstatat(const struct call *c)
{
    return stat_at(c, (int)c->arg[0], c->arg[1], c->arg[2], c->arg[3]);
}

int64_t sys_fstat(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    return rc != 0 ? rc : put_stat(f->node, c->arg[1]);
}

static struct lx_statx_time statx_time(struct node_time t)
{
    return (struct lx_statx_time){.tv_sec = t.seconds, .tv_nsec = t.nanoseconds};
}

int64_t sys_statx(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    uint64_t flags = c->arg[2];
    unsigned walk_flags = (flags & LX_AT_SYMLINK_NOFOLLOW) != 0 ? WALK_NOFOLLOW : 0;
    int rc =
        call_node_at(c, (int)c->arg[0], c->arg[1], walk_flags, (flags & LX_AT_EMPTY_PATH) != 0, &n);
    if (rc != 0) {
        return rc;
    }
    const struct lx_statx st = {
        .stx_mask = LX_STATX_BASIC_STATS,
        .stx_blksize = 4096,
        .stx_nlink = n->link_count,
        .stx_uid = n->uid,
        .stx_gid = n->gid,
        .stx_mode = (uint16_t)n->mode,
        .stx_ino = n->ino,
        .stx_size = n->bytes,
        .stx_blocks = (n->bytes + 511) / 512,
        .stx_atime = statx_time(n->atime),
        .stx_ctime = statx_time(n->ctime),
        .stx_mtime = statx_time(n->mtime),
        .stx_rdev_major = LX_MAJOR(n->rdev),
        .stx_rdev_minor = LX_MINOR(n->rdev),
        .stx_dev_major = LX_MAJOR(n->device),
        .stx_dev_minor = LX_MINOR(n->device),
    };
    return copy_to_user(c->arg[4], &st, sizeof(st));
}

static int64_t magic_of(uint64_t device)
{
    switch (device) {
    case NODE_DEVICE_ROOT:
        return LX_OVERLAYFS_MAGIC;
    case NODE_DEVICE_PROC:
        return LX_PROC_MAGIC;
    case NODE_DEVICE_SYS:
        return LX_SYSFS_MAGIC;
    case NODE_DEVICE_PIPE:
        return LX_PIPEFS_MAGIC;
    default:
        return LX_TMPFS_MAGIC;
    }
}

static int64_t put_statfs(struct node *n, uint64_t user)
{
    uint64_t pages = content_limit_pages(), used = content_used_pages();
    uint64_t nodes = node_count();
    const struct lx_statfs st = {
        .f_type = magic_of(n->device),
        .f_bsize = PAGE_BYTES,
        .f_blocks = pages,
        .f_bfree = pages - used,
        .f_bavail = pages - used,
        .f_files = NODE_COUNT_MAX,
        .f_ffree = NODE_COUNT_MAX - nodes,
        .f_fsid = {(int32_t)n->device, 0},
        .f_namelen = LX_NAME_MAX,
        .f_frsize = PAGE_BYTES,
    };
    return copy_to_user(user, &st, sizeof(st));
}

int64_t sys_statfs(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = call_node_at(c, LX_AT_FDCWD, c->arg[0], 0, false, &n);
    return rc != 0 ? rc : put_statfs(n, c->arg[1]);
}

int64_t sys_fstatfs(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    return rc != 0 ? rc : put_statfs(f->node, c->arg[1]);
}

int64_t sys_getdents64(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    struct iobuf b = {.address = c->arg[1], .left = (uint32_t)c->arg[2]};
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    if (rc == 0 && !file_readable(f)) {
        rc = -EBADF;
    }
    return rc != 0 ? rc : file_list(f, &b);
}

/* Extended attributes: none. */
int64_t sys_no_xattr(const struct call *c)
{
    return -EOPNOTSUPP;
}
