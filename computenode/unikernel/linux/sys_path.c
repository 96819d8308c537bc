/* SPDX-License-Identifier: Apache-2.0 */
/* System calls that change or follow names. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/vdso.h"

#define UTIME_NOW  ((1 << 30) - 1)
#define UTIME_OMIT ((1 << 30) - 2)
#define NO_ID      UINT32_MAX

/* A walk to the parent of a path argument. The caller ends it. */
static int walk_to(const struct call *c, int fd, uint64_t user_path, unsigned flags,
                   struct walk *ret)
{
    CLEANUP(path_cleanup) char *path = NULL;
    CLEANUP(node_cleanup) struct node *base = NULL;
    int rc = call_path(user_path, &path);
    if (rc == 0) {
        rc = call_base(c, fd, path, &base);
    }
    return rc != 0 ? rc : walk_path(base, path, flags, process_identity(c->p), ret);
}

static int may_change(const struct call *c, const struct node *dir)
{
    return node_permission(dir, c->p->uid, c->p->gid, LX_W_OK | LX_X_OK);
}

/* Only the owner and root change mode, owner and times. */
static int is_owner(const struct call *c, const struct node *n)
{
    return c->p->uid == 0 || c->p->uid == n->uid ? 0 : -EPERM;
}

static int64_t create_node(const struct call *c, int fd, uint64_t user_path,
                           const struct node_creation *how)
{
    struct walk w;
    struct node *n;
    int rc = walk_to(c, fd, user_path, WALK_PARENT | WALK_NOFOLLOW, &w);
    if (rc != 0) {
        return rc;
    }
    bool directory = (how->mode & LX_S_IFMT) == LX_S_IFDIR;
    if (w.node != NULL) {
        rc = -EEXIST;
    } else if (w.trailing_slash && !directory) {
        rc = -ENOENT;
    } else {
        rc = may_change(c, w.parent);
    }
    if (rc == 0) {
        rc = node_create(w.parent, w.name, w.name_length, how, &n);
    }
    if (rc == 0) {
        node_unref(n);
    }
    walk_end(&w);
    return rc;
}

static int64_t make_directory(const struct call *c, int fd, uint64_t user_path, uint64_t mode)
{
    struct node_creation how = {.mode = LX_S_IFDIR | ((uint32_t)mode & 01777 & ~c->p->umask),
                                .uid = c->p->uid,
                                .gid = c->p->gid};
    return create_node(c, fd, user_path, &how);
}

int64_t sys_mkdir(const struct call *c)
{
    return make_directory(c, LX_AT_FDCWD, c->arg[0], c->arg[1]);
}

int64_t sys_mkdirat(const struct call *c)
{
    return make_directory(c, (int)c->arg[0], c->arg[1], c->arg[2]);
}

/* Regular files only: devices and named pipes have nobody at their other end. */
static int64_t make_node(const struct call *c, int fd, uint64_t user_path, uint64_t mode)
{
    uint32_t type = (uint32_t)mode & LX_S_IFMT;
    struct node_creation how = {.mode = LX_S_IFREG | ((uint32_t)mode & LX_S_PERM & ~c->p->umask),
                                .uid = c->p->uid,
                                .gid = c->p->gid};
    return type == LX_S_IFREG || type == 0 ? create_node(c, fd, user_path, &how) : -EPERM;
}

int64_t sys_mknod(const struct call *c)
{
    return make_node(c, LX_AT_FDCWD, c->arg[0], c->arg[1]);
}

int64_t sys_mknodat(const struct call *c)
{
    return make_node(c, (int)c->arg[0], c->arg[1], c->arg[2]);
}

static int64_t make_symlink(const struct call *c, uint64_t user_target, int fd, uint64_t user_path)
{
    CLEANUP(path_cleanup) char *target = NULL;
    int rc = call_path(user_target, &target);
    if (rc != 0) {
        return rc;
    }
    struct node_creation how = {
        .mode = LX_S_IFLNK | 0777, .uid = c->p->uid, .gid = c->p->gid, .target = target};
    return target[0] == 0 ? -ENOENT : create_node(c, fd, user_path, &how);
}

int64_t sys_symlink(const struct call *c)
{
    return make_symlink(c, c->arg[0], LX_AT_FDCWD, c->arg[1]);
}

int64_t sys_symlinkat(const struct call *c)
{
    return make_symlink(c, c->arg[0], (int)c->arg[1], c->arg[2]);
}

/* Every file has one name here; programs know this from file systems without hard links. */
int64_t sys_link(const struct call *c)
{
    return -EPERM;
}

