/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/abi/conform.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <time.h>

static int has_bytes(const char *p, size_t length, char value)
{
    for (size_t i = 0; i < length; i++) {
        if (p[i] != value) {
            return 0;
        }
    }
    return 1;
}

static void *map(size_t length)
{
    return mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void test_mmap_anonymous(void)
{
    char *p = map(64 * PAGE);
    EXPECT(p != MAP_FAILED);
    EXPECT(has_bytes(p, 64 * PAGE, 0));
    memset(p, 'x', 64 * PAGE);
    EXPECT_EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0);
    EXPECT(has_bytes(p + PAGE, PAGE, 0));
    EXPECT(has_bytes(p + 2 * PAGE, PAGE, 'x'));
    EXPECT_EQ(munmap(p + 8 * PAGE, 8 * PAGE), 0);
    EXPECT_EQ(munmap(p + 8 * PAGE, 8 * PAGE), 0);
    char *q = mmap(p + 8 * PAGE, 8 * PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    EXPECT(q == p + 8 * PAGE);
    EXPECT(has_bytes(q, 8 * PAGE, 0));
    EXPECT(has_bytes(p + 7 * PAGE, PAGE, 'x'));
    EXPECT_ERRNO(
        (long)mmap(p, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0),
        EEXIST);
    EXPECT_ERRNO((long)mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    EXPECT_ERRNO((long)mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    EXPECT_ERRNO((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0), EBADF);
    EXPECT_ERRNO(munmap(p + 1, PAGE), EINVAL);
    EXPECT_EQ(munmap(p, 64 * PAGE), 0);
}

static void test_mmap_reserve(void)
{
    size_t length = (size_t)1 << 32;
    char *p = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(mprotect(p + length / 2, 4 * PAGE, PROT_READ | PROT_WRITE), 0);
    p[length / 2] = 1;
    EXPECT_EQ(p[length / 2 + 1], 0);
    EXPECT_EQ(munmap(p, length), 0);
    EXPECT_ERRNO(mprotect(p, PAGE, PROT_READ), ENOMEM);
    EXPECT_ERRNO(mprotect(p + 1, PAGE, PROT_READ), EINVAL);
}

static void test_mmap_file(void)
{
    char name[] = "/tmp/dilos-map-XXXXXX", text[10] = "";
    int fd = mkstemp(name);
    EXPECT_EQ(ftruncate(fd, 3 * PAGE + 100), 0);
    EXPECT_EQ(pwrite(fd, "first", 5, 0) + pwrite(fd, "third", 5, 2 * PAGE), 10);
    char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT(memcmp(private + 2 * PAGE, "third", 5) == 0);
    memcpy(private, "mine!", 5);
    EXPECT_EQ(pread(fd, text, 5, 0), 5);
    EXPECT_STR(text, "first");
    char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(memcmp(shared, "first", 5) == 0);
    memcpy(shared, "share", 5);
    EXPECT_EQ(pread(fd, text, 5, 0), 5);
    EXPECT_STR(text, "share");
    EXPECT_EQ(pwrite(fd, "WRITE", 5, 2 * PAGE), 5);
    EXPECT(memcmp(shared + 2 * PAGE, "WRITE", 5) == 0);
    EXPECT_EQ(msync(shared, 4 * PAGE, MS_SYNC), 0);
    EXPECT(memcmp(private, "mine!", 5) == 0);
    EXPECT_EQ(shared[3 * PAGE + 100], 0);
    char *offset = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE);
    EXPECT(memcmp(offset, "WRITE", 5) == 0);
    EXPECT_ERRNO((long)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 5), EINVAL);
    EXPECT_EQ(munmap(private, 4 * PAGE) | munmap(shared, 4 * PAGE) | munmap(offset, PAGE), 0);
    EXPECT_EQ(close(fd) | unlink(name), 0);
}

static void test_mremap(void)
{
    char *p = map(16 * PAGE);
    for (int i = 0; i < 16; i++) {
        p[i * PAGE] = (char)i;
    }
    char *q = mremap(p, 16 * PAGE, 4000 * PAGE, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED);
    for (int i = 0; i < 16; i++) {
        EXPECT_EQ(q[i * PAGE], i);
    }
    EXPECT_EQ(q[3999 * PAGE], 0);
    EXPECT(mremap(q, 4000 * PAGE, 2 * PAGE, 0) == q);
    EXPECT_EQ(q[PAGE], 1);
    EXPECT_EQ(munmap(q, 2 * PAGE), 0);
    EXPECT_ERRNO((long)mremap(q, PAGE, 2 * PAGE, 0x80), EINVAL);
}

static void test_brk(void)
{
    char *start = sbrk(0);
    EXPECT(sbrk(100000) == start);
    EXPECT(has_bytes(start, 100000, 0));
    memset(start, 'x', 100000);
    EXPECT(sbrk(-100000) != (void *)-1);
    EXPECT(sbrk(0) == start);
    EXPECT(sbrk(100000) == start);
    EXPECT(has_bytes(start + PAGE, 100000 - PAGE, 0));
}

static void test_mincore_and_advice(void)
{
    unsigned char vector[4] = "";
    char *p = map(4 * PAGE);
    p[PAGE] = 1;
    EXPECT_EQ(mincore(p, 4 * PAGE, vector), 0);
    EXPECT_EQ(vector[1] & 1, 1);
    EXPECT_EQ(madvise(p, 4 * PAGE, MADV_WILLNEED) | madvise(p, 4 * PAGE, MADV_NORMAL) |
                  madvise(p, 4 * PAGE, MADV_COLD) | madvise(p, 4 * PAGE, MADV_PAGEOUT) |
                  madvise(p, 4 * PAGE, MADV_POPULATE_WRITE),
              0);
    EXPECT_EQ(p[PAGE], 1);
    EXPECT_ERRNO(madvise(p, PAGE, 9999), EINVAL);
    EXPECT_ERRNO(madvise(p + 1, PAGE, MADV_DONTNEED), EINVAL);
    EXPECT_EQ(mlock(p, PAGE) | munlock(p, PAGE), 0);
    EXPECT_EQ(munmap(p, 4 * PAGE), 0);
    EXPECT_ERRNO(madvise(p, PAGE, MADV_DONTNEED), ENOMEM);
    EXPECT_ERRNO(mincore(p, PAGE, vector), ENOMEM);
}

static void test_auxiliary_vector(void)
{
    EXPECT_EQ(getauxval(AT_PAGESZ), PAGE);
    EXPECT_EQ(getauxval(AT_SECURE), 0);
    EXPECT_EQ(getauxval(AT_CLKTCK), 100);
    EXPECT_EQ(getauxval(AT_UID), getuid());
    EXPECT(getauxval(AT_RANDOM) != 0);
    EXPECT(getauxval(AT_PHDR) != 0);
    EXPECT_STR((char *)getauxval(AT_PLATFORM), "x86_64");
    EXPECT(strstr((char *)getauxval(AT_EXECFN), "conform") != NULL);
    unsigned char *vdso = (unsigned char *)getauxval(AT_SYSINFO_EHDR);
    EXPECT(vdso != NULL && memcmp(vdso, "\177ELF", 4) == 0);
    EXPECT_EQ((uintptr_t)__builtin_frame_address(0) % 16, 0);
}

static int64_t now_ns(clockid_t clock)
{
    struct timespec ts = {0};
    EXPECT_EQ(clock_gettime(clock, &ts), 0);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* The vDSO and the system call must be one clock. */
static void test_clocks(void)
{
    struct timespec a, b, c, resolution;
    for (int i = 0; i < 1000; i++) {
        EXPECT_EQ(clock_gettime(CLOCK_MONOTONIC, &a), 0);
        EXPECT_EQ(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b), 0);
        EXPECT_EQ(clock_gettime(CLOCK_MONOTONIC, &c), 0);
        int64_t first = a.tv_sec * 1000000000ll + a.tv_nsec;
        int64_t second = b.tv_sec * 1000000000ll + b.tv_nsec;
        int64_t third = c.tv_sec * 1000000000ll + c.tv_nsec;
        EXPECT(first <= second && second <= third);
    }
    struct timeval tv;
    EXPECT_EQ(gettimeofday(&tv, NULL), 0);
    EXPECT(llabs(tv.tv_sec - (long long)time(NULL)) <= 2);
    EXPECT(llabs(now_ns(CLOCK_REALTIME) / 1000000000 - tv.tv_sec) <= 2);
    EXPECT_EQ(clock_getres(CLOCK_MONOTONIC, &resolution), 0);
    EXPECT_EQ(resolution.tv_nsec, 1);
    EXPECT(now_ns(CLOCK_PROCESS_CPUTIME_ID) > 0);
    EXPECT_ERRNO(syscall(SYS_clock_gettime, 99, &a), EINVAL);
}

static void test_sleep(void)
{
    struct timespec short_time = {0, 20000000}, bad = {0, 1000000000}, until;
    int64_t start = now_ns(CLOCK_MONOTONIC);
    EXPECT_EQ(nanosleep(&short_time, NULL), 0);
    EXPECT(now_ns(CLOCK_MONOTONIC) - start >= 20000000);
    EXPECT_ERRNO(nanosleep(&bad, NULL), EINVAL);
    EXPECT_EQ(clock_gettime(CLOCK_MONOTONIC, &until), 0);
    until.tv_nsec += 20000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    EXPECT_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL), 0);
    EXPECT(now_ns(CLOCK_MONOTONIC) >= until.tv_sec * 1000000000ll + until.tv_nsec);
}

