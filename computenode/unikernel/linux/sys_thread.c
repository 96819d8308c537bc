/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the program: clone(2), exit(2), and what they say about how they run: sched(7). */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/task.h"

/* clone(2) */
#define CLONE_SIGNAL         0xffu
#define CLONE_VM             0x100u
#define CLONE_FS             0x200u
#define CLONE_FILES          0x400u
#define CLONE_SIGHAND        0x800u
#define CLONE_THREAD         0x10000u
#define CLONE_SYSVSEM        0x40000u
#define CLONE_SETTLS         0x80000u
#define CLONE_PARENT_SETTID  0x100000u
#define CLONE_CHILD_CLEARTID 0x200000u
#define CLONE_DETACHED       0x400000u /* has no meaning any more; musl sets it */
#define CLONE_CHILD_SETTID   0x1000000u
#define CLONE_THREAD_FLAGS   (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define CLONE_KNOWN                                                                                \
    (CLONE_SIGNAL | CLONE_THREAD_FLAGS | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |      \
     CLONE_CHILD_CLEARTID | CLONE_DETACHED | CLONE_CHILD_SETTID)

#define ROBUST_HEAD_BYTES 24u
#define AFFINITY_BYTES    8u
#define PRIORITY_MAX      99
#define SCHED_FIFO        1u
#define SCHED_RR          2u

/* membarrier(2) */
#define BARRIER_QUERY                      0u
#define BARRIER_GLOBAL                     1u
#define BARRIER_PRIVATE_EXPEDITED          8u
#define BARRIER_REGISTER_PRIVATE_EXPEDITED 16u
#define BARRIER_ALL                                                                                \
    (BARRIER_GLOBAL | BARRIER_PRIVATE_EXPEDITED | BARRIER_REGISTER_PRIVATE_EXPEDITED)

int64_t sys_exit(const struct call *c)
{
    task_exit((int)c->arg[0]);
}

int64_t sys_exit_group(const struct call *c)
{
    process_exit((int)c->arg[0]);
}

static int64_t refuse_flags(uint32_t flags)
{
    static bool said;
    if (!said) {
        said = true;
        klog(CTL_LEVEL_WARNING,
             "refused=clone flags=0x%x reason=\"threads share all that POSIX threads share, and "
             "nothing else can be cloned\"",
             flags);
    }
    return -EINVAL;
}

/* The ids that a new thread is known by, where the program wants to read them. */
static int write_ids(const struct call *c, uint32_t flags, uint32_t tid)
{
    if ((flags & CLONE_PARENT_SETTID) != 0 && copy_to_user(c->arg[2], &tid, sizeof(tid)) != 0) {
        return -EFAULT;
    }
    if ((flags & CLONE_CHILD_SETTID) != 0 && copy_to_user(c->arg[3], &tid, sizeof(tid)) != 0) {
        return -EFAULT;
    }
    return 0;
}

/* clone(flags, stack, parent_tid, child_tid, tls) */
int64_t sys_clone(const struct call *c)
{
    uint32_t flags = (uint32_t)c->arg[0];
    struct task *t;
    if ((flags & CLONE_THREAD) == 0) {
        return sys_fork(c);
    }
    if ((flags & CLONE_THREAD_FLAGS) != CLONE_THREAD_FLAGS || (flags & ~CLONE_KNOWN) != 0) {
        return refuse_flags(flags);
    }
    if ((flags & CLONE_SETTLS) != 0 && c->arg[4] >= MM_USER_END) {
        return -EPERM;
    }
    int rc = task_new(c->p, &t);
    if (rc != 0) {
        return rc;
    }
    rc = write_ids(c, flags, t->tid);
    if (rc != 0) {
        task_drop(t);
        return rc;
    }
    t->start = *c->regs;
    t->start.rax = 0;
    t->start.rsp = c->arg[1] != 0 ? c->arg[1] : c->regs->rsp;
    t->clear_child_tid = (flags & CLONE_CHILD_CLEARTID) != 0 ? c->arg[3] : 0;
    if ((flags & CLONE_SETTLS) != 0) {
        t->thread->fs_base = c->arg[4];
    }
    uint32_t tid = t->tid;
    task_start(t);
    return tid;
}

/* The C library falls back to clone. */
int64_t sys_clone3(const struct call *c)
{
    return -ENOSYS;
}

