/* SPDX-License-Identifier: Apache-2.0 */
/* /proc/self/task, and what of /proc/self is of one thread: proc(5). */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/procfs.h"
#include "computenode/unikernel/linux/task.h"

#define CLOCK_TICK_NS 10000000u

/* The process shows as its first thread, while that lives. */
static struct task *leader(void)
{
    struct process *p = process_current();
    struct task *t = task_find(p, p->pid);
    return t != NULL ? t : task_current();
}

static char state_of(const struct task *t)
{
    return t->thread->state == THREAD_BLOCKED ? 'S' : 'R';
}

static void add_stat(struct text *t, const struct task *task, uint64_t run_ns)
{
    const struct process *p = process_current();
    struct gueststats sum;
    const struct gueststats *stats = &sum;
    machine_stats_read(&sum);
    struct mm_usage usage;
    mm_usage(p->mm, &usage);
    text_add(t, "%u (%s) %c %u %u %u 0 -1 4194304 %lu 0 %lu 0 ", task->tid, task->name,
             state_of(task), PROCESS_PARENT_PID, p->session, p->session,
             (unsigned long)stats->faults_zero, (unsigned long)stats->faults_remote);
    text_add(t, "%lu 0 0 0 20 0 %u 0 %lu %lu %lu 18446744073709551615 ",
             (unsigned long)(run_ns / CLOCK_TICK_NS), p->task_count,
             (unsigned long)(p->start_ns / CLOCK_TICK_NS), (unsigned long)usage.mapped_bytes,
             (unsigned long)usage.resident_pages);
    text_add(t, "%lu %lu %lu 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 %lu %lu %lu %lu 0\n",
             (unsigned long)p->code_start, (unsigned long)p->code_end,
             (unsigned long)p->stack_start, (unsigned long)p->arguments_start,
             (unsigned long)p->arguments_end, (unsigned long)p->environment_start,
             (unsigned long)p->environment_end);
}

static void add_status(struct text *t, const struct task *task)
{
    const struct process *p = process_current();
    struct mm_usage usage;
    mm_usage(p->mm, &usage);
    text_add(t, "Name:\t%s\nUmask:\t%04o\nState:\t%c (%s)\nTgid:\t%u\nNgid:\t0\nPid:\t%u\n",
             task->name, p->umask, state_of(task), state_of(task) == 'R' ? "running" : "sleeping",
             p->pid, task->tid);
    text_add(t, "PPid:\t%u\nTracerPid:\t0\nUid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n",
             PROCESS_PARENT_PID, p->uid, p->uid, p->uid, p->uid, p->gid, p->gid, p->gid, p->gid);
    text_add(t, "FDSize:\t%u\nGroups:\t\nVmSize:\t%8lu kB\nVmRSS:\t%8lu kB\nVmData:\t%8lu kB\n",
             p->fd_capacity, (unsigned long)(usage.mapped_bytes / KIB),
             (unsigned long)(usage.resident_pages * 4), (unsigned long)(usage.data_bytes / KIB));
    text_add(t, "VmStk:\t%8lu kB\nVmExe:\t%8lu kB\nVmSwap:\t%8lu kB\nThreads:\t%u\n",
             (unsigned long)(usage.stack_bytes / KIB),
             (unsigned long)((p->code_end - p->code_start) / KIB),
             (unsigned long)(usage.remote_pages * 4), p->task_count);
    text_add(t, "SigPnd:\t%016lx\nShdPnd:\t%016lx\nSigBlk:\t%016lx\n",
             (unsigned long)task->pending.mask, (unsigned long)p->pending.mask,
             (unsigned long)task->blocked);
    text_add(t, "Cpus_allowed:\t%x\nCpus_allowed_list:\t",
             task->thread->affinity & ((1u << cpu_count()) - 1));
    proc_cpu_list(t);
}

void proc_self_stat(struct text *t)
{
    add_stat(t, leader(), call_process_run_ns());
}

void proc_self_status(struct text *t)
{
    add_status(t, leader());
}

/* ---- files of one thread: what they hold is in the lower bits of hook_value ---- */

enum kind { STAT, STATUS, COMM };

static const struct {
    const char *name;
    uint32_t mode;
} files[] = {[STAT] = {"stat", 0444}, [STATUS] = {"status", 0444}, [COMM] = {"comm", 0644}};

static uint64_t value_of(uint32_t tid, enum kind kind)
{
    return (uint64_t)tid << 2 | kind;
}

static struct task *task_of(const struct node *n)
{
    return task_find(process_current(), (uint32_t)(n->hook_value >> 2));
}