static void test_futex(void)
{
    uint32_t word = 5;
    struct timespec t = {0, 5000000};
    EXPECT_ERRNO(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 6, NULL, NULL, 0), EAGAIN);
    EXPECT_ERRNO(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 5, &t, NULL, 0), ETIMEDOUT);
    EXPECT_EQ(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 0);
    EXPECT_ERRNO(syscall(SYS_futex, (char *)&word + 1, FUTEX_WAIT_PRIVATE, 5, &t, NULL, 0), EINVAL);
}

static void test_identity(void)
{
    struct utsname u;
    struct sysinfo info;
    uid_t r, e, s;
    EXPECT(getpid() > 1);
    EXPECT_EQ(syscall(SYS_gettid), getpid());
    EXPECT(getppid() >= 0);
    EXPECT_EQ(getresuid(&r, &e, &s), 0);
    EXPECT_EQ(r, getuid());
    EXPECT_EQ(e, geteuid());
    EXPECT_EQ(uname(&u), 0);
    EXPECT_STR(u.sysname, "Linux");
    EXPECT_STR(u.machine, "x86_64");
    EXPECT(atoi(u.release) >= 4);
    EXPECT_EQ(sysinfo(&info), 0);
    EXPECT(info.totalram > 0);
    EXPECT(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    EXPECT(getpgrp() >= 0);
    EXPECT_ERRNO(kill(987654, 0), ESRCH);
    EXPECT_EQ(kill(getpid(), 0), 0);
}

static void test_limits(void)
{
    struct rlimit limit, was;
    struct rusage usage;
    struct tms tms;
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &was), 0);
    limit = was;
    limit.rlim_cur = 20;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    EXPECT_ERRNO(fcntl(0, F_DUPFD, 20), EINVAL);
    int fd;
    while ((fd = dup(0)) >= 0) {
        EXPECT(fd < 20);
    }
    EXPECT_EQ(errno, EMFILE);
    for (fd = 3; fd < 20; fd++) {
        (void)close(fd);
    }
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &was), 0);
    EXPECT_EQ(getrlimit(RLIMIT_STACK, &limit), 0);
    EXPECT(limit.rlim_cur >= 1 << 20);
    EXPECT_EQ(getrusage(RUSAGE_SELF, &usage), 0);
    EXPECT(usage.ru_maxrss > 0);
    EXPECT(times(&tms) != (clock_t)-1);
    EXPECT_ERRNO(getrlimit((__rlimit_resource_t)99, &limit), EINVAL);
}

