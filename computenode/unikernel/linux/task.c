/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/task.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/fpu.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/futex.h"
#include "lib/base/check.h"

static struct task *task_alloc(struct process *p)
{
    struct task *t = kzalloc(sizeof(*t));
    if (t != NULL) {
        t->process = p;
        t->tid = p->tid_next++;
        t->altstack.flags = LX_SS_DISABLE;
        signal_set_init(&t->pending);
        list_append(&p->tasks, &t->link);
        p->task_count++;
    }
    return t;
}

static void task_free(struct task *t)
{
    t->process->task_count--;
    list_remove(&t->link);
    signal_set_clear(&t->pending);
    kfree(t);
}

int task_first(struct process *p)
{
    p->tid_next = p->pid;
    struct task *t = task_alloc(p);
    if (t == NULL) {
        return -ENOMEM;
    }
    t->thread = thread_current();
    thread_adopt(t);
    return 0;
}

static void enter(void *argument)
{
    struct task *t = argument;
    kernel_lock();
    user_enter(&t->start);
}

int task_new(struct process *p, struct task **ret)
{
    struct task *parent = task_current();
    struct task *t = p->task_count < TASK_COUNT_MAX ? task_alloc(p) : NULL;
    if (t == NULL) {
        return -EAGAIN;
    }
    int rc = thread_create(enter, t, t, &t->thread);
    if (rc != 0) {
        task_free(t);
        return rc;
    }
    t->blocked = parent->blocked;
    memcpy(t->name, parent->name, sizeof(t->name));
    fpu_save_current();
    memcpy(t->thread->fpu, parent->thread->fpu, fpu_area_bytes());
    t->thread->fs_base = parent->thread->fs_base;
    t->thread->gs_base = parent->thread->gs_base;
    t->thread->affinity = parent->thread->affinity;
    *ret = t;
    return 0;
}

void task_start(struct task *t)
{
    thread_start(t->thread);
}

void task_drop(struct task *t)
{
    thread_discard(t->thread);
    task_free(t);
}

uint64_t call_process_run_ns(void)
{
    const struct process *p = process_current();
    uint64_t ns = p->ended_run_ns;
    list_for_each (node, &p->tasks) {
        ns += thread_run_ns(list_entry(node, struct task, link)->thread);
    }
    return ns;
}

struct task *task_find(struct process *p, uint32_t tid)
{
    list_for_each (node, &p->tasks) {
        struct task *t = list_entry(node, struct task, link);
        if (t->tid == tid) {
            return t;
        }
    }
    return NULL;
}

/* What others of the program find out: set_robust_list(2), set_tid_address(2). */
static void tell_others(struct task *t)
{
    const uint32_t none = 0;
    futex_pi_owner_died(t->tid);
    if (t->robust_list != 0) {
        futex_owner_died(t->robust_list, t->tid);
    }
    if (t->clear_child_tid != 0 && copy_to_user(t->clear_child_tid, &none, sizeof(none)) == 0) {
        (void)futex_wake_address(t->clear_child_tid, 1);
    }
}

void task_exit(int status)
{
    struct task *t = task_current();
    struct process *p = t->process;
    if (t->tid == p->pid) {
        p->leader_status = status;
    }
    if (p->task_count == 1) {
        process_exit(p->leader_status);
    }
    tell_others(t);
    if (thread_others_stuck()) {
        call_deadlock("a thread that ended was the last that could have gone on");
    }
    p->ended_run_ns += thread_run_ns(t->thread);
    task_free(t);
    kernel_unlock();
    thread_exit();
}