static int64_t remove_name(const struct call *c, int fd, uint64_t user_path, bool directory)
{
    struct walk w;
    int rc = walk_to(c, fd, user_path, WALK_PARENT | WALK_NOFOLLOW, &w);
    if (rc != 0) {
        return rc;
    }
    if (w.parent == NULL) {
        rc = directory ? -EINVAL : -EISDIR;
    } else if (w.node == NULL) {
        rc = -ENOENT;
    } else if (w.trailing_slash && !node_is(w.node, LX_S_IFDIR)) {
        rc = -ENOTDIR;
    } else {
        rc = may_change(c, w.parent);
    }
    if (rc == 0) {
        rc = node_remove(w.node, directory);
    }
    walk_end(&w);
    return rc;
}

int64_t sys_rmdir(const struct call *c)
{
    return remove_name(c, LX_AT_FDCWD, c->arg[0], true);
}

int64_t sys_unlink(const struct call *c)
{
    return remove_name(c, LX_AT_FDCWD, c->arg[0], false);
}

int64_t sys_unlinkat(const struct call *c)
{
    uint32_t flags = (uint32_t)c->arg[2];
    if ((flags & ~(uint32_t)LX_AT_REMOVEDIR) != 0) {
        return -EINVAL;
    }
    return remove_name(c, (int)c->arg[0], c->arg[1], flags != 0);
}

static int rename_walked(const struct call *c, struct walk *from, struct walk *to, uint32_t flags)
{
    if (from->parent == NULL || to->parent == NULL) {
        return -EBUSY;
    }
    if (from->node == NULL) {
        return -ENOENT;
    }
    if ((from->trailing_slash || to->trailing_slash) && !node_is(from->node, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    int rc = may_change(c, from->parent);
    if (rc == 0) {
        rc = may_change(c, to->parent);
    }
    return rc != 0 ? rc
                   : node_rename(from->node, to->parent, to->name, to->name_length,
                                 (flags & LX_RENAME_NOREPLACE) != 0);
}

static int64_t rename_at(const struct call *c, int from_fd, uint64_t user_from, int to_fd,
                         uint64_t user_to, uint32_t flags)
{
    struct walk from, to;
    if ((flags & ~LX_RENAME_NOREPLACE) != 0) {
        return -EINVAL;
    }
    int rc = walk_to(c, from_fd, user_from, WALK_PARENT | WALK_NOFOLLOW, &from);
    if (rc != 0) {
        return rc;
    }
    rc = walk_to(c, to_fd, user_to, WALK_PARENT | WALK_NOFOLLOW, &to);
    if (rc == 0) {
        rc = rename_walked(c, &from, &to, flags);
        walk_end(&to);
    }
    walk_end(&from);
    return rc;
}

int64_t sys_rename(const struct call *c)
{
    return rename_at(c, LX_AT_FDCWD, c->arg[0], LX_AT_FDCWD, c->arg[1], 0);
}

int64_t sys_renameat(const struct call *c)
{
    return rename_at(c, (int)c->arg[0], c->arg[1], (int)c->arg[2], c->arg[3], 0);
}

int64_t sys_renameat2(const struct call *c)
{
    return rename_at(c, (int)c->arg[0], c->arg[1], (int)c->arg[2], c->arg[3], (uint32_t)c->arg[4]);
}

static int64_t read_link(const struct call *c, int fd, uint64_t user_path, uint64_t user_to,
                         uint64_t capacity)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    CLEANUP(path_cleanup) char *target = NULL;
    if ((int64_t)capacity <= 0) {
        return -EINVAL;
    }
    int rc = call_node_at(c, fd, user_path, WALK_NOFOLLOW, true, &n);
    if (rc != 0) {
        return rc;
    }
    target = kmalloc(LX_PATH_MAX);
    if (target == NULL) {
        return -ENOMEM;
    }
    int64_t length = node_readlink(n, target, LX_PATH_MAX);
    if (length < 0) {
        return length;
    }
    length = MIN(length, (int64_t)capacity);
    rc = copy_to_user(user_to, target, (size_t)length);
    return rc != 0 ? rc : length;
}

int64_t sys_readlink(const struct call *c)
{
    return read_link(c, LX_AT_FDCWD, c->arg[0], c->arg[1], (uint64_t)(int32_t)c->arg[2]);
}

int64_t sys_readlinkat(const struct call *c)
{
    return read_link(c, (int)c->arg[0], c->arg[1], c->arg[2], (uint64_t)(int32_t)c->arg[3]);
}

int64_t sys_getcwd(const struct call *c)
{
    CLEANUP(path_cleanup) char *path = kmalloc(LX_PATH_MAX);
    if (path == NULL) {
        return -ENOMEM;
    }
    int64_t length = node_path(c->p->directory, path, LX_PATH_MAX);
    if (length < 0) {
        return length;
    }
    if ((uint64_t)length + 1 > c->arg[1]) {
        return -ERANGE;
    }
    int rc = copy_to_user(c->arg[0], path, (size_t)length + 1);
    return rc != 0 ? rc : length + 1;
}

static int64_t enter(const struct call *c, struct node *n)
{
    int rc = node_is(n, LX_S_IFDIR) ? node_permission(n, c->p->uid, c->p->gid, LX_X_OK) : -ENOTDIR;
    if (rc == 0) {
        node_unref(c->p->directory);
        c->p->directory = node_ref(n);
    }
    return rc;
}

int64_t sys_chdir(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = call_node_at(c, LX_AT_FDCWD, c->arg[0], WALK_DIRECTORY, false, &n);
    return rc != 0 ? rc : enter(c, n);
}

/* The node of a descriptor, referenced. */
static int node_of_fd(const struct call *c, uint64_t fd, struct node **ret)
{
    struct file *f;
    int rc = fd_get(c->p, (int)fd, &f);
    if (rc == 0) {
        *ret = node_ref(f->node);
        file_unref(f);
    }
    return rc;
}

int64_t sys_fchdir(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = node_of_fd(c, c->arg[0], &n);
    return rc != 0 ? rc : enter(c, n);
}

static int64_t access_at(const struct call *c, int fd, uint64_t user_path, uint64_t mask,
                         uint64_t flags)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    if ((mask & ~7ull) != 0) {
        return -EINVAL;
    }
    unsigned walk_flags = (flags & LX_AT_SYMLINK_NOFOLLOW) != 0 ? WALK_NOFOLLOW : 0;
    int rc = call_node_at(c, fd, user_path, walk_flags, (flags & LX_AT_EMPTY_PATH) != 0, &n);
    return rc != 0 ? rc : node_permission(n, c->p->uid, c->p->gid, (unsigned)mask);
}

