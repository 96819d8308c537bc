/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More of the Linux system call interface: processes, signals, limits, polling. See fs/abi.h for
 * files. Manual page of each in brackets.
 */
#ifndef DILOS_UNIKERNEL_LINUX_ABI_H
#define DILOS_UNIKERNEL_LINUX_ABI_H

#include <stdint.h>

#include "computenode/unikernel/fs/abi.h"

/* signal(7) */
#define LX_SIGHUP       1
#define LX_SIGILL       4
#define LX_SIGTRAP      5
#define LX_SIGABRT      6
#define LX_SIGBUS       7
#define LX_SIGFPE       8
#define LX_SIGKILL      9
#define LX_SIGSEGV      11
#define LX_SIGPIPE      13
#define LX_SIGALRM      14
#define LX_SIGCHLD      17
#define LX_SIGCONT      18
#define LX_SIGSTOP      19
#define LX_SIGTSTP      20
#define LX_SIGTTIN      21
#define LX_SIGTTOU      22
#define LX_SIGURG       23
#define LX_SIGWINCH     28
#define LX_SIGNAL_COUNT 64 /* 1..64 */
#define LX_SIG_DFL      0ull
#define LX_SIG_IGN      1ull
#define LX_SIG_BLOCK    0
#define LX_SIG_UNBLOCK  1
#define LX_SIG_SETMASK  2

struct lx_sigaction {
    uint64_t handler;
    uint64_t flags;
    uint64_t restorer;
    uint64_t mask;
};

#define LX_SA_RESTORER  0x04000000ull
#define LX_SA_ONSTACK   0x08000000ull
#define LX_SA_RESTART   0x10000000ull
#define LX_SA_NODEFER   0x40000000ull
#define LX_SA_RESETHAND 0x80000000ull

/* sigaction(2), <asm-generic/siginfo.h> */
struct lx_siginfo {
    int32_t signal;
    int32_t error;
    int32_t code;
    int32_t pad;
    union {
        struct {
            uint32_t pid;
            uint32_t uid;
            uint64_t value;
        } sent;
        struct {
            int32_t id;
            int32_t overrun;
            uint64_t value;
        } timer;
        struct {
            uint64_t address;
        } fault;
        uint8_t bytes[112];
    };
};
#define LX_SI_USER     0
#define LX_SI_KERNEL   0x80
#define LX_SI_TIMER    (-2)
#define LX_SI_TKILL    (-6)
#define LX_SEGV_MAPERR 1
#define LX_SEGV_ACCERR 2
#define LX_BUS_ADRERR  2
#define LX_FPE_INTDIV  1
#define LX_FPE_FLTINV  7
#define LX_ILL_ILLOPN  2
#define LX_TRAP_BRKPT  1
#define LX_TRAP_TRACE  2

struct lx_sigaltstack {
    uint64_t sp;
    int32_t flags;
    int32_t pad;
    uint64_t bytes;
};
#define LX_SS_ONSTACK     1
#define LX_SS_DISABLE     2
#define LX_SIGSTACK_BYTES 2048

/* getrlimit(2) */
enum lx_resource {
    LX_RLIMIT_CPU,
    LX_RLIMIT_FSIZE,
    LX_RLIMIT_DATA,
    LX_RLIMIT_STACK,
    LX_RLIMIT_CORE,
    LX_RLIMIT_RSS,
    LX_RLIMIT_NPROC,
    LX_RLIMIT_NOFILE,
    LX_RLIMIT_MEMLOCK,
    LX_RLIMIT_AS,
    LX_RLIMIT_LOCKS,
    LX_RLIMIT_SIGPENDING,
    LX_RLIMIT_MSGQUEUE,
    LX_RLIMIT_NICE,
    LX_RLIMIT_RTPRIO,
    LX_RLIMIT_RTTIME,
    LX_RLIMIT_COUNT,
};
#define LX_RLIM_INFINITY UINT64_MAX

struct lx_rlimit {
    uint64_t soft;
    uint64_t hard;
};

/* uname(2) */
struct lx_utsname {
    char sysname[65];
    char nodename[65];
    char release[65];
    char version[65];
    char machine[65];
    char domainname[65];
};

/* sysinfo(2) */
struct lx_sysinfo {
    int64_t uptime;
    uint64_t loads[3];
    uint64_t totalram;
    uint64_t freeram;
    uint64_t sharedram;
    uint64_t bufferram;
    uint64_t totalswap;
    uint64_t freeswap;
    uint16_t procs;
    uint16_t pad;
    uint32_t pad2;
    uint64_t totalhigh;
    uint64_t freehigh;
    uint32_t mem_unit;
    uint32_t pad3;
};
_Static_assert(sizeof(struct lx_sysinfo) == 112, "sysinfo(2) of x86-64");

