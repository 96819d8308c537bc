/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One system call being made, and the functions that implement them, by topic. Each returns what
 * the program finds in rax: a result or a negative errno.
 */
#ifndef DILOS_UNIKERNEL_LINUX_CALL_H
#define DILOS_UNIKERNEL_LINUX_CALL_H

#include <stdint.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/process.h"

struct call {
    struct process *p;
    struct task *t;
    struct user_regs *regs;
    uint32_t number;
    uint64_t arg[6];
};

typedef int64_t (*call_fn)(const struct call *c);

/* Every implemented call: name as in <asm/unistd.h>, function. */
#define CALL_TABLE(X)                                                                              \
    CALL_TABLE_FILES(X) CALL_TABLE_PATHS(X) CALL_TABLE_MEMORY(X) CALL_TABLE_PROCESS(X)

#define CALL_TABLE_FILES(X)                                                                        \
    X(read, sys_read)                                                                              \
    X(write, sys_write)                                                                            \
    X(readv, sys_readv)                                                                            \
    X(writev, sys_writev)                                                                          \
    X(pread64, sys_pread)                                                                          \
    X(pwrite64, sys_pwrite)                                                                        \
    X(preadv, sys_preadv)                                                                          \
    X(pwritev, sys_pwritev)                                                                        \
    X(preadv2, sys_preadv2)                                                                        \
    X(pwritev2, sys_pwritev2)                                                                      \
    X(lseek, sys_lseek)                                                                            \
    X(sendfile, sys_sendfile)                                                                      \
    X(copy_file_range, sys_copy_file_range)                                                        \
    X(open, sys_open)                                                                              \
    X(creat, sys_creat)                                                                            \
    X(openat, sys_openat)                                                                          \
    X(close, sys_close)                                                                            \
    X(close_range, sys_close_range)                                                                \
    X(dup, sys_dup)                                                                                \
    X(dup2, sys_dup2)                                                                              \
    X(dup3, sys_dup3)                                                                              \
    X(fcntl, sys_fcntl)                                                                            \
    X(flock, sys_flock)                                                                            \
    X(ioctl, sys_ioctl)                                                                            \
    X(pipe, sys_pipe)                                                                              \
    X(pipe2, sys_pipe2)                                                                            \
    X(eventfd, sys_eventfd)                                                                        \
    X(eventfd2, sys_eventfd2)                                                                      \
    X(timerfd_create, sys_timerfd_create)                                                          \
    X(timerfd_settime, sys_timerfd_settime)                                                        \
    X(timerfd_gettime, sys_timerfd_gettime)                                                        \
    X(signalfd, sys_signalfd)                                                                      \
    X(signalfd4, sys_signalfd4)                                                                    \
    X(fsync, sys_fsync)                                                                            \
    X(fdatasync, sys_fsync)                                                                        \
    X(sync_file_range, sys_fsync)                                                                  \
    X(syncfs, sys_fsync)                                                                           \
    X(sync, sys_zero)                                                                              \
    X(fadvise64, sys_fsync)                                                                        \
    X(readahead, sys_fsync)                                                                        \
    X(ftruncate, sys_ftruncate)                                                                    \
    X(fallocate, sys_fallocate)                                                                    \
    X(getdents64, sys_getdents64)                                                                  \
    X(poll, sys_poll)                                                                              \
    X(ppoll, sys_ppoll)                                                                            \
    X(select, sys_select)                                                                          \
    X(pselect6, sys_pselect6)                                                                      \
    X(epoll_create, sys_epoll_create)                                                              \
    X(epoll_create1, sys_epoll_create1)                                                            \
    X(epoll_ctl, sys_epoll_ctl)                                                                    \
    X(epoll_wait, sys_epoll_wait)                                                                  \
    X(epoll_pwait, sys_epoll_pwait)                                                                \
    X(socket, sys_socket)                                                                          \
    X(connect, sys_connect)                                                                        \
    X(socketpair, sys_socketpair)

