/* SPDX-License-Identifier: Apache-2.0 */
/* /proc and /sys, as far as programs read them. */
#ifndef DILOS_UNIKERNEL_LINUX_PROCFS_H
#define DILOS_UNIKERNEL_LINUX_PROCFS_H

#include <stddef.h>

#include "computenode/unikernel/fs/file.h"
#include "lib/base/compiler.h"

/* Makes both in the tree. Errors: those of node_create(). */
int procfs_init(void) MUST_CHECK;

/* Text that is being written; grows. Once memory is short, nothing more is added. */
struct text {
    char *bytes;
    size_t length;
    size_t capacity;
    int failed;
};
void text_add(struct text *t, const char *format, ...) PRINTF_LIKE(2, 3);
void text_add_bytes(struct text *t, const void *bytes, size_t length);
/* It becomes what the file holds; its bytes are taken over. Errors: -ENOMEM. */
int proc_text_set(struct file *f, struct text *t) MUST_CHECK;
/* A name that is a number of up to six digits. Errors: -ENOENT. */
int proc_number(const char *text, size_t length, int *ret) MUST_CHECK;

typedef void (*proc_text_fn)(struct text *t);

/* proc_self.c */
void proc_self_maps(struct text *t);
void proc_self_smaps(struct text *t);
void proc_self_stat(struct text *t);
void proc_self_statm(struct text *t);
void proc_self_status(struct text *t);
void proc_self_cmdline(struct text *t);
void proc_self_environ(struct text *t);
void proc_self_auxv(struct text *t);
void proc_self_limits(struct text *t);
void proc_self_mountinfo(struct text *t);
void proc_self_oom_score_adj(struct text *t);
/* proc_task.c: stat and status of the process are there too */
extern const struct node_hooks proc_tasks_hooks, proc_comm_hooks, proc_thread_self_hooks;
extern const struct node_hooks proc_exe_hooks, proc_cwd_hooks, proc_root_hooks, proc_fd_hooks;

/* proc_system.c */
void proc_meminfo(struct text *t);
void proc_cpuinfo(struct text *t);
void proc_cpu_list(struct text *t); /* "0-3" */
void proc_loadavg(struct text *t);
void proc_stat(struct text *t);
void proc_uptime(struct text *t);
void proc_mounts(struct text *t);
void proc_uuid(struct text *t);
void proc_boot_id(struct text *t);

#endif