int64_t sys_gettid(const struct call *c)
{
    return c->t->tid;
}

int64_t sys_set_tid_address(const struct call *c)
{
    c->t->clear_child_tid = c->arg[0];
    return c->t->tid;
}

int64_t sys_set_robust_list(const struct call *c)
{
    if (c->arg[1] != ROBUST_HEAD_BYTES) {
        return -EINVAL;
    }
    c->t->robust_list = c->arg[0];
    return 0;
}

int64_t sys_get_robust_list(const struct call *c)
{
    const uint64_t bytes = ROBUST_HEAD_BYTES;
    const struct task *t = (uint32_t)c->arg[0] == 0 ? c->t : task_find(c->p, (uint32_t)c->arg[0]);
    if (t == NULL) {
        return -ESRCH;
    }
    if (copy_to_user(c->arg[1], &t->robust_list, sizeof(t->robust_list)) != 0) {
        return -EFAULT;
    }
    return copy_to_user(c->arg[2], &bytes, sizeof(bytes));
}

/* The C library does without; not counted as unknown. */
int64_t sys_rseq(const struct call *c)
{
    return -ENOSYS;
}

/* ---- how threads run ---- */

int64_t sys_sched_yield(const struct call *c)
{
    thread_reschedule();
    return 0;
}

int64_t sys_getcpu(const struct call *c)
{
    const uint32_t values[2] = {cpu_index(), 0};
    for (int i = 0; i < 2; i++) {
        if (c->arg[i] != 0 && copy_to_user(c->arg[i], &values[i], sizeof(values[i])) != 0) {
            return -EFAULT;
        }
    }
    return 0;
}

static struct task *task_of(const struct call *c, uint32_t tid)
{
    return tid == 0 ? c->t : task_find(c->p, tid);
}

static uint16_t all_processors(void)
{
    return (uint16_t)((UINT32_C(1) << cpu_count()) - 1);
}

int64_t sys_sched_getaffinity(const struct call *c)
{
    const struct task *t = task_of(c, (uint32_t)c->arg[0]);
    if (c->arg[1] < AFFINITY_BYTES || c->arg[1] % AFFINITY_BYTES != 0) {
        return -EINVAL;
    }
    if (t == NULL) {
        return -ESRCH;
    }
    uint64_t mask = t->thread->affinity & all_processors();
    int rc = copy_to_user(c->arg[2], &mask, sizeof(mask));
    return rc != 0 ? rc : (int64_t)sizeof(mask);
}

int64_t sys_sched_setaffinity(const struct call *c)
{
    struct task *t = task_of(c, (uint32_t)c->arg[0]);
    uint64_t mask = 0;
    if (copy_from_user(&mask, c->arg[2], MIN(c->arg[1], sizeof(mask))) != 0) {
        return -EFAULT;
    }
    if (t == NULL) {
        return -ESRCH;
    }
    mask &= all_processors();
    if (mask == 0) {
        return -EINVAL;
    }
    thread_affinity_set(t->thread, (uint16_t)mask);
    return 0;
}

int64_t sys_sched_getparam(const struct call *c)
{
    const int32_t priority = 0;
    return copy_to_user(c->arg[1], &priority, sizeof(priority));
}

static bool is_real_time(uint64_t policy)
{
    return (uint32_t)policy == SCHED_FIFO || (uint32_t)policy == SCHED_RR;
}

int64_t sys_sched_priority_max(const struct call *c)
{
    return is_real_time(c->arg[0]) ? PRIORITY_MAX : 0;
}

int64_t sys_sched_priority_min(const struct call *c)
{
    return is_real_time(c->arg[0]) ? 1 : 0;
}

/*
 * A flush of all translations goes to every processor that runs, and each answers with an
 * instruction that orders memory; one that halts passes through one before it runs the program.
 */
int64_t sys_membarrier(const struct call *c)
{
    switch ((uint32_t)c->arg[0]) {
    case BARRIER_QUERY:
        return BARRIER_ALL;
    case BARRIER_REGISTER_PRIVATE_EXPEDITED:
        return 0;
    case BARRIER_GLOBAL:
    case BARRIER_PRIVATE_EXPEDITED:
        tlb_flush_all();
        return 0;
    default:
        return -EINVAL;
    }
}
