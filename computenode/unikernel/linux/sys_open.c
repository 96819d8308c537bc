/* SPDX-License-Identifier: Apache-2.0 */
/* open(2) and what one does with descriptors. */
#include <errno.h>

#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/fs/pipe.h"
#include "computenode/unikernel/linux/call.h"

#define OPEN_FLAGS_KEPT (~(LX_O_CREAT | LX_O_EXCL | LX_O_NOCTTY | LX_O_TRUNC | LX_O_CLOEXEC))
#define SETFL_FLAGS     (LX_O_APPEND | LX_O_NONBLOCK | LX_O_ASYNC | LX_O_DIRECT | LX_O_NOATIME)
#define F_DUPFD         0
#define F_GETFD         1
#define F_SETFD         2
#define F_GETFL         3
#define F_SETFL         4
#define F_GETLK         5
#define F_SETLK         6
#define F_SETLKW        7
#define F_SETOWN        8
#define F_GETOWN        9
#define F_OFD_GETLK     36
#define F_OFD_SETLK     37
#define F_OFD_SETLKW    38
#define F_DUPFD_CLOEXEC 1030
#define F_SETPIPE_SZ    1031
#define F_GETPIPE_SZ    1032
#define F_ADD_SEALS     1033
#define FD_CLOEXEC      1u
#define F_UNLCK         2
#define FIONREAD        0x541b
#define FIONBIO         0x5421
#define FIONCLEX        0x5450
#define FIOCLEX         0x5451
#define FIOASYNC        0x5452
#define EFD_SEMAPHORE   1u