static void test_signal_state(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN}, was;
    sigset_t set, old;
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536}, old_stack;
    EXPECT_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    EXPECT_EQ(sigaction(SIGUSR1, NULL, &was), 0);
    EXPECT(was.sa_handler == SIG_IGN);
    EXPECT_EQ(raise(SIGUSR1), 0); /* ignored */
    EXPECT_ERRNO(sigaction(SIGKILL, &action, NULL), EINVAL);
    EXPECT_EQ(sigemptyset(&set) | sigaddset(&set, SIGUSR2), 0);
    EXPECT_EQ(sigprocmask(SIG_BLOCK, &set, &old), 0);
    EXPECT_EQ(raise(SIGUSR2), 0); /* pending */
    EXPECT_EQ(sigpending(&old), 0);
    EXPECT_EQ(sigismember(&old, SIGUSR2), 1);
    action.sa_handler = SIG_IGN;
    EXPECT_EQ(sigaction(SIGUSR2, &action, NULL), 0);
    EXPECT_EQ(sigprocmask(SIG_UNBLOCK, &set, NULL), 0);
    EXPECT_EQ(raise(SIGCHLD), 0);
    EXPECT_EQ(sigaltstack(&stack, NULL) | sigaltstack(NULL, &old_stack), 0);
    EXPECT(old_stack.ss_sp == stack.ss_sp);
    stack.ss_flags = SS_DISABLE;
    EXPECT_EQ(sigaltstack(&stack, NULL), 0);
    free(stack.ss_sp);
}