#define CALL_TABLE_PATHS(X)                                                                        \
    X(stat, sys_stat)                                                                              \
    X(lstat, sys_lstat)                                                                            \
    X(fstat, sys_fstat)                                                                            \
    X(newfstatat, sys_newfstatat)                                                                  \
    X(statx, sys_statx)                                                                            \
    X(statfs, sys_statfs)                                                                          \
    X(fstatfs, sys_fstatfs)                                                                        \
    X(access, sys_access)                                                                          \
    X(faccessat, sys_faccessat)                                                                    \
    X(faccessat2, sys_faccessat2)                                                                  \
    X(readlink, sys_readlink)                                                                      \
    X(readlinkat, sys_readlinkat)                                                                  \
    X(getcwd, sys_getcwd)                                                                          \
    X(chdir, sys_chdir)                                                                            \
    X(fchdir, sys_fchdir)                                                                          \
    X(mkdir, sys_mkdir)                                                                            \
    X(mkdirat, sys_mkdirat)                                                                        \
    X(mknod, sys_mknod)                                                                            \
    X(mknodat, sys_mknodat)                                                                        \
    X(rmdir, sys_rmdir)                                                                            \
    X(unlink, sys_unlink)                                                                          \
    X(unlinkat, sys_unlinkat)                                                                      \
    X(rename, sys_rename)                                                                          \
    X(renameat, sys_renameat)                                                                      \
    X(renameat2, sys_renameat2)                                                                    \
    X(link, sys_link)                                                                              \
    X(linkat, sys_link)                                                                            \
    X(symlink, sys_symlink)                                                                        \
    X(symlinkat, sys_symlinkat)                                                                    \
    X(truncate, sys_truncate)                                                                      \
    X(chmod, sys_chmod)                                                                            \
    X(fchmod, sys_fchmod)                                                                          \
    X(fchmodat, sys_fchmodat)                                                                      \
    X(chown, sys_chown)                                                                            \
    X(lchown, sys_lchown)                                                                          \
    X(fchown, sys_fchown)                                                                          \
    X(fchownat, sys_fchownat)                                                                      \
    X(utimensat, sys_utimensat)                                                                    \
    X(umask, sys_umask)                                                                            \
    X(getxattr, sys_no_xattr)                                                                      \
    X(lgetxattr, sys_no_xattr)                                                                     \
    X(fgetxattr, sys_no_xattr)                                                                     \
    X(listxattr, sys_zero)                                                                         \
    X(llistxattr, sys_zero)                                                                        \
    X(flistxattr, sys_zero)

#define CALL_TABLE_MEMORY(X)                                                                       \
    X(mmap, sys_mmap)                                                                              \
    X(munmap, sys_munmap)                                                                          \
    X(mprotect, sys_mprotect)                                                                      \
    X(brk, sys_brk)                                                                                \
    X(mremap, sys_mremap)                                                                          \
    X(madvise, sys_madvise)                                                                        \
    X(msync, sys_msync)                                                                            \
    X(mincore, sys_mincore)                                                                        \
    X(mlock, sys_mlock)                                                                            \
    X(mlock2, sys_mlock)                                                                           \
    X(munlock, sys_zero)                                                                           \
    X(mlockall, sys_zero)                                                                          \
    X(munlockall, sys_zero)