/* May the caller open this node so? */
static int check_open(const struct call *c, struct node *n, uint32_t flags)
{
    uint32_t access = flags & LX_O_ACCMODE;
    unsigned mask = access == LX_O_RDONLY   ? LX_R_OK
                    : access == LX_O_WRONLY ? LX_W_OK
                                            : LX_R_OK | LX_W_OK;
    mask |= (flags & LX_O_TRUNC) != 0 ? LX_W_OK : 0;
    if (node_is(n, LX_S_IFLNK)) {
        return -ELOOP;
    }
    if ((flags & LX_O_DIRECTORY) != 0 && !node_is(n, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    if (node_is(n, LX_S_IFDIR) && (mask & LX_W_OK) != 0) {
        return -EISDIR;
    }
    return node_permission(n, c->p->uid, c->p->gid, mask);
}

static int create_in(const struct call *c, struct walk *w, uint32_t mode)
{
    struct node_creation how = {
        .mode = LX_S_IFREG | (mode & LX_S_PERM & ~c->p->umask), .uid = c->p->uid, .gid = c->p->gid};
    if (w->trailing_slash) {
        return -EISDIR;
    }
    int rc = node_permission(w->parent, c->p->uid, c->p->gid, LX_W_OK);
    return rc != 0 ? rc : node_create(w->parent, w->name, w->name_length, &how, &w->node);
}

/* The node to open; with O_CREAT it may be made. Referenced. */
static int find_or_create(const struct call *c, struct node *base, const char *path, uint32_t flags,
                          uint32_t mode, struct node **ret)
{
    struct walk w;
    bool create = (flags & LX_O_CREAT) != 0 && (flags & LX_O_PATH) == 0;
    bool exclusive = create && (flags & LX_O_EXCL) != 0;
    unsigned walk_flags = (create ? WALK_PARENT : 0u) |
                          ((flags & LX_O_NOFOLLOW) != 0 || exclusive ? WALK_NOFOLLOW : 0u);
    int rc = walk_path(base, path, walk_flags, process_identity(c->p), &w);
    if (rc != 0) {
        return rc;
    }
    bool created = false;
    if (w.node != NULL && exclusive) {
        rc = -EEXIST;
    } else if (w.node != NULL && create && node_is(w.node, LX_S_IFDIR)) {
        rc = -EISDIR;
    } else if (w.node == NULL) {
        rc = create_in(c, &w, mode);
        created = rc == 0;
    }
    if (rc == 0 && !created && (flags & LX_O_PATH) == 0) {
        rc = check_open(c, w.node, flags);
    }
    if (rc == 0) {
        *ret = node_ref(w.node);
    }
    walk_end(&w);
    return rc;
}

/* A file without a name, in a directory. */
static int open_unnamed(const struct call *c, struct node *base, const char *path, uint32_t flags,
                        uint32_t mode, struct node **ret)
{
    CLEANUP(node_cleanup) struct node *dir = NULL;
    if ((flags & LX_O_ACCMODE) == LX_O_RDONLY) {
        return -EINVAL;
    }
    int rc = walk_node(base, path, WALK_DIRECTORY, process_identity(c->p), &dir);
    if (rc == 0) {
        rc = node_new("(unnamed)", 9, LX_S_IFREG | (mode & LX_S_PERM & ~c->p->umask), ret);
    }
    if (rc == 0) {
        (*ret)->uid = c->p->uid;
        (*ret)->gid = c->p->gid;
    }
    return rc;
}

static int64_t open_at(const struct call *c, int fd, uint64_t user_path, uint32_t flags,
                       uint32_t mode)
{
    CLEANUP(path_cleanup) char *path = NULL;
    CLEANUP(node_cleanup) struct node *base = NULL;
    CLEANUP(node_cleanup) struct node *n = NULL;
    struct file *f;
    int rc = call_path(user_path, &path);
    if (rc == 0) {
        rc = call_base(c, fd, path, &base);
    }
    if (rc == 0) {
        rc = (flags & LX_O_TMPFILE) == LX_O_TMPFILE
                 ? open_unnamed(c, base, path, flags, mode, &n)
                 : find_or_create(c, base, path, flags, mode, &n);
    }
    bool truncate = (flags & LX_O_TRUNC) != 0 && (flags & LX_O_PATH) == 0;
    if (rc == 0 && truncate && node_is(n, LX_S_IFREG) && n->hooks == NULL) {
        rc = node_truncate(n, 0);
    }
    if (rc == 0) {
        rc = file_open(n, (flags & OPEN_FLAGS_KEPT) | LX_O_LARGEFILE, &f);
    }
    return rc != 0 ? rc : fd_install(c->p, f, 0, (flags & LX_O_CLOEXEC) != 0);
}

int64_t sys_open(const struct call *c)
{
    return open_at(c, LX_AT_FDCWD, c->arg[0], (uint32_t)c->arg[1], (uint32_t)c->arg[2]);
}

int64_t sys_creat(const struct call *c)
{
    return open_at(c, LX_AT_FDCWD, c->arg[0], LX_O_CREAT | LX_O_WRONLY | LX_O_TRUNC,
                   (uint32_t)c->arg[1]);
}

int64_t sys_openat(const struct call *c)
{
    return open_at(c, (int)c->arg[0], c->arg[1], (uint32_t)c->arg[2], (uint32_t)c->arg[3]);
}

int64_t sys_close(const struct call *c)
{
    return fd_close(c->p, (int)c->arg[0]);
}

int64_t sys_close_range(const struct call *c)
{
    uint64_t first = (uint32_t)c->arg[0], last = (uint32_t)c->arg[1];
    bool only_mark = ((uint32_t)c->arg[2] & 4) != 0; /* CLOSE_RANGE_CLOEXEC */
    if (first > last || ((uint32_t)c->arg[2] & ~6u) != 0) {
        return -EINVAL;
    }
    for (uint64_t fd = first; fd <= last && fd < c->p->fd_capacity; fd++) {
        struct fd_entry *entry = fd_entry(c->p, (int)fd);
        if (entry != NULL && only_mark) {
            entry->close_on_exec = true;
        } else if (entry != NULL) {
            fd_drop(c->p, (int)fd);
        }
    }
    return 0;
}

static int64_t duplicate(const struct call *c, int fd, int least, bool close_on_exec)
{
    struct file *f;
    int rc = fd_get(c->p, fd, &f);
    return rc != 0 ? rc : fd_install(c->p, f, least, close_on_exec);
}

int64_t sys_dup(const struct call *c)
{
    return duplicate(c, (int)c->arg[0], 0, false);
}

static int64_t duplicate_to(const struct call *c, bool close_on_exec)
{
    struct file *f;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    return rc != 0 ? rc : fd_replace(c->p, (int)c->arg[1], f, close_on_exec);
}

int64_t sys_dup2(const struct call *c)
{
    if (c->arg[0] == c->arg[1]) {
        return fd_entry(c->p, (int)c->arg[0]) != NULL ? (int64_t)c->arg[0] : -EBADF;
    }
    return duplicate_to(c, false);
}

int64_t sys_dup3(const struct call *c)
{
    uint32_t flags = (uint32_t)c->arg[2];
    if (c->arg[0] == c->arg[1] || (flags & ~LX_O_CLOEXEC) != 0) {
        return -EINVAL;
    }
    return duplicate_to(c, flags != 0);
}

/* Nobody else could hold a lock: the range is always free. */
static int64_t get_lock(uint64_t user)
{
    int16_t unlocked = F_UNLCK;
    return copy_to_user(user, &unlocked, sizeof(unlocked));
}

static int64_t file_control(const struct call *c, struct file *f, struct fd_entry *entry)
{
    uint64_t arg = c->arg[2];
    switch ((int)c->arg[1]) {
    case F_GETFD:
        return entry->close_on_exec ? FD_CLOEXEC : 0;
    case F_SETFD:
        entry->close_on_exec = (arg & FD_CLOEXEC) != 0;
        return 0;
    case F_GETFL:
        return f->flags;
    case F_SETFL:
        f->flags = (f->flags & ~SETFL_FLAGS) | ((uint32_t)arg & SETFL_FLAGS);
        return 0;
    case F_GETLK:
    case F_OFD_GETLK:
        return get_lock(arg);
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
    case F_SETOWN:
    case F_GETOWN:
        return 0;
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
        return node_is(f->node, LX_S_IFIFO) ? (int64_t)PIPE_BYTES : -EBADF;
    default:
        return -EINVAL;
    }
}

int64_t sys_fcntl(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int fd = (int)c->arg[0], command = (int)c->arg[1];
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        return duplicate(c, fd, (int)c->arg[2], command == F_DUPFD_CLOEXEC);
    }
    int rc = fd_get(c->p, fd, &f);
    return rc != 0 ? rc : file_control(c, f, fd_entry(c->p, fd));
}

/* One process: every lock is free. */
int64_t sys_flock(const struct call *c)
{
    return fd_entry(c->p, (int)c->arg[0]) != NULL ? 0 : -EBADF;
}

static int64_t set_nonblocking(struct file *f, uint64_t user)
{
    int32_t on;
    if (copy_from_user(&on, user, sizeof(on)) != 0) {
        return -EFAULT;
    }
    f->flags = on != 0 ? f->flags | LX_O_NONBLOCK : f->flags & ~LX_O_NONBLOCK;
    return 0;
}

static int64_t count_readable(struct file *f, uint64_t user)
{
    int64_t bytes = -ENOTTY;
    if (f->ops->readable_bytes != NULL) {
        bytes = f->ops->readable_bytes(f);
    } else if (node_is(f->node, LX_S_IFREG)) {
        bytes = f->offset < f->node->bytes ? (int64_t)(f->node->bytes - f->offset) : 0;
    }
    int32_t count = (int32_t)MIN(bytes, INT32_MAX);
    return bytes < 0 ? bytes : copy_to_user(user, &count, sizeof(count));
}

/* There is no terminal: its requests get ENOTTY, which is how isatty(3) finds out. */
int64_t sys_ioctl(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    int rc = fd_get(c->p, (int)c->arg[0], &f);
    if (rc != 0) {
        return rc;
    }
    struct fd_entry *entry = fd_entry(c->p, (int)c->arg[0]);
    switch ((uint32_t)c->arg[1]) {
    case FIOCLEX:
        entry->close_on_exec = true;
        return 0;
    case FIONCLEX:
        entry->close_on_exec = false;
        return 0;
    case FIONBIO:
        return set_nonblocking(f, c->arg[2]);
    case FIOASYNC:
        return 0;
    case FIONREAD:
        return count_readable(f, c->arg[2]);
    default:
        return -ENOTTY;
    }
}

static int64_t make_pipe(const struct call *c, uint32_t flags)
{
    struct file *reader, *writer;
    bool close_on_exec = (flags & LX_O_CLOEXEC) != 0;
    if ((flags & ~(LX_O_CLOEXEC | LX_O_NONBLOCK | LX_O_DIRECT)) != 0) {
        return -EINVAL;
    }
    int rc = pipe_open(flags & LX_O_NONBLOCK, &reader, &writer);
    if (rc != 0) {
        return rc;
    }
    int fds[2];
    fds[0] = fd_install(c->p, reader, 0, close_on_exec);
    if (fds[0] < 0) {
        file_unref(writer);
        return fds[0];
    }
    fds[1] = fd_install(c->p, writer, 0, close_on_exec);
    rc = fds[1] < 0 ? fds[1] : copy_to_user(c->arg[0], fds, sizeof(fds));
    if (rc != 0) {
        fd_drop(c->p, fds[0]);
        if (fds[1] >= 0) {
            fd_drop(c->p, fds[1]);
        }
    }
    return rc;
}

int64_t sys_pipe(const struct call *c)
{
    return make_pipe(c, 0);
}

int64_t sys_pipe2(const struct call *c)
{
    return make_pipe(c, (uint32_t)c->arg[1]);
}

static int64_t make_eventfd(const struct call *c, uint32_t flags)
{
    struct file *f;
    if ((flags & ~(LX_O_CLOEXEC | LX_O_NONBLOCK | EFD_SEMAPHORE)) != 0) {
        return -EINVAL;
    }
    int rc =
        eventfd_open((uint32_t)c->arg[0], (flags & EFD_SEMAPHORE) != 0, flags & LX_O_NONBLOCK, &f);
    return rc != 0 ? rc : fd_install(c->p, f, 0, (flags & LX_O_CLOEXEC) != 0);
}

int64_t sys_eventfd(const struct call *c)
{
    return make_eventfd(c, 0);
}

int64_t sys_eventfd2(const struct call *c)
{
    return make_eventfd(c, (uint32_t)c->arg[1]);
}

/* Nothing outlives the machine, so there is nothing to write anywhere. */
int64_t sys_fsync(const struct call *c)
{
    return fd_entry(c->p, (int)c->arg[0]) != NULL ? 0 : -EBADF;
}