static void test_names_random_cpus(void)
{
    char name[16] = "";
    unsigned char bytes[64] = "";
    unsigned cpu = 99;
    cpu_set_t cpus;
    EXPECT_EQ(prctl(PR_SET_NAME, "a-name-that-is-too-long", 0, 0, 0), 0);
    EXPECT_EQ(prctl(PR_GET_NAME, name, 0, 0, 0), 0);
    EXPECT_STR(name, "a-name-that-is-");
    EXPECT_EQ(getrandom(bytes, sizeof(bytes), 0), (long)sizeof(bytes));
    EXPECT(!has_bytes((char *)bytes, sizeof(bytes), 0));
    EXPECT_EQ(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
    EXPECT(CPU_COUNT(&cpus) >= 1);
    EXPECT_EQ(getcpu(&cpu, NULL), 0);
    EXPECT(CPU_ISSET((int)cpu, &cpus));
    EXPECT_EQ(sched_yield(), 0);
}

static void test_stack_grows(void)
{
    volatile char big[4 << 20];
    for (size_t i = 0; i < sizeof(big); i += PAGE) {
        big[i] = (char)(i / PAGE);
    }
    for (size_t i = 0; i < sizeof(big); i += PAGE) {
        EXPECT_EQ((unsigned char)big[i], (i / PAGE) % 256);
    }
}

int main(void)
{
    TAP_RUN(test_mmap_anonymous);
    TAP_RUN(test_mmap_reserve);
    TAP_RUN(test_mmap_file);
    TAP_RUN(test_mremap);
    TAP_RUN(test_brk);
    TAP_RUN(test_mincore_and_advice);
    TAP_RUN(test_auxiliary_vector);
    TAP_RUN(test_clocks);
    TAP_RUN(test_sleep);
    TAP_RUN(test_futex);
    TAP_RUN(test_identity);
    TAP_RUN(test_limits);
    TAP_RUN(test_signal_state);
    TAP_RUN(test_names_random_cpus);
    TAP_RUN(test_stack_grows);
    return tap_done();
}
