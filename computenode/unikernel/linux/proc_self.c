/* SPDX-License-Identifier: Apache-2.0 */
/* /proc files about the process: proc(5). */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/procfs.h"

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

int proc_number(const char *text, size_t length, int *ret)
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
    int rc = proc_number(name, name_length, &fd);
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
