/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/procfs.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "computenode/unikernel/kernel/format.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/process.h"
#include "computenode/unikernel/linux/system.h"
#include "lib/base/check.h"

#define TEXT_BYTES_MAX (64u * 1024 * 1024)
#define LINE_BYTES     1024

/* ---- text ---- */

void text_add_bytes(struct text *t, const void *bytes, size_t length)
{
    if (t->failed != 0) {
        return;
    }
    if (length > t->capacity - t->length) {
        size_t capacity = MAX(t->capacity * 2, ALIGN_UP(t->length + length, 4096));
        char *grown = capacity > TEXT_BYTES_MAX ? NULL : krealloc(t->bytes, capacity);
        if (grown == NULL) {
            t->failed = -ENOMEM;
            return;
        }
        t->bytes = grown;
        t->capacity = capacity;
    }
    memcpy(t->bytes + t->length, bytes, length);
    t->length += length;
}

void text_add(struct text *t, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    int length = kvsnprintf(line, sizeof(line), format, args);
    va_end(args);
    text_add_bytes(t, line, MIN((size_t)MAX(length, 0), sizeof(line) - 1));
}

int proc_text_set(struct file *f, struct text *t)
{
    if (t->failed != 0) {
        kfree(t->bytes);
        return t->failed;
    }
    return file_set_text(f, t->bytes, t->length);
}

/* ---- what there is ---- */

enum kind { DIRECTORY, WRITTEN, FIXED, LINK, HOOKED };

struct entry {
    const char *path;
    enum kind kind;
    proc_text_fn write;             /* WRITTEN */
    const char *text;               /* FIXED, LINK */
    const struct node_hooks *hooks; /* HOOKED */
    uint32_t mode;                  /* HOOKED: with type */
};

#define DIR(path)                                                                                  \
    {                                                                                              \
        path, DIRECTORY, NULL, NULL, NULL, 0                                                       \
    }
#define TEXT(path, function)                                                                       \
    {                                                                                              \
        path, WRITTEN, function, NULL, NULL, 0                                                     \
    }
#define CONST(path, text)                                                                          \
    {                                                                                              \
        path, FIXED, NULL, text, NULL, 0                                                           \
    }
#define SYMLINK(path, target)                                                                      \
    {                                                                                              \
        path, LINK, NULL, target, NULL, 0                                                          \
    }
#define HOOK(path, hooks, mode)                                                                    \
    {                                                                                              \
        path, HOOKED, NULL, NULL, hooks, mode                                                      \
    }

