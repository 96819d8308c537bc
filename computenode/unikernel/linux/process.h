/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one process of the machine and its threads. All of it is under the kernel lock.
 */
#ifndef DILOS_UNIKERNEL_LINUX_PROCESS_H
#define DILOS_UNIKERNEL_LINUX_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/fs/file.h"
#include "computenode/unikernel/fs/walk.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "computenode/unikernel/linux/abi.h"
#include "computenode/unikernel/linux/signal.h"
#include "lib/base/compiler.h"

#define PROCESS_PID        2u /* programs take pid 1 for init */
#define PROCESS_PARENT_PID 1u
#define FD_COUNT_MAX       65536u
#define TASK_COUNT_MAX     2048u
#define TASK_NAME_BYTES    16u
#define AUXV_WORDS_MAX     48u

/* A thread of the program; the kernel's part of it is in `thread` (kernel/thread.h). */
struct task {
    struct process *process;
    struct thread *thread;
    struct list link; /* in process->tasks */
    uint32_t tid;
    uint64_t blocked;          /* signal mask, bit n-1 for signal n */
    struct signal_set pending; /* for this thread only */
    uint64_t sigwait;          /* what sigtimedwait(2) waits for */
    uint64_t mask_before;      /* while mask_borrowed: what comes back */
    bool mask_borrowed;
    bool restart;     /* its system call was interrupted, and is made again if ... */
    bool restartable; /* ... it is one of those that SA_RESTART is for */
    /* Of the last exception, for signal frames. */
    uint64_t trap_vector, trap_error, trap_address;
    struct lx_sigaltstack altstack;
    uint64_t clear_child_tid; /* 0: none */
    uint64_t robust_list;     /* 0: none */
    struct user_regs start;   /* with which it enters ring 3 first */
    char name[TASK_NAME_BYTES];
};

struct fd_entry {
    struct file *file; /* NULL: free */
    bool close_on_exec;
};

struct process {
    struct mm *mm;
    struct list tasks; /* all that live, the first one first while it lives */
    uint32_t task_count;
    uint32_t tid_next;
    struct signal_set pending; /* for whichever thread does not block it */
    uint64_t ended_run_ns;     /* of threads that have ended */
    int leader_status;         /* what the first thread gave to exit(2) */
    uint32_t pid;
    uint32_t uid;
    uint32_t gid;
    uint32_t umask;
    uint32_t session;        /* session and process group */
    struct node *directory;  /* referenced */
    struct node *executable; /* referenced; NULL before it is loaded */
    struct fd_entry *fds;
    uint32_t fd_capacity;
    struct lx_rlimit limits[LX_RLIMIT_COUNT];
    struct lx_sigaction actions[LX_SIGNAL_COUNT + 1];
    int32_t oom_score_adj;
    bool dumpable;
    uint64_t start_ns;
    /* Where things lie in the program's memory, for /proc/self. */
    uint64_t arguments_start, arguments_end, environment_start, environment_end;
    uint64_t stack_start, code_start, code_end;
    uint64_t auxv[AUXV_WORDS_MAX];
    uint32_t auxv_words;
};

struct process *process_current(void);
struct task *task_current(void);

/*
 * Makes the process of the boot specification, with descriptors 0 to 2; the running thread becomes
 * its first. Errors: -ENOMEM.
 */
int process_init(void) MUST_CHECK;

static inline struct walk_identity process_identity(const struct process *p)
{
    return (struct walk_identity){p->uid, p->gid};
}

/* ---- descriptors ---- */

/* The file, referenced. Errors: -EBADF. */
int fd_get(struct process *p, int fd, struct file **ret) MUST_CHECK;
/* The same, of that kind; *ret_data: what its operations have. Errors: -EINVAL of another, too;
 * *ret is set then. */
int fd_get_kind(struct process *p, int fd, const struct file_ops *ops, struct file **ret,
                void **ret_data) MUST_CHECK;
/* Takes the lowest free descriptor from `least` on and the reference of `f`. Errors: -EMFILE,
 * -ENOMEM, -EINVAL; the reference is dropped then. */
int fd_install(struct process *p, struct file *f, int least, bool close_on_exec) MUST_CHECK;
/* Puts `f` (its reference is taken over) at exactly `fd`, closing what is there. */
int fd_replace(struct process *p, int fd, struct file *f, bool close_on_exec) MUST_CHECK;
int fd_close(struct process *p, int fd) MUST_CHECK;
void fd_drop(struct process *p, int fd);              /* one that is open */
struct fd_entry *fd_entry(struct process *p, int fd); /* NULL: not open */

static inline void file_cleanup(struct file **f)
{
    *f = file_unref(*f);
}
static inline void node_cleanup(struct node **n)
{
    *n = node_unref(*n);
}

/* ---- ends ---- */

/* Ends the program as by a signal; the reason is what the operator reads. */
NORETURN void process_kill(int signal, const char *reason);
NORETURN void process_exit(int status);
/* A page can't be had, for a reason that is not the program's fault: -EIO, -ENOMEM, -ENOSPC. */
NORETURN void process_stop_memory(int failure, const char *where);
const char *signal_name(int signal);

#endif
