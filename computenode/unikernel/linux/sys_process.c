/* SPDX-License-Identifier: Apache-2.0 */
/* What a program asks about itself, and the refusal of more processes. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/vdso.h"

#define ARCH_SET_GS         0x1001
#define ARCH_SET_FS         0x1002
#define ARCH_GET_FS         0x1003
#define ARCH_GET_GS         0x1004
#define PR_SET_PDEATHSIG    1
#define PR_GET_DUMPABLE     3
#define PR_SET_DUMPABLE     4
#define PR_SET_NAME         15
#define PR_GET_NAME         16
#define PR_SET_TIMERSLACK   29
#define PR_SET_NO_NEW_PRIVS 38
#define PR_GET_NO_NEW_PRIVS 39
#define PR_SET_THP_DISABLE  41
#define PR_SET_VMA          0x53564d41
#define RUSAGE_THREAD       1
#define CLOCK_TICK_NS       10000000u
#define RANDOM_PIECE_BYTES  256u

/* Says once why a call is refused. */
static int64_t refuse_once(bool *said, const char *what)
{
    if (!*said) {
        *said = true;
        klog(CTL_LEVEL_WARNING, "%s", what);
    }
    return -ENOSYS;
}

int64_t sys_fork(const struct call *c)
{
    static bool said;
    return refuse_once(&said, "refused=fork reason=\"a unikernel runs one process; start further "
                              "programs as instances of their own\"");
}

int64_t sys_execve(const struct call *c)
{
    static bool said;
    return refuse_once(&said, "refused=execve reason=\"a unikernel runs one program; start further "
                              "programs as instances of their own\"");
}

int64_t sys_no_child(const struct call *c)
{
    return -ECHILD;
}

int64_t sys_arch_prctl(const struct call *c)
{
    uint64_t base;
    switch ((int)c->arg[0]) {
    case ARCH_SET_FS:
        if (c->arg[1] >= MM_USER_END) {
            return -EPERM;
        }
        user_fs_base_set(c->arg[1]);
        return 0;
    case ARCH_GET_FS:
        base = user_fs_base();
        return copy_to_user(c->arg[1], &base, sizeof(base));
    default:
        return -EINVAL;
    }
}

int64_t sys_getpid(const struct call *c)
{
    return c->p->pid;
}

int64_t sys_getppid(const struct call *c)
{
    return PROCESS_PARENT_PID;
}

int64_t sys_getpgrp(const struct call *c)
{
    return c->p->session;
}

int64_t sys_getpgid(const struct call *c)
{
    return c->arg[0] == 0 || c->arg[0] == c->p->pid ? (int64_t)c->p->session : -ESRCH;
}

/* It leads its group already. */
int64_t sys_setsid(const struct call *c)
{
    return -EPERM;
}

int64_t sys_getuid(const struct call *c)
{
    return c->p->uid;
}

int64_t sys_getgid(const struct call *c)
{
    return c->p->gid;
}

static int64_t put_three(const struct call *c, uint32_t id)
{
    for (int i = 0; i < 3; i++) {
        if (copy_to_user(c->arg[i], &id, sizeof(id)) != 0) {
            return -EFAULT;
        }
    }
    return 0;
}

int64_t sys_getresuid(const struct call *c)
{
    return put_three(c, c->p->uid);
}

int64_t sys_getresgid(const struct call *c)
{
    return put_three(c, c->p->gid);
}

/* Real, effective and saved are one: the effective one decides. -1 keeps. */
static int64_t change_id(const struct call *c, uint32_t *id, uint64_t wanted)
{
    if ((uint32_t)wanted == UINT32_MAX || (uint32_t)wanted == *id) {
        return 0;
    }
    if (c->p->uid != 0) {
        return -EPERM;
    }
    *id = (uint32_t)wanted;
    return 0;
}

int64_t sys_setuid(const struct call *c)
{
    return change_id(c, &c->p->uid, c->arg[0]);
}

int64_t sys_setgid(const struct call *c)
{
    return change_id(c, &c->p->gid, c->arg[0]);
}

int64_t sys_setreuid(const struct call *c)
{
    return change_id(c, &c->p->uid, c->arg[1]);
}

int64_t sys_setregid(const struct call *c)
{
    return change_id(c, &c->p->gid, c->arg[1]);
}

