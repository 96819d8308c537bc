/* SPDX-License-Identifier: Apache-2.0 */
/* Ends in the way that its argument names. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t handled;

static void handler(int signal)
{
    handled = signal;
}

static void touch_memory(size_t bytes)
{
    volatile char *p = malloc(bytes);
    for (size_t i = 0; p != NULL && i < bytes; i += 4096) {
        p[i] = (char)(i / 4096);
    }
    printf("%s\n", p == NULL ? "no memory given" : "touched");
}

static void wait_for_signal(void)
{
    printf("waiting\n");
    (void)fflush(stdout);
    while (!handled) {
        sleep(1);
    }
    printf("handled %d\n", handled);
}

enum kind { THREAD_STUCK, THREAD_NULL, THREAD_EXIT, THREAD_LATE, THREAD_OWNED };

static pthread_mutex_t owned; /* by the first thread */

static void *thread(void *argument)
{
    sem_t never;
    sem_init(&never, 0, 0);
    switch ((enum kind)(uintptr_t)argument) {
    case THREAD_STUCK:
        sem_wait(&never);
        break;
    case THREAD_NULL:
        *(volatile int *)((uintptr_t)argument - THREAD_NULL) = 1;
        break;
    case THREAD_EXIT:
        exit(6);
    case THREAD_OWNED:
        pthread_mutex_lock(&owned);
        break;
    default:
        usleep(50000);
        printf("last\n");
        break;
    }
    return NULL;
}

/* Two threads of the kind; then the first thread waits for them, or ends. */
static int threads(enum kind kind, int end)
{
    pthread_t made[2];
    for (int i = 0; i < 2; i++) {
        pthread_create(&made[i], NULL, thread, (void *)(uintptr_t)kind);
    }
    if (end) {
        pthread_exit(NULL);
    }
    pthread_join(made[0], NULL);
    return pthread_join(made[1], NULL);
}

/* The others wait for a mutex with priority inheritance, and their owner for them. */
static int deadlock_owned(void)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(&owned, &attributes);
    pthread_mutex_lock(&owned);
    return threads(THREAD_OWNED, 0);
}

/* Raw calls that the kernel does not have, each with the errno that programs expect then. */
static void refusals(void)
{
    static int64_t place[32];
    const long at = (long)place, used = CLOCK_PROCESS_CPUTIME_ID;
    const long some = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
    const struct {
        const char *name;
        long number;
        long arguments[6];
    } calls[] = {
        {"clone3", SYS_clone3, {at, 88}},
        {"rseq", SYS_rseq, {at, 32}},
        {"clone of a process", SYS_clone, {SIGCHLD}},
        {"clone of half a thread", SYS_clone, {some}},
        {"vfork", SYS_vfork, {0}},
        {"execve", SYS_execve, {(long)"/bin/ends", at, at}},
        {"wait4", SYS_wait4, {-1}},
        {"FUTEX_WAIT_REQUEUE_PI", SYS_futex, {at, FUTEX_WAIT_REQUEUE_PI, 0, 0, at + 8}},
        {"FUTEX_CMP_REQUEUE_PI", SYS_futex, {at, FUTEX_CMP_REQUEUE_PI, 1, 0, at + 8}},
        {"timer of used time", SYS_timer_create, {used, 0, at}},
        {"timerfd of used time", SYS_timerfd_create, {used}},
        {"ITIMER_VIRTUAL", SYS_setitimer, {ITIMER_VIRTUAL, at}},
        {"ITIMER_PROF", SYS_setitimer, {ITIMER_PROF, at}},
        {"socket", SYS_socket, {AF_INET, SOCK_STREAM}},
        {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, at}},
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        const long *a = calls[i].arguments;
        long rc = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
        printf("%s: %s\n", calls[i].name, rc < 0 ? strerrorname_np(errno) : "done");
    }
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    volatile int zero = 0;
    if (strcmp(how, "null") == 0) {
        *(volatile int *)(uintptr_t)zero = 1;
    } else if (strcmp(how, "divide") == 0) {
        volatile int one = 1;
        return one / zero;
    } else if (strcmp(how, "illegal") == 0) {
        __asm__ volatile("ud2");
    } else if (strcmp(how, "abort") == 0) {
        abort();
    } else if (strcmp(how, "privileged") == 0) {
        __asm__ volatile("hlt");
    } else if (strcmp(how, "kernel") == 0) {
        *(volatile char *)0xffffc00000000000 = 1;
    } else if (strcmp(how, "past-end") == 0) {
        FILE *f = tmpfile();
        (void)fputs("x", f);
        (void)fflush(f);
        volatile char *p = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, fileno(f), 0);
        return p[4096];
    } else if (strcmp(how, "deadlock") == 0) {
        int fds[2];
        char c;
        return pipe(fds) != 0 || read(fds[0], &c, 1) != 0;
    } else if (strcmp(how, "deadlock-threads") == 0) {
        return threads(THREAD_STUCK, 0);
    } else if (strcmp(how, "deadlock-owned") == 0) {
        return deadlock_owned();
    } else if (strcmp(how, "deadlock-left") == 0) {
        return threads(THREAD_STUCK, 1);
    } else if (strcmp(how, "first-thread-ends") == 0) {
        return threads(THREAD_LATE, 1);
    } else if (strcmp(how, "exit-in-thread") == 0) {
        return threads(THREAD_EXIT, 0);
    } else if (strcmp(how, "null-in-thread") == 0) {
        return threads(THREAD_NULL, 0);
    } else if (strcmp(how, "unknown") == 0) {
        return syscall(SYS_io_uring_setup, 1, 0) == -1 && syscall(SYS_io_uring_setup, 1, 0) == -1;
    } else if (strcmp(how, "refusals") == 0) {
        refusals();
    } else if (strcmp(how, "touch") == 0) {
        touch_memory((size_t)atoi(argv[2]) << 20);
    } else if (strcmp(how, "wait") == 0) {
        wait_for_signal();
    } else if (strcmp(how, "wait-handler") == 0) {
        (void)signal(SIGTERM, handler);
        wait_for_signal();
    } else if (strcmp(how, "fork") == 0) {
        return fork() == -1 ? 5 : 0;
    } else if (strcmp(how, "arguments") == 0) {
        for (int i = 0; i < argc; i++) {
            printf("[%s]", argv[i]);
        }
        printf(" in %s\n", getcwd((char[100]){0}, 100));
    }
    return 0;
}
