/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/process.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/stdio.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/task.h"
#include "lib/base/check.h"

#define FD_SOFT_LIMIT 1024u
#define STACK_BYTES   (8 * MIB)

static struct process the_process;

struct process *process_current(void)
{
    return &the_process;
}

struct task *task_current(void)
{
    return thread_current()->owner;
}

static void limits_init(struct process *p)
{
    for (int i = 0; i < LX_RLIMIT_COUNT; i++) {
        p->limits[i] = (struct lx_rlimit){LX_RLIM_INFINITY, LX_RLIM_INFINITY};
    }
    p->limits[LX_RLIMIT_STACK].soft = STACK_BYTES;
    p->limits[LX_RLIMIT_CORE] = (struct lx_rlimit){0, 0};
    p->limits[LX_RLIMIT_NOFILE] = (struct lx_rlimit){FD_SOFT_LIMIT, FD_COUNT_MAX};
    p->limits[LX_RLIMIT_MEMLOCK] = (struct lx_rlimit){8 * MIB, 8 * MIB};
    p->limits[LX_RLIMIT_NICE] = (struct lx_rlimit){0, 0};
    p->limits[LX_RLIMIT_RTPRIO] = (struct lx_rlimit){0, 0};
    p->limits[LX_RLIMIT_NPROC] = (struct lx_rlimit){TASK_COUNT_MAX, TASK_COUNT_MAX};
}

int process_init(void)
{
    struct process *p = &the_process;
    const struct bootspec *spec = boot_spec();
    *p = (struct process){
        .mm = mm_current(),
        .pid = PROCESS_PID,
        .session = PROCESS_PID,
        .uid = spec->uid,
        .gid = spec->gid,
        .umask = 022,
        .dumpable = true,
        .start_ns = clock_ns(),
        .directory = node_ref(node_root()),
    };
    list_init(&p->tasks);
    signal_set_init(&p->pending);
    if (task_first(p) != 0) {
        return -ENOMEM;
    }
    limits_init(p);
    for (int fd = 0; fd < 3; fd++) {
        struct file *f;
        int rc = stdio_open(fd, &f);
        if (rc == 0) {
            rc = fd_install(p, f, fd, false);
        }
        if (rc < 0) {
            return rc;
        }
        CHECK(rc == fd);
    }
    return 0;
}

struct fd_entry *fd_entry(struct process *p, int fd)
{
    if (fd < 0 || (uint32_t)fd >= p->fd_capacity || p->fds[fd].file == NULL) {
        return NULL;
    }
    return &p->fds[fd];
}

int fd_get(struct process *p, int fd, struct file **ret)
{
    struct fd_entry *entry = fd_entry(p, fd);
    if (entry == NULL) {
        return -EBADF;
    }
    *ret = file_ref(entry->file);
    return 0;
}

int fd_get_kind(struct process *p, int fd, const struct file_ops *ops, struct file **ret,
                void **ret_data)
{
    int rc = fd_get(p, fd, ret);
    if (rc == 0 && (*ret)->ops != ops) {
        return -EINVAL;
    }
    if (rc == 0) {
        *ret_data = (*ret)->data;
    }
    return rc;
}

static int fd_grow(struct process *p, uint32_t fd)
{
    if (fd < p->fd_capacity) {
        return 0;
    }
    uint32_t capacity = p->fd_capacity == 0 ? 64 : p->fd_capacity;
    while (capacity <= fd) {
        capacity *= 2;
    }
    struct fd_entry *fds = krealloc(p->fds, capacity * sizeof(fds[0]));
    if (fds == NULL) {
        return -ENOMEM;
    }
    memset(fds + p->fd_capacity, 0, (capacity - p->fd_capacity) * sizeof(fds[0]));
    p->fds = fds;
    p->fd_capacity = capacity;
    return 0;
}

int fd_install(struct process *p, struct file *f, int least, bool close_on_exec)
{
    uint64_t limit = MIN(p->limits[LX_RLIMIT_NOFILE].soft, (uint64_t)FD_COUNT_MAX);
    int rc = least < 0 || (uint64_t)least >= limit ? -EINVAL : 0;
    uint32_t fd = (uint32_t)least;
    while (rc == 0 && fd < p->fd_capacity && p->fds[fd].file != NULL) {
        fd++;
    }
    if (rc == 0) {
        rc = fd < limit ? fd_grow(p, fd) : -EMFILE;
    }
    if (rc != 0) {
        file_unref(f);
        return rc;
    }
    p->fds[fd] = (struct fd_entry){f, close_on_exec};
    return (int)fd;
}

int fd_replace(struct process *p, int fd, struct file *f, bool close_on_exec)
{
    uint64_t limit = MIN(p->limits[LX_RLIMIT_NOFILE].soft, (uint64_t)FD_COUNT_MAX);
    int rc = fd < 0 || (uint64_t)fd >= limit ? -EBADF : fd_grow(p, (uint32_t)fd);
    if (rc != 0) {
        file_unref(f);
        return rc;
    }
    struct file *old = p->fds[fd].file;
    p->fds[fd] = (struct fd_entry){f, close_on_exec};
    file_unref(old);
    return fd;
}

void fd_drop(struct process *p, int fd)
{
    int rc = fd_close(p, fd);
    CHECK(rc == 0);
}

int fd_close(struct process *p, int fd)
{
    struct fd_entry *entry = fd_entry(p, fd);
    if (entry == NULL) {
        return -EBADF;
    }
    struct file *f = entry->file;
    *entry = (struct fd_entry){0};
    file_unref(f);
    return 0;
}
