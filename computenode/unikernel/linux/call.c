/* SPDX-License-Identifier: Apache-2.0 */
/* What the topics share: arguments that are paths or times, and waiting. */
#include "computenode/unikernel/linux/call.h"

#include <errno.h>

#include "computenode/unikernel/kernel/wait.h"
#include "computenode/unikernel/linux/vdso.h"

#define NS_PER_S 1000000000ull

int64_t sys_zero(const struct call *c)
{
    return 0;
}

int call_path(uint64_t user, char **ret)
{
    char *path = kmalloc(LX_PATH_MAX);
    if (path == NULL) {
        return -ENOMEM;
    }
    int64_t length = string_from_user(path, user, LX_PATH_MAX);
    if (length < 0) {
        kfree(path);
        return (int)length;
    }
    *ret = path;
    return 0;
}

int call_base(const struct call *c, int fd, const char *path, struct node **ret)
{
    struct file *f;
    if (path[0] == '/' || fd == LX_AT_FDCWD) {
        *ret = node_ref(c->p->directory);
        return 0;
    }
    int rc = fd_get(c->p, fd, &f);
    if (rc != 0) {
        return rc;
    }
    if (node_is(f->node, LX_S_IFDIR)) {
        *ret = node_ref(f->node);
    } else {
        rc = -ENOTDIR;
    }
    file_unref(f);
    return rc;
}

int call_node_at(const struct call *c, int fd, uint64_t user_path, unsigned walk_flags,
                 bool empty_path, struct node **ret)
{
    CLEANUP(path_cleanup) char *path = NULL;
    CLEANUP(node_cleanup) struct node *base = NULL;
    if (empty_path && user_path == 0) { /* newer C libraries: NULL means "" */
        return -EFAULT;
    }
    int rc = call_path(user_path, &path);
    if (rc != 0) {
        return rc;
    }
    if (path[0] == 0 && empty_path && fd != LX_AT_FDCWD) {
        struct file *f;
        rc = fd_get(c->p, fd, &f);
        if (rc == 0) {
            *ret = node_ref(f->node);
            file_unref(f);
        }
        return rc;
    }
    if (path[0] == 0 && empty_path) {
        *ret = node_ref(c->p->directory);
        return 0;
    }
    rc = call_base(c, fd, path, &base);
    return rc != 0 ? rc : walk_node(base, path, walk_flags, process_identity(c->p), ret);
}

int call_timespec(uint64_t user, uint64_t *ret_ns)
{
    struct lx_timespec ts;
    if (copy_from_user(&ts, user, sizeof(ts)) != 0) {
        return -EFAULT;
    }
    if (ts.tv_sec < 0 || ts.tv_nsec < 0 || ts.tv_nsec >= (int64_t)NS_PER_S) {
        return -EINVAL;
    }
    uint64_t seconds = MIN((uint64_t)ts.tv_sec, UINT64_MAX / NS_PER_S / 2);
    *ret_ns = seconds * NS_PER_S + (uint64_t)ts.tv_nsec;
    return 0;
}

int call_wait_ready(uint64_t deadline_ns, bool input_wanted)
{
    uint64_t now = program_monotonic_ns();
    uint64_t until_ns = THREAD_NEVER;
    if (now >= deadline_ns) {
        return 0;
    }
    if (deadline_ns != UINT64_MAX) {
        until_ns = clock_ns() + (deadline_ns - now);
    }
    int rc = wait_for_change(until_ns, input_wanted ? THREAD_WAIT_OUTSIDE : THREAD_WAIT_THREAD);
    return rc == -ETIMEDOUT ? 0 : rc;
}

NORETURN void call_deadlock(const char *what)
{
    char who[48] = "the only thread waits";
    char reason[192];
    uint32_t count = thread_program_count();
    if (count > 1) {
        (void)ksnprintf(who, sizeof(who), "all %u threads wait", count);
    }
    (void)ksnprintf(reason, sizeof(reason), "deadlock: %s for ever: %s", who, what);
    process_kill(LX_SIGKILL, reason);
}