/* getrusage(2) */
struct lx_rusage {
    struct lx_timeval utime;
    struct lx_timeval stime;
    int64_t maxrss; /* KiB */
    int64_t unused1[3];
    int64_t minflt;
    int64_t majflt;
    int64_t unused2[8];
};
_Static_assert(sizeof(struct lx_rusage) == 144, "getrusage(2) of x86-64");

struct lx_tms {
    int64_t utime;
    int64_t stime;
    int64_t cutime;
    int64_t cstime;
};

struct lx_pollfd {
    int32_t fd;
    uint16_t events;
    uint16_t revents;
};

/* clock_gettime(2) */
#define LX_CLOCK_REALTIME           0
#define LX_CLOCK_MONOTONIC          1
#define LX_CLOCK_PROCESS_CPUTIME_ID 2
#define LX_CLOCK_THREAD_CPUTIME_ID  3
#define LX_CLOCK_MONOTONIC_RAW      4
#define LX_CLOCK_REALTIME_COARSE    5
#define LX_CLOCK_MONOTONIC_COARSE   6
#define LX_CLOCK_BOOTTIME           7
#define LX_CLOCK_TAI                11
#define LX_TIMER_ABSTIME            1

/* timer_create(2), timer_settime(2) */
struct lx_itimerspec {
    struct lx_timespec it_interval;
    struct lx_timespec it_value;
};
struct lx_sigevent {
    uint64_t value;
    int32_t signal;
    int32_t notify; /* LX_SIGEV_* */
    int32_t tid;
    int32_t pad[11];
};
#define LX_SIGEV_SIGNAL    0
#define LX_SIGEV_NONE      1
#define LX_SIGEV_THREAD    2
#define LX_SIGEV_THREAD_ID 4
#define LX_DELAYTIMER_MAX  INT32_MAX

/* mmap(2), mremap(2), madvise(2) */
#define LX_PROT_READ            1
#define LX_PROT_WRITE           2
#define LX_PROT_EXEC            4
#define LX_PROT_GROWSDOWN       0x01000000
#define LX_MAP_SHARED           0x01
#define LX_MAP_PRIVATE          0x02
#define LX_MAP_SHARED_VALIDATE  0x03
#define LX_MAP_TYPE             0x0f
#define LX_MAP_FIXED            0x10
#define LX_MAP_ANONYMOUS        0x20
#define LX_MAP_32BIT            0x40
#define LX_MAP_STACK            0x20000
#define LX_MAP_POPULATE         0x8000
#define LX_MAP_HUGETLB          0x40000
#define LX_MAP_FIXED_NOREPLACE  0x100000
#define LX_MREMAP_MAYMOVE       1
#define LX_MREMAP_FIXED         2
#define LX_MREMAP_DONTUNMAP     4
#define LX_MADV_NORMAL          0
#define LX_MADV_RANDOM          1
#define LX_MADV_SEQUENTIAL      2
#define LX_MADV_WILLNEED        3
#define LX_MADV_DONTNEED        4
#define LX_MADV_FREE            8
#define LX_MADV_REMOVE          9
#define LX_MADV_DONTFORK        10
#define LX_MADV_DOFORK          11
#define LX_MADV_MERGEABLE       12
#define LX_MADV_UNMERGEABLE     13
#define LX_MADV_HUGEPAGE        14
#define LX_MADV_NOHUGEPAGE      15
#define LX_MADV_DONTDUMP        16
#define LX_MADV_DODUMP          17
#define LX_MADV_WIPEONFORK      18
#define LX_MADV_KEEPONFORK      19
#define LX_MADV_COLD            20
#define LX_MADV_PAGEOUT         21
#define LX_MADV_POPULATE_READ   22
#define LX_MADV_POPULATE_WRITE  23
#define LX_MADV_DONTNEED_LOCKED 24

/* Auxiliary vector: getauxval(3) */
#define LX_AT_NULL         0
#define LX_AT_PHDR         3
#define LX_AT_PHENT        4
#define LX_AT_PHNUM        5
#define LX_AT_PAGESZ       6
#define LX_AT_BASE         7
#define LX_AT_FLAGS        8
#define LX_AT_ENTRY        9
#define LX_AT_UID          11
#define LX_AT_EUID         12
#define LX_AT_GID          13
#define LX_AT_EGID         14
#define LX_AT_PLATFORM     15
#define LX_AT_HWCAP        16
#define LX_AT_CLKTCK       17
#define LX_AT_SECURE       23
#define LX_AT_RANDOM       25
#define LX_AT_HWCAP2       26
#define LX_AT_EXECFN       31
#define LX_AT_SYSINFO_EHDR 33
#define LX_AT_MINSIGSTKSZ  51

#endif
