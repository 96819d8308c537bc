/* SPDX-License-Identifier: Apache-2.0 */
/* /proc files about the process: proc(5). */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/procfs.h"

#define CLOCK_TICK_NS    10000000u
#define MEMORY_BYTES_MAX (512u * 1024)

static void add_area(struct text *t, const struct mm_area *a)
{
    const char *name = a->name;
    if (name[0] == 0) {
        name = (a->flags & MM_HEAP) != 0 ? "[heap]" : (a->flags & MM_STACK) != 0 ? "[stack]" : "";
    }
    text_add(t, "%lx-%lx %c%c%c%c %08lx %s %-10lu %s%s\n", (unsigned long)a->start,
             (unsigned long)a->end, (a->protection & MM_READ) != 0 ? 'r' : '-',
             (a->protection & MM_WRITE) != 0 ? 'w' : '-',
             (a->protection & MM_EXEC) != 0 ? 'x' : '-', (a->flags & MM_SHARED) != 0 ? 's' : 'p',
             (unsigned long)a->offset, a->inode != 0 ? "00:14" : "00:00", (unsigned long)a->inode,
             name[0] != 0 ? "               " : "", name);
}

static void each_area(struct text *t, void (*add)(struct text *t, const struct mm_area *a))
{
    struct mm *mm = process_current()->mm;
    struct mm_area area;
    uint64_t va = 0;
    while (t->failed == 0 && mm_area_next(mm, va, &area)) {
        add(t, &area);
        va = area.end;
    }
}

void proc_self_maps(struct text *t)
{
    each_area(t, add_area);
}

/* Pages of an area that are in a frame, counted in pieces. */
static uint64_t resident_bytes(const struct mm_area *a)
{
    uint8_t vector[256];
    uint64_t pages = (a->end - a->start) / PAGE_BYTES, resident = 0;
    for (uint64_t at = 0; at < pages; at += sizeof(vector)) {
        uint64_t part = MIN(pages - at, sizeof(vector));
        if (mm_resident(process_current()->mm, a->start + at * PAGE_BYTES, part, vector) != 0) {
            break;
        }
        for (uint64_t i = 0; i < part; i++) {
            resident += vector[i] & 1;
        }
    }
    return resident * PAGE_BYTES;
}

static void add_smap(struct text *t, const struct mm_area *a)
{
    unsigned long resident = (unsigned long)(resident_bytes(a) / KIB);
    add_area(t, a);
    text_add(t,
             "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n"
             "Rss:            %8lu kB\nPss:            %8lu kB\n"
             "Shared_Clean:          0 kB\nShared_Dirty:          0 kB\n"
             "Private_Clean:         0 kB\nPrivate_Dirty:  %8lu kB\n"
             "AnonHugePages:         0 kB\nSwap:                  0 kB\n",
             (unsigned long)((a->end - a->start) / KIB), resident, resident, resident);
}

void proc_self_smaps(struct text *t)
{
    each_area(t, add_smap);
}

void proc_self_stat(struct text *t)
{
    const struct process *p = process_current();
    const struct task *task = task_current();
    struct gueststats sum;
    const struct gueststats *stats = &sum;
    machine_stats_read(&sum);
    struct mm_usage usage;
    mm_usage(p->mm, &usage);
    text_add(t, "%u (%s) R %u %u %u 0 -1 4194304 %lu 0 %lu 0 ", p->pid, task->name,
             PROCESS_PARENT_PID, p->session, p->session, (unsigned long)stats->faults_zero,
             (unsigned long)stats->faults_remote);
    text_add(t, "%lu 0 0 0 20 0 %u 0 %lu %lu %lu 18446744073709551615 ",
             (unsigned long)(call_process_run_ns() / CLOCK_TICK_NS), p->task_count,
             (unsigned long)(p->start_ns / CLOCK_TICK_NS), (unsigned long)usage.mapped_bytes,
             (unsigned long)usage.resident_pages);
    text_add(t, "%lu %lu %lu 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 %lu %lu %lu %lu 0\n",
             (unsigned long)p->code_start, (unsigned long)p->code_end,
             (unsigned long)p->stack_start, (unsigned long)p->arguments_start,
             (unsigned long)p->arguments_end, (unsigned long)p->environment_start,
             (unsigned long)p->environment_end);
}

void proc_self_statm(struct text *t)
{
    const struct process *p = process_current();
    struct mm_usage usage;
    mm_usage(p->mm, &usage);
    text_add(t, "%lu %lu 0 %lu 0 %lu 0\n", (unsigned long)(usage.mapped_bytes / PAGE_BYTES),
             (unsigned long)usage.resident_pages,
             (unsigned long)((p->code_end - p->code_start) / PAGE_BYTES),
             (unsigned long)(usage.data_bytes / PAGE_BYTES));
}