#define CALL_TABLE_PROCESS(X)                                                                      \
    X(exit, sys_exit)                                                                              \
    X(exit_group, sys_exit_group)                                                                  \
    X(fork, sys_fork)                                                                              \
    X(vfork, sys_fork)                                                                             \
    X(clone, sys_clone)                                                                            \
    X(clone3, sys_clone3)                                                                          \
    X(execve, sys_execve)                                                                          \
    X(execveat, sys_execve)                                                                        \
    X(wait4, sys_no_child)                                                                         \
    X(waitid, sys_no_child)                                                                        \
    X(arch_prctl, sys_arch_prctl)                                                                  \
    X(set_tid_address, sys_set_tid_address)                                                        \
    X(set_robust_list, sys_set_robust_list)                                                        \
    X(get_robust_list, sys_get_robust_list)                                                        \
    X(rseq, sys_rseq)                                                                              \
    X(futex, sys_futex)                                                                            \
    X(getpid, sys_getpid)                                                                          \
    X(gettid, sys_gettid)                                                                          \
    X(getppid, sys_getppid)                                                                        \
    X(getpgrp, sys_getpgrp)                                                                        \
    X(getpgid, sys_getpgid)                                                                        \
    X(getsid, sys_getpgid)                                                                         \
    X(setpgid, sys_zero)                                                                           \
    X(setsid, sys_setsid)                                                                          \
    X(getuid, sys_getuid)                                                                          \
    X(geteuid, sys_getuid)                                                                         \
    X(getgid, sys_getgid)                                                                          \
    X(getegid, sys_getgid)                                                                         \
    X(getresuid, sys_getresuid)                                                                    \
    X(getresgid, sys_getresgid)                                                                    \
    X(setuid, sys_setuid)                                                                          \
    X(setgid, sys_setgid)                                                                          \
    X(setreuid, sys_setreuid)                                                                      \
    X(setregid, sys_setregid)                                                                      \
    X(setresuid, sys_setreuid)                                                                     \
    X(setresgid, sys_setregid)                                                                     \
    X(getgroups, sys_getgroups)                                                                    \
    X(setgroups, sys_zero)                                                                         \
    X(capget, sys_capget)                                                                          \
    X(uname, sys_uname)                                                                            \
    X(sysinfo, sys_sysinfo)                                                                        \
    X(getrlimit, sys_getrlimit)                                                                    \
    X(setrlimit, sys_setrlimit)                                                                    \
    X(prlimit64, sys_prlimit64)                                                                    \
    X(getrusage, sys_getrusage)                                                                    \
    X(times, sys_times)                                                                            \
    X(getpriority, sys_getpriority)                                                                \
    X(setpriority, sys_zero)                                                                       \
    X(prctl, sys_prctl)                                                                            \
    X(personality, sys_zero)                                                                       \
    X(getcpu, sys_getcpu)                                                                          \
    X(getrandom, sys_getrandom)                                                                    \
    X(sched_yield, sys_sched_yield)                                                                \
    X(sched_getaffinity, sys_sched_getaffinity)                                                    \
    X(sched_setaffinity, sys_sched_setaffinity)                                                    \
    X(sched_getparam, sys_sched_getparam)                                                          \
    X(sched_setparam, sys_zero)                                                                    \
    X(sched_getscheduler, sys_zero)                                                                \
    X(sched_setscheduler, sys_zero)                                                                \
    X(sched_get_priority_max, sys_sched_priority_max)                                              \
    X(sched_get_priority_min, sys_sched_priority_min)                                              \
    X(membarrier, sys_membarrier)                                                                  \
    X(rt_sigaction, sys_rt_sigaction)                                                              \
    X(rt_sigprocmask, sys_rt_sigprocmask)                                                          \
    X(rt_sigpending, sys_rt_sigpending)                                                            \
    X(sigaltstack, sys_sigaltstack)                                                                \
    X(kill, sys_kill)                                                                              \
    X(tkill, sys_tkill)                                                                            \
    X(tgkill, sys_tgkill)                                                                          \
    X(pause, sys_pause)                                                                            \
    X(alarm, sys_alarm)                                                                            \
    X(getitimer, sys_getitimer)                                                                    \
    X(setitimer, sys_setitimer)                                                                    \
    X(timer_create, sys_timer_create)                                                              \
    X(timer_settime, sys_timer_settime)                                                            \
    X(timer_gettime, sys_timer_gettime)                                                            \
    X(timer_getoverrun, sys_timer_getoverrun)                                                      \
    X(timer_delete, sys_timer_delete)                                                              \
    X(rt_sigreturn, sys_rt_sigreturn)                                                              \
    X(rt_sigsuspend, sys_rt_sigsuspend)                                                            \
    X(rt_sigtimedwait, sys_rt_sigtimedwait)                                                        \
    X(rt_sigqueueinfo, sys_rt_sigqueueinfo)                                                        \
    X(rt_tgsigqueueinfo, sys_rt_tgsigqueueinfo)                                                    \
    X(clock_gettime, sys_clock_gettime)                                                            \
    X(clock_getres, sys_clock_getres)                                                              \
    X(clock_nanosleep, sys_clock_nanosleep)                                                        \
    X(nanosleep, sys_nanosleep)                                                                    \
    X(gettimeofday, sys_gettimeofday)                                                              \
    X(time, sys_time)

#define CALL_DECLARE(name, function) int64_t function(const struct call *c);
CALL_TABLE(CALL_DECLARE)
#undef CALL_DECLARE

/* ---- shared by the topics ---- */

/* A path argument; the caller frees it. Errors: -EFAULT, -ENAMETOOLONG, -ENOMEM. */
int call_path(uint64_t user, char **ret) MUST_CHECK;
static inline void path_cleanup(char **path)
{
    kfree(*path);
}
/* Where a path given to an ...at call starts; referenced. Errors: -EBADF, -ENOTDIR. */
int call_base(const struct call *c, int fd, const char *path, struct node **ret) MUST_CHECK;
/* The node of a path argument, or of the descriptor with AT_EMPTY_PATH and "". Referenced. */
int call_node_at(const struct call *c, int fd, uint64_t user_path, unsigned walk_flags,
                 bool empty_path, struct node **ret) MUST_CHECK;

/* Nanoseconds of a struct timespec of the program. Errors: -EFAULT, -EINVAL. */
int call_timespec(uint64_t user, uint64_t *ret_ns) MUST_CHECK;
/*
 * The signal mask of a call that waits (ppoll(2) and its like), if one is given: it holds until the
 * call returns. Errors: -EFAULT, -EINVAL.
 */
int call_mask(const struct call *c, uint64_t user_mask, uint64_t bytes) MUST_CHECK;
/* Time that the program's threads have run, also those that have ended. */
uint64_t call_process_run_ns(void);

/*
 * Waits until one of the files may be ready, the deadline (program_monotonic_ns; UINT64_MAX:
 * none) or a signal. input_wanted: one of them may become ready from outside. Errors: -EINTR,
 * -EDEADLK nothing can ever become ready.
 */
int call_wait_ready(uint64_t deadline_ns, bool input_wanted) MUST_CHECK;

/* All threads wait for each other, for ever: ends the program, saying in what. */
NORETURN void call_deadlock(const char *what);

#endif
