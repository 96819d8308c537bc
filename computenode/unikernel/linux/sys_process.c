/* SPDX-License-Identifier: Apache-2.0 */
/* What a program asks about itself, and the refusal of more processes and threads. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/vdso.h"

#define ARCH_SET_GS          0x1001
#define ARCH_SET_FS          0x1002
#define ARCH_GET_FS          0x1003
#define ARCH_GET_GS          0x1004
#define PR_SET_PDEATHSIG     1
#define PR_GET_DUMPABLE      3
#define PR_SET_DUMPABLE      4
#define PR_SET_NAME          15
#define PR_GET_NAME          16
#define PR_SET_TIMERSLACK    29
#define PR_SET_NO_NEW_PRIVS  38
#define PR_GET_NO_NEW_PRIVS  39
#define PR_SET_THP_DISABLE   41
#define PR_SET_VMA           0x53564d41
#define CLONE_VM             0x100u
#define CLONE_THREAD         0x10000u
#define CLOCK_TICK_NS        10000000u
#define RANDOM_PIECE_BYTES   256u
#define FUTEX_WAIT           0
#define FUTEX_WAKE           1
#define FUTEX_WAIT_BITSET    9
#define FUTEX_WAKE_BITSET    10
#define FUTEX_CLOCK_REALTIME 256
#define FUTEX_PRIVATE        128

int64_t sys_exit(const struct call *c)
{
    process_exit((int)c->arg[0]);
}

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

int64_t sys_clone(const struct call *c)
{
    static bool said;
    if ((c->arg[0] & (CLONE_VM | CLONE_THREAD)) != (CLONE_VM | CLONE_THREAD)) {
        return sys_fork(c);
    }
    (void)refuse_once(&said, "refused=clone reason=\"threads come with a later version; run the "
                             "program with one thread\"");
    return -EAGAIN; /* pthread_create(3) reports it as such */
}

/* The C library falls back to clone. */
int64_t sys_clone3(const struct call *c)
{
    return -ENOSYS;
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

int64_t sys_set_tid_address(const struct call *c)
{
    c->t->clear_child_tid = c->arg[0];
    return c->t->tid;
}

/* Robust mutexes matter to other threads and processes; there are none. */
int64_t sys_set_robust_list(const struct call *c)
{
    return c->arg[1] == 24 ? 0 : -EINVAL;
}

/* The C library does without; not counted as unknown. */
int64_t sys_rseq(const struct call *c)
{
    return -ENOSYS;
}

/* Absolute for WAIT_BITSET, relative for WAIT; *ret_ns is what is left. */
static int futex_timeout(const struct call *c, int operation, uint64_t *ret_ns)
{
    uint64_t ns;
    int rc = call_timespec(c->arg[3], &ns);
    if (rc != 0) {
        return rc;
    }
    if (operation == FUTEX_WAIT_BITSET) {
        uint64_t now = ((uint32_t)c->arg[1] & FUTEX_CLOCK_REALTIME) != 0 ? program_realtime_ns()
                                                                         : program_monotonic_ns();
        ns = ns > now ? ns - now : 0;
    }
    *ret_ns = ns;
    return 0;
}

static int64_t futex_wait(const struct call *c, int operation)
{
    uint32_t value;
    uint64_t ns;
    if (copy_from_user(&value, c->arg[0], sizeof(value)) != 0) {
        return -EFAULT;
    }
    if (value != (uint32_t)c->arg[2]) {
        return -EAGAIN;
    }
    if (c->arg[3] == 0) {
        return -EDEADLK; /* nobody could ever wake it */
    }
    int rc = futex_timeout(c, operation, &ns);
    if (rc != 0) {
        return rc;
    }
    uint64_t deadline = clock_ns() + ns;
    while (clock_ns() < deadline) {
        if (control_signal_pending()) {
            return -EINTR;
        }
        clock_sleep_until(deadline);
    }
    return -ETIMEDOUT;
}

int64_t sys_futex(const struct call *c)
{
    int operation = (int)c->arg[1] & ~(FUTEX_PRIVATE | FUTEX_CLOCK_REALTIME);
    if (!IS_ALIGNED(c->arg[0], 4)) {
        return -EINVAL;
    }
    switch (operation) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET:
        return futex_wait(c, operation);
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET:
        return 0;
    default:
        return -ENOSYS;
    }
}

int64_t sys_getpid(const struct call *c)
{
    return c->p->pid;
}

int64_t sys_gettid(const struct call *c)
{
    return c->t->tid;
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

int64_t sys_getcpu(const struct call *c)
{
    const uint32_t zero = 0;
    for (int i = 0; i < 2; i++) {
        if (c->arg[i] != 0 && copy_to_user(c->arg[i], &zero, sizeof(zero)) != 0) {
            return -EFAULT;
        }
    }
    return 0;
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

int64_t sys_sched_getaffinity(const struct call *c)
{
    uint64_t mask = 1;
    if (c->arg[1] < sizeof(mask) || c->arg[1] % sizeof(mask) != 0) {
        return -EINVAL;
    }
    int rc = copy_to_user(c->arg[2], &mask, sizeof(mask));
    return rc != 0 ? rc : (int64_t)sizeof(mask);
}

int64_t sys_sched_setaffinity(const struct call *c)
{
    uint8_t first = 0;
    if (c->arg[1] == 0) {
        return -EINVAL;
    }
    if (copy_from_user(&first, c->arg[2], 1) != 0) {
        return -EFAULT;
    }
    return (first & 1) != 0 ? 0 : -EINVAL;
}

int64_t sys_sched_getparam(const struct call *c)
{
    const int32_t priority = 0;
    return copy_to_user(c->arg[1], &priority, sizeof(priority));
}

/* With one thread every barrier holds already. 0: which commands there are (none to register). */
int64_t sys_membarrier(const struct call *c)
{
    return c->arg[0] == 0 ? 0 : -EINVAL;
}

static int64_t set_name(const struct call *c)
{
    char name[THREAD_NAME_BYTES];
    int64_t length = string_from_user(name, c->arg[1], sizeof(name));
    if (length == -EFAULT) {
        return -EFAULT;
    }
    name[THREAD_NAME_BYTES - 1] = 0; /* longer ones are cut: prctl(2) */
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
    const struct gueststats *stats = machine_stats();
    uint64_t ns = clock_ns() - c->p->start_ns;
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
    struct lx_tms tms = {.utime = (int64_t)((now - c->p->start_ns) / CLOCK_TICK_NS)};
    int rc = c->arg[0] == 0 ? 0 : copy_to_user(c->arg[0], &tms, sizeof(tms));
    return rc != 0 ? rc : (int64_t)(now / CLOCK_TICK_NS);
}

/* The raw call answers 20 minus the nice value. */
int64_t sys_getpriority(const struct call *c)
{
    return 20;
}