int64_t sys_access(const struct call *c)
{
    return access_at(c, LX_AT_FDCWD, c->arg[0], c->arg[1], 0);
}

int64_t sys_faccessat(const struct call *c)
{
    return access_at(c, (int)c->arg[0], c->arg[1], c->arg[2], 0);
}

int64_t sys_faccessat2(const struct call *c)
{
    return access_at(c, (int)c->arg[0], c->arg[1], c->arg[2], c->arg[3]);
}

static int64_t change_mode(const struct call *c, struct node *n, uint64_t mode)
{
    int rc = is_owner(c, n);
    if (rc == 0) {
        node_dirty(n);
        n->mode = (n->mode & LX_S_IFMT) | ((uint32_t)mode & LX_S_PERM);
    }
    return rc;
}

static int64_t chmod_at(const struct call *c, int fd, uint64_t user_path, uint64_t mode)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = call_node_at(c, fd, user_path, 0, false, &n);
    return rc != 0 ? rc : change_mode(c, n, mode);
}

int64_t sys_chmod(const struct call *c)
{
    return chmod_at(c, LX_AT_FDCWD, c->arg[0], c->arg[1]);
}

int64_t sys_fchmodat(const struct call *c)
{
    return chmod_at(c, (int)c->arg[0], c->arg[1], c->arg[2]);
}

int64_t sys_fchmod(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = node_of_fd(c, c->arg[0], &n);
    return rc != 0 ? rc : change_mode(c, n, c->arg[1]);
}

static int64_t change_owner(const struct call *c, struct node *n, uint64_t uid, uint64_t gid)
{
    bool same_uid = (uint32_t)uid == NO_ID || (uint32_t)uid == n->uid;
    bool same_gid = (uint32_t)gid == NO_ID || (uint32_t)gid == n->gid;
    if (c->p->uid != 0 && !(same_uid && same_gid)) {
        return -EPERM;
    }
    if (!same_uid || !same_gid) {
        node_dirty(n);
        n->uid = same_uid ? n->uid : (uint32_t)uid;
        n->gid = same_gid ? n->gid : (uint32_t)gid;
    }
    return 0;
}

static int64_t chown_at(const struct call *c, int fd, uint64_t user_path, uint64_t uid,
                        uint64_t gid, uint64_t flags)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    unsigned walk_flags = (flags & LX_AT_SYMLINK_NOFOLLOW) != 0 ? WALK_NOFOLLOW : 0;
    int rc = call_node_at(c, fd, user_path, walk_flags, (flags & LX_AT_EMPTY_PATH) != 0, &n);
    return rc != 0 ? rc : change_owner(c, n, uid, gid);
}

int64_t sys_chown(const struct call *c)
{
    return chown_at(c, LX_AT_FDCWD, c->arg[0], c->arg[1], c->arg[2], 0);
}

int64_t sys_lchown(const struct call *c)
{
    return chown_at(c, LX_AT_FDCWD, c->arg[0], c->arg[1], c->arg[2], LX_AT_SYMLINK_NOFOLLOW);
}