int64_t sys_getgroups(const struct call *c)
{
    return 0;
}

int64_t sys_capget(const struct call *c)
{
    uint32_t header[2];
    if (copy_from_user(header, c->arg[0], sizeof(header)) != 0) {
        return -EFAULT;
    }
    if (c->arg[1] == 0) {
        header[0] = 0x20080522; /* _LINUX_CAPABILITY_VERSION_3 */
        return copy_to_user(c->arg[0], header, sizeof(header));
    }
    uint32_t data[6] = {0};
    if (c->p->uid == 0) {
        data[0] = data[1] = UINT32_MAX; /* effective and permitted, low half */
        data[3] = data[4] = 0x1ff;      /* CAP_LAST_CAP is 40 */
    }
    return copy_to_user(c->arg[1], data, header[0] == 0x19980330 ? 12 : sizeof(data));
}

int64_t sys_getrandom(const struct call *c)
{
    uint8_t piece[RANDOM_PIECE_BYTES];
    uint64_t bytes = MIN(c->arg[1], INT32_MAX), done = 0;
    if ((c->arg[2] & ~7ull) != 0) {
        return -EINVAL;
    }
    while (done < bytes) {
        uint64_t part = MIN(bytes - done, sizeof(piece));
        random_fill(piece, part);
        if (copy_to_user(c->arg[0] + done, piece, part) != 0) {
            return done > 0 ? (int64_t)done : -EFAULT;
        }
        done += part;
    }
    return (int64_t)done;
}

static int64_t set_name(const struct call *c)
{
    char name[TASK_NAME_BYTES];
    int64_t length = string_from_user(name, c->arg[1], sizeof(name));
    if (length == -EFAULT) {
        return -EFAULT;
    }
    name[TASK_NAME_BYTES - 1] = 0; /* longer ones are cut: prctl(2) */
    memcpy(c->t->name, name, sizeof(name));
    return 0;
}

int64_t sys_prctl(const struct call *c)
{
    switch ((int)c->arg[0]) {
    case PR_SET_NAME:
        return set_name(c);
    case PR_GET_NAME:
        return copy_to_user(c->arg[1], c->t->name, sizeof(c->t->name));
    case PR_GET_DUMPABLE:
        return c->p->dumpable ? 1 : 0;
    case PR_SET_DUMPABLE:
        c->p->dumpable = c->arg[1] != 0;
        return 0;
    case PR_SET_PDEATHSIG:
    case PR_SET_TIMERSLACK:
    case PR_SET_NO_NEW_PRIVS:
    case PR_SET_THP_DISABLE:
        return 0;
    case PR_GET_NO_NEW_PRIVS:
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_getrusage(const struct call *c)
{
    struct mm_usage usage;
    struct gueststats sum;
    const struct gueststats *stats = &sum;
    machine_stats_read(&sum);
    uint64_t ns =
        (int)c->arg[0] == RUSAGE_THREAD ? thread_run_ns(c->t->thread) : call_process_run_ns();
    mm_usage(c->p->mm, &usage);
    struct lx_rusage r = {0};
    if ((int)c->arg[0] != -1) { /* self or this thread; children have used nothing */
        r.utime =
            (struct lx_timeval){(int64_t)(ns / 1000000000u), (int64_t)(ns % 1000000000u / 1000)};
        r.maxrss = (int64_t)(usage.resident_pages * 4);
        r.minflt = (int64_t)(stats->faults_zero + stats->faults_cow + stats->faults_wait);
        r.majflt = (int64_t)(stats->faults_remote + stats->faults_file);
    }
    return copy_to_user(c->arg[1], &r, sizeof(r));
}

int64_t sys_times(const struct call *c)
{
    uint64_t now = clock_ns();
    struct lx_tms tms = {.utime = (int64_t)(call_process_run_ns() / CLOCK_TICK_NS)};
    int rc = c->arg[0] == 0 ? 0 : copy_to_user(c->arg[0], &tms, sizeof(tms));
    return rc != 0 ? rc : (int64_t)(now / CLOCK_TICK_NS);
}

/* The raw call answers 20 minus the nice value. */
int64_t sys_getpriority(const struct call *c)
{
    return 20;
}