static const struct entry entries[] = {
    DIR("/proc"),
    SYMLINK("/proc/self", "2"),
    HOOK("/proc/thread-self", &proc_thread_self_hooks, LX_S_IFLNK | 0777),
    SYMLINK("/proc/mounts", "self/mounts"),
    DIR("/proc/2"),
    TEXT("/proc/2/maps", proc_self_maps),
    TEXT("/proc/2/smaps", proc_self_smaps),
    TEXT("/proc/2/stat", proc_self_stat),
    TEXT("/proc/2/statm", proc_self_statm),
    TEXT("/proc/2/status", proc_self_status),
    TEXT("/proc/2/cmdline", proc_self_cmdline),
    TEXT("/proc/2/environ", proc_self_environ),
    TEXT("/proc/2/auxv", proc_self_auxv),
    HOOK("/proc/2/comm", &proc_comm_hooks, LX_S_IFREG | 0644),
    TEXT("/proc/2/limits", proc_self_limits),
    TEXT("/proc/2/mountinfo", proc_self_mountinfo),
    TEXT("/proc/2/mounts", proc_mounts),
    TEXT("/proc/2/oom_score_adj", proc_self_oom_score_adj),
    CONST("/proc/2/oom_score", "0\n"),
    CONST("/proc/2/cgroup", "0::/\n"),
    CONST("/proc/2/wchan", "0"),
    HOOK("/proc/2/exe", &proc_exe_hooks, LX_S_IFLNK | 0777),
    HOOK("/proc/2/cwd", &proc_cwd_hooks, LX_S_IFLNK | 0777),
    HOOK("/proc/2/root", &proc_root_hooks, LX_S_IFLNK | 0777),
    HOOK("/proc/2/fd", &proc_fd_hooks, LX_S_IFDIR | 0500),
    HOOK("/proc/2/task", &proc_tasks_hooks, LX_S_IFDIR | 0555),
    TEXT("/proc/meminfo", proc_meminfo),
    TEXT("/proc/cpuinfo", proc_cpuinfo),
    TEXT("/proc/stat", proc_stat),
    TEXT("/proc/uptime", proc_uptime),
    CONST("/proc/version", "Linux version " SYSTEM_RELEASE " " SYSTEM_VERSION "\n"),
    TEXT("/proc/loadavg", proc_loadavg),
    CONST("/proc/filesystems", "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\toverlay\n"),
    CONST("/proc/cmdline", "\n"),
    DIR("/proc/sys"),
    DIR("/proc/sys/vm"),
    CONST("/proc/sys/vm/overcommit_memory", "1\n"),
    CONST("/proc/sys/vm/max_map_count", "65530\n"),
    CONST("/proc/sys/vm/swappiness", "60\n"),
    DIR("/proc/sys/fs"),
    CONST("/proc/sys/fs/file-max", "65536\n"),
    CONST("/proc/sys/fs/nr_open", "65536\n"),
    DIR("/proc/sys/kernel"),
    CONST("/proc/sys/kernel/osrelease", SYSTEM_RELEASE "\n"),
    CONST("/proc/sys/kernel/ostype", "Linux\n"),
    CONST("/proc/sys/kernel/version", SYSTEM_VERSION "\n"),
    CONST("/proc/sys/kernel/pid_max", "32768\n"),
    CONST("/proc/sys/kernel/threads-max", "2048\n"),
    CONST("/proc/sys/kernel/ngroups_max", "65536\n"),
    CONST("/proc/sys/kernel/cap_last_cap", "40\n"),
    CONST("/proc/sys/kernel/randomize_va_space", "0\n"),
    DIR("/proc/sys/kernel/random"),
    TEXT("/proc/sys/kernel/random/uuid", proc_uuid),
    TEXT("/proc/sys/kernel/random/boot_id", proc_boot_id),
    CONST("/proc/sys/kernel/random/entropy_avail", "256\n"),
    DIR("/proc/sys/net"),
    DIR("/proc/sys/net/core"),
    CONST("/proc/sys/net/core/somaxconn", "4096\n"),
    DIR("/sys"),
    DIR("/sys/devices"),
    DIR("/sys/devices/system"),
    DIR("/sys/devices/system/cpu"),
    TEXT("/sys/devices/system/cpu/online", proc_cpu_list),
    TEXT("/sys/devices/system/cpu/possible", proc_cpu_list),
    TEXT("/sys/devices/system/cpu/present", proc_cpu_list),
    DIR("/sys/devices/system/cpu/cpu0"),
    DIR("/sys/devices/system/clocksource"),
    DIR("/sys/devices/system/clocksource/clocksource0"),
    CONST("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    DIR("/sys/kernel"),
    DIR("/sys/kernel/mm"),
    DIR("/sys/kernel/mm/transparent_hugepage"),
    CONST("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n"),
};

/* ---- hooks of plain files and links: hook_value is the index in entries ---- */

static int open_text(struct node *n, struct file *f)
{
    const struct entry *e = &entries[n->hook_value];
    struct text t = {0};
    if (e->kind == WRITTEN) {
        e->write(&t);
    } else {
        text_add_bytes(&t, e->text, strlen(e->text));
    }
    return proc_text_set(f, &t);
}

static int64_t read_link(struct node *n, char *to, size_t capacity)
{
    const char *target = entries[n->hook_value].text;
    size_t length = strlen(target);
    if (length > capacity) {
        return -ENAMETOOLONG;
    }
    memcpy(to, target, length);
    return (int64_t)length;
}

static const struct node_hooks text_hooks = {.open = open_text};
static const struct node_hooks link_hooks = {.readlink = read_link};

static int place(const struct entry *e, uint64_t index)
{
    bool proc = strncmp(e->path, "/proc", 5) == 0;
    uint64_t device = proc ? NODE_DEVICE_PROC : NODE_DEVICE_SYS;
    struct node *n;
    int rc;
    switch (e->kind) {
    case DIRECTORY:
        rc = node_place_directory(e->path, 0555, device, &n);
        if (rc == 0) {
            node_unref(n);
        }
        return rc;
    case LINK:
        return node_place_generated(e->path, LX_S_IFLNK | 0777, device, &link_hooks, index);
    case HOOKED:
        return node_place_generated(e->path, e->mode, device, e->hooks, 0);
    default:
        return node_place_generated(e->path, LX_S_IFREG | 0644, device, &text_hooks, index);
    }
}

int procfs_init(void)
{
    _Static_assert(PROCESS_PID == 2, "the paths above name the process");
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        int rc = place(&entries[i], i);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