/* A name is written whole, as by prctl(PR_SET_NAME). Errors: -ESRCH. */
static int64_t comm_write(struct file *f, struct iobuf *b, uint64_t *offset)
{
    char name[TASK_NAME_BYTES] = "";
    const uint64_t given = b->left, bytes = MIN(given, (uint64_t)sizeof(name) - 1);
    if (iobuf_get(b, name, bytes) != 0) {
        return -EFAULT;
    }
    struct task *task = task_of(f->node);
    if (task == NULL) {
        return -ESRCH;
    }
    for (uint64_t i = 0; i < bytes; i++) {
        name[i] = name[i] == '\n' ? 0 : name[i];
    }
    memcpy(task->name, name, sizeof(name));
    b->left = 0;
    *offset += given;
    return (int64_t)given;
}

static int64_t comm_read(struct file *f, struct iobuf *b, uint64_t *offset)
{
    char line[TASK_NAME_BYTES + 1];
    const struct task *task = task_of(f->node);
    if (task == NULL) {
        return -ESRCH;
    }
    const uint64_t length = (uint64_t)ksnprintf(line, sizeof(line), "%s\n", task->name);
    const uint64_t at = MIN(*offset, length), bytes = MIN(b->left, length - at);
    if (iobuf_put(b, line + at, bytes) != 0) {
        return -EFAULT;
    }
    *offset += bytes;
    return (int64_t)bytes;
}

static const struct file_ops comm_ops = {.read = comm_read, .write = comm_write, .seekable = true};

static int file_hook(struct node *n, struct file *f)
{
    struct text t = {0};
    const struct task *task = task_of(n);
    if (task == NULL) {
        return -ESRCH;
    }
    switch ((enum kind)(n->hook_value & 3)) {
    case COMM:
        f->ops = &comm_ops;
        return 0;
    case STAT:
        add_stat(&t, task, thread_run_ns(task->thread));
        break;
    case STATUS:
        add_status(&t, task);
        break;
    }
    return proc_text_set(f, &t);
}

static const struct node_hooks file_hooks = {.open = file_hook};

static int self_comm_open(struct node *n, struct file *f)
{
    n->hook_value = value_of(leader()->tid, COMM);
    f->ops = &comm_ops;
    return 0;
}

const struct node_hooks proc_comm_hooks = {.open = self_comm_open};

/* ---- directories ---- */

static int make(const char *name, size_t name_length, uint32_t mode, const struct node_hooks *hooks,
                uint64_t value, struct node **ret)
{
    int rc = node_new(name, name_length, mode, ret);
    if (rc == 0) {
        (*ret)->device = NODE_DEVICE_PROC;
        (*ret)->hooks = hooks;
        (*ret)->hook_value = value;
    }
    return rc;
}

static int thread_lookup(struct node *dir, const char *name, size_t name_length, struct node **ret)
{
    const struct task *task = task_of(dir);
    for (size_t i = 0; task != NULL && i < ARRAY_LEN(files); i++) {
        if (strlen(files[i].name) == name_length && memcmp(files[i].name, name, name_length) == 0) {
            return make(name, name_length, LX_S_IFREG | files[i].mode, &file_hooks,
                        value_of(task->tid, (enum kind)i), ret);
        }
    }
    return -ENOENT;
}

static int thread_list(struct node *dir, node_each_fn each, void *context)
{
    int rc = task_of(dir) != NULL ? 0 : -ENOENT;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(files); i++) {
        const struct node_entry entry = {dir->ino + 1 + i, LX_DT_REG, files[i].name,
                                         strlen(files[i].name)};
        rc = each(context, &entry);
    }
    return rc;
}

static const struct node_hooks thread_hooks = {.lookup = thread_lookup, .list = thread_list};

static int tasks_lookup(struct node *dir, const char *name, size_t name_length, struct node **ret)
{
    int tid;
    int rc = proc_number(name, name_length, &tid);
    if (rc != 0 || task_find(process_current(), (uint32_t)tid) == NULL) {
        return -ENOENT;
    }
    return make(name, name_length, LX_S_IFDIR | 0555, &thread_hooks, value_of((uint32_t)tid, STAT),
                ret);
}

static int tasks_list(struct node *dir, node_each_fn each, void *context)
{
    list_for_each (node, &process_current()->tasks) {
        const struct task *task = list_entry(node, struct task, link);
        char name[16];
        const int length = ksnprintf(name, sizeof(name), "%u", task->tid);
        const struct node_entry entry = {dir->ino + 1 + task->tid, LX_DT_DIR, name, (size_t)length};
        int rc = each(context, &entry);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

const struct node_hooks proc_tasks_hooks = {.lookup = tasks_lookup, .list = tasks_list};

static int64_t self_readlink(struct node *n, char *to, size_t capacity)
{
    char target[48];
    const int length = ksnprintf(target, sizeof(target), "%u/task/%u", process_current()->pid,
                                 task_current()->tid);
    if ((size_t)length > capacity) {
        return -ENAMETOOLONG;
    }
    memcpy(to, target, (size_t)length);
    return length;
}

const struct node_hooks proc_thread_self_hooks = {.readlink = self_readlink};