int64_t sys_fchownat(const struct call *c)
{
    return chown_at(c, (int)c->arg[0], c->arg[1], c->arg[2], c->arg[3], c->arg[4]);
}

int64_t sys_fchown(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = node_of_fd(c, c->arg[0], &n);
    return rc != 0 ? rc : change_owner(c, n, c->arg[1], c->arg[2]);
}

static int time_set(struct node_time *t, const struct lx_timespec *wanted)
{
    uint64_t now = program_realtime_ns();
    if (wanted->tv_nsec == UTIME_OMIT) {
        return 0;
    }
    if (wanted->tv_nsec == UTIME_NOW) {
        *t = (struct node_time){(int64_t)(now / 1000000000u), (uint32_t)(now % 1000000000u)};
        return 0;
    }
    if (wanted->tv_nsec < 0 || wanted->tv_nsec >= 1000000000) {
        return -EINVAL;
    }
    *t = (struct node_time){wanted->tv_sec, (uint32_t)wanted->tv_nsec};
    return 0;
}

int64_t sys_utimensat(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    struct lx_timespec times[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    unsigned walk_flags = (c->arg[3] & LX_AT_SYMLINK_NOFOLLOW) != 0 ? WALK_NOFOLLOW : 0;
    int rc = c->arg[1] == 0 ? node_of_fd(c, c->arg[0], &n)
                            : call_node_at(c, (int)c->arg[0], c->arg[1], walk_flags,
                                           (c->arg[3] & LX_AT_EMPTY_PATH) != 0, &n);
    if (rc == 0 && c->arg[2] != 0) {
        rc = copy_from_user(times, c->arg[2], sizeof(times));
    }
    if (rc == 0) {
        rc = is_owner(c, n);
    }
    if (rc == 0) {
        node_dirty(n);
        rc = time_set(&n->atime, &times[0]);
    }
    return rc != 0 ? rc : time_set(&n->mtime, &times[1]);
}

int64_t sys_umask(const struct call *c)
{
    uint32_t old = c->p->umask;
    c->p->umask = (uint32_t)c->arg[0] & 0777;
    return old;
}

static int64_t set_size(struct node *n, uint64_t bytes)
{
    if ((int64_t)bytes < 0) {
        return -EINVAL;
    }
    if (!node_is(n, LX_S_IFREG) || n->hooks != NULL) {
        return node_is(n, LX_S_IFDIR) ? -EISDIR : -EINVAL;
    }
    return node_truncate(n, bytes);
}

int64_t sys_truncate(const struct call *c)
{
    CLEANUP(node_cleanup) struct node *n = NULL;
    int rc = call_node_at(c, LX_AT_FDCWD, c->arg[0], 0, false, &n);
    if (rc == 0) {
        rc = node_permission(n, c->p->uid, c->p->gid, LX_W_OK);
    }
    return rc != 0 ? rc : set_size(n, c->arg[1]);
}

int64_t sys_ftruncate(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    if (rc == 0 && !file_writable(f)) {
        rc = -EINVAL;
    }
    return rc != 0 ? rc : set_size(f->node, c->arg[1]);
}

#define FALLOC_KEEP_SIZE  1u
#define FALLOC_PUNCH_HOLE 2u
#define FALLOC_ZERO_RANGE 16u

int64_t sys_fallocate(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    uint32_t mode = (uint32_t)c->arg[1];
    uint64_t offset = c->arg[2], bytes = c->arg[3];
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    if (rc != 0) {
        return rc;
    }
    if (!file_writable(f)) {
        return -EBADF;
    }
    if ((int64_t)offset < 0 || (int64_t)bytes <= 0) {
        return -EINVAL;
    }
    if (!node_is(f->node, LX_S_IFREG) || f->node->hooks != NULL) {
        return -ENODEV;
    }
    if (bytes > CONTENT_BYTES_MAX || offset > CONTENT_BYTES_MAX - bytes) {
        return -EFBIG;
    }
    bool keep = (mode & FALLOC_KEEP_SIZE) != 0;
    uint32_t kind = mode & ~FALLOC_KEEP_SIZE;
    if (kind == FALLOC_PUNCH_HOLE && keep) {
        return node_zero_range(f->node, offset, bytes);
    }
    if (kind == FALLOC_ZERO_RANGE) {
        rc = node_zero_range(f->node, offset, bytes);
    } else if (kind == 0) {
        rc = node_allocate(f->node, offset, bytes);
    } else {
        return -EOPNOTSUPP;
    }
    if (rc == 0 && !keep && offset + bytes > f->node->bytes) {
        rc = node_truncate(f->node, offset + bytes);
    }
    return rc;
}