void proc_self_status(struct text *t)
{
    const struct process *p = process_current();
    const struct task *task = task_current();
    struct mm_usage usage;
    mm_usage(p->mm, &usage);
    text_add(t, "Name:\t%s\nUmask:\t%04o\nState:\tR (running)\nTgid:\t%u\nNgid:\t0\nPid:\t%u\n",
             task->name, p->umask, p->pid, p->pid);
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

/* A range of the program's own memory, as it is now. */
static void add_memory(struct text *t, uint64_t start, uint64_t end)
{
    uint64_t bytes = MIN(end - start, MEMORY_BYTES_MAX);
    char *copy = bytes == 0 ? NULL : kmalloc(bytes);
    if (copy != NULL && copy_from_user(copy, start, bytes) == 0) {
        text_add_bytes(t, copy, bytes);
    }
    kfree(copy);
}

void proc_self_cmdline(struct text *t)
{
    add_memory(t, process_current()->arguments_start, process_current()->arguments_end);
}

void proc_self_environ(struct text *t)
{
    add_memory(t, process_current()->environment_start, process_current()->environment_end);
}

void proc_self_auxv(struct text *t)
{
    text_add_bytes(t, process_current()->auxv, process_current()->auxv_words * sizeof(uint64_t));
}

void proc_self_comm(struct text *t)
{
    text_add(t, "%s\n", task_current()->name);
}

void proc_self_oom_score_adj(struct text *t)
{
    text_add(t, "%d\n", process_current()->oom_score_adj);
}

void proc_self_limits(struct text *t)
{
    const struct lx_rlimit *files = &process_current()->limits[LX_RLIMIT_NOFILE];
    text_add(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    text_add(t, "%-25s %-20lu %-20lu %-10s\n", "Max open files", (unsigned long)files->soft,
             (unsigned long)files->hard, "files");
    text_add(t, "%-25s %-20lu %-20s %-10s\n", "Max stack size",
             (unsigned long)process_current()->limits[LX_RLIMIT_STACK].soft, "unlimited", "bytes");
}

void proc_self_mountinfo(struct text *t)
{
    text_add(t, "20 1 0:20 / / rw - overlay overlay rw\n21 20 0:21 / /dev/shm rw - tmpfs tmpfs rw\n"
                "22 20 0:22 / /proc rw - proc proc rw\n23 20 0:23 / /sys ro - sysfs sysfs ro\n");
}

/* ---- links ---- */

static int64_t exe_readlink(struct node *n, char *to, size_t capacity)
{
    struct node *exe = process_current()->executable;
    return exe == NULL ? -ENOENT : node_path(exe, to, capacity);
}

static int exe_follow(struct node *n, struct node **ret)
{
    *ret = node_ref(process_current()->executable);
    return *ret == NULL ? -ENOENT : 0;
}

static int64_t cwd_readlink(struct node *n, char *to, size_t capacity)
{
    return node_path(process_current()->directory, to, capacity);
}

static int cwd_follow(struct node *n, struct node **ret)
{
    *ret = node_ref(process_current()->directory);
    return 0;
}

static int64_t root_readlink(struct node *n, char *to, size_t capacity)
{
    return node_path(node_root(), to, capacity);
}

const struct node_hooks proc_exe_hooks = {.readlink = exe_readlink, .follow = exe_follow};
const struct node_hooks proc_cwd_hooks = {.readlink = cwd_readlink, .follow = cwd_follow};
const struct node_hooks proc_root_hooks = {.readlink = root_readlink};

/* ---- /proc/self/fd ---- */

static int64_t fd_readlink(struct node *n, char *to, size_t capacity)
{
    struct fd_entry *entry = fd_entry(process_current(), (int)n->hook_value);
    char text[64];
    if (entry == NULL) {
        return -ENOENT;
    }
    struct node *target = entry->file->node;
    if ((target->flags & NODE_LINKED) != 0 || target == node_root()) {
        return node_path(target, to, capacity);
    }
    int length;
    if (target->device != NODE_DEVICE_PIPE) {
        length = ksnprintf(text, sizeof(text), "/(deleted)");
    } else if (target->name[0] == '[') {
        length = ksnprintf(text, sizeof(text), "anon_inode:%s", target->name);
    } else {
        length = ksnprintf(text, sizeof(text), "pipe:[%lu]", (unsigned long)target->ino);
    }
    if ((size_t)length > capacity) {
        return -ENAMETOOLONG;
    }
    memcpy(to, text, (size_t)length);
    return length;
}

static int fd_follow(struct node *n, struct node **ret)
{
    struct fd_entry *entry = fd_entry(process_current(), (int)n->hook_value);
    if (entry == NULL) {
        return -ENOENT;
    }
    *ret = node_ref(entry->file->node);
    return 0;
}

/* Opening the link of a stream or pipe gives the same file again. */
static const struct node_hooks fd_link_hooks = {.readlink = fd_readlink, .follow = fd_follow};

static int number_parse(const char *text, size_t length, int *ret)
{
    int number = 0;
    if (length == 0 || length > 6) {
        return -ENOENT;
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return -ENOENT;
        }
        number = number * 10 + (text[i] - '0');
    }
    *ret = number;
    return 0;
}

static int fd_lookup(struct node *dir, const char *name, size_t name_length, struct node **ret)
{
    int fd;
    int rc = number_parse(name, name_length, &fd);
    if (rc != 0 || fd_entry(process_current(), fd) == NULL) {
        return -ENOENT;
    }
    rc = node_new(name, name_length, LX_S_IFLNK | 0700, ret);
    if (rc == 0) {
        (*ret)->device = NODE_DEVICE_PROC;
        (*ret)->hooks = &fd_link_hooks;
        (*ret)->hook_value = (uint64_t)fd;
    }
    return rc;
}

static int fd_list(struct node *dir, node_each_fn each, void *context)
{
    struct process *p = process_current();
    for (uint32_t fd = 0; fd < p->fd_capacity; fd++) {
        char name[16];
        if (p->fds[fd].file == NULL) {
            continue;
        }
        int length = ksnprintf(name, sizeof(name), "%u", fd);
        struct node_entry entry = {dir->ino + 1 + fd, LX_DT_LNK, name, (size_t)length};
        int rc = each(context, &entry);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

const struct node_hooks proc_fd_hooks = {.lookup = fd_lookup, .list = fd_list};
