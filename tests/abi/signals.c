/* SPDX-License-Identifier: Apache-2.0 */
/* Signals: handlers on either stack, masks, restarted calls, faults, threads, waiting. */
#include "tests/abi/expect.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t count, last, order[8];
static volatile int code, nested;
static void *volatile address, *volatile stack_seen;
static volatile uint64_t value;

static void count_it(int signal)
{
    order[count++ % 8] = signal;
    last = signal;
}

static void look(int signal, siginfo_t *info, void *context)
{
    int here;
    stack_seen = &here;
    code = info->si_code;
    address = info->si_addr;
    value = (uint64_t)(uintptr_t)info->si_value.sival_ptr;
    count_it(signal);
}

static void install(int signal, void (*handler)(int), int flags, int also)
{
    struct sigaction a = {.sa_handler = handler, .sa_flags = flags};
    sigemptyset(&a.sa_mask);
    if (also != 0) {
        sigaddset(&a.sa_mask, also);
    }
    expect("sigaction", sigaction(signal, &a, NULL) == 0);
    count = 0;
}

static void install_info(int signal, int flags)
{
    struct sigaction a = {.sa_sigaction = look, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    expect("sigaction", sigaction(signal, &a, NULL) == 0);
    count = 0;
}

static void change_mask(int how, int signal)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    expect("pthread_sigmask", pthread_sigmask(how, &set, NULL) == 0);
}

/* ---- handlers, masks, flags ---- */

static void raise_inside(int signal)
{
    int before = count;
    count_it(signal);
    if (before == 0) {
        raise(signal);
        nested = count - before;
    }
}

static void basics(void)
{
    install(SIGUSR1, count_it, 0, 0);
    raise(SIGUSR1);
    kill(getpid(), SIGUSR1);
    expect("handler runs at once", count == 2 && last == SIGUSR1);
    change_mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    sigset_t pending;
    sigpending(&pending);
    expect("blocked: pending, not run", count == 2 && sigismember(&pending, SIGUSR1));
    change_mask(SIG_UNBLOCK, SIGUSR1);
    expect("unblocked: runs once", count == 3);
    install(SIGUSR1, raise_inside, 0, 0);
    raise(SIGUSR1);
    expect("not nested", nested == 1 && count == 2);
    install(SIGUSR1, count_it, SA_RESETHAND, 0);
    raise(SIGUSR1);
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    expect("reset", count == 1 && now.sa_handler == SIG_DFL);
    install(SIGUSR1, SIG_IGN, 0, 0);
    raise(SIGUSR1);
    expect("ignored", count == 0);
    install(SIGUSR2, count_it, SA_NODEFER, 0);
    raise(SIGUSR2);
    expect("no defer", count == 1);
}

static void queued(void)
{
    install_info(SIGRTMIN + 1, 0);
    change_mask(SIG_BLOCK, SIGRTMIN + 1);
    for (uintptr_t i = 1; i <= 3; i++) {
        union sigval v = {.sival_ptr = (void *)(i * 1000)};
        expect("sigqueue", sigqueue(getpid(), SIGRTMIN + 1, v) == 0);
    }
    change_mask(SIG_UNBLOCK, SIGRTMIN + 1);
    expect("real-time signals queue", count == 3 && value == 3000 && code == SI_QUEUE);
}

/* ---- the alternate stack, and registers that survive ---- */

static void altstack(void)
{
    static uint8_t memory[65536];
    stack_t s = {.ss_sp = memory, .ss_size = sizeof(memory)};
    expect("sigaltstack", sigaltstack(&s, NULL) == 0);
    install_info(SIGUSR1, SA_ONSTACK);
    raise(SIGUSR1);
    expect("on the alternate stack",
           (uint8_t *)stack_seen >= memory && (uint8_t *)stack_seen < memory + sizeof(memory));
    install_info(SIGUSR1, 0);
    raise(SIGUSR1);
    expect("not on it",
           (uint8_t *)stack_seen < memory || (uint8_t *)stack_seen >= memory + sizeof(memory));
}

static void spoil_vectors(int signal)
{
    __asm__ volatile("pxor %%xmm0, %%xmm0\n pxor %%xmm7, %%xmm7\n pcmpeqd %%xmm15, %%xmm15\n"
                     "fninit\n" ::
                         : "xmm0", "xmm7", "xmm15");
    count_it(signal);
}

static void registers(void)
{
    uint64_t in[6] = {1, 2, 3, 4, 5, 6}, out[6] = {0};
    long rc = SYS_tgkill;
    uint16_t fcw_in = 0x0f7f, fcw_out = 0;
    install(SIGUSR1, spoil_vectors, 0, 0);
    __asm__ volatile("movdqu (%1), %%xmm0\n movdqu 16(%1), %%xmm7\n movdqu 32(%1), %%xmm15\n"
                     "fldcw (%6)\n"
                     "syscall\n"
                     "movdqu %%xmm0, (%2)\n movdqu %%xmm7, 16(%2)\n movdqu %%xmm15, 32(%2)\n"
                     "fnstcw (%7)\n"
                     : "+a"(rc)
                     : "r"(in), "r"(out), "D"((long)getpid()), "S"(syscall(SYS_gettid)),
                       "d"((long)SIGUSR1), "r"(&fcw_in), "r"(&fcw_out)
                     : "rcx", "r11", "memory", "xmm0", "xmm7", "xmm15");
    expect("result of the call", rc == 0 && count == 1);
    expect("vector registers survive", memcmp(in, out, sizeof(in)) == 0);
    expect("so does the x87 control word", fcw_out == fcw_in);
    __asm__ volatile("fninit");
}

/* ---- faults ---- */

static sigjmp_buf back;
static uint8_t *page;

static void jump(int signal, siginfo_t *info, void *context)
{
    look(signal, info, context);
    siglongjmp(back, 1);
}

static void allow(int signal, siginfo_t *info, void *context)
{
    const ucontext_t *u = context;
    look(signal, info, context);
    value = (uint64_t)u->uc_mcontext.gregs[REG_CR2];
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

static void skip(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    look(signal, info, context);
    u->uc_mcontext.gregs[REG_RIP] += 2; /* ud2 */
    u->uc_mcontext.gregs[REG_RAX] = 77;
}

static void faults(void)
{
    struct sigaction a = {.sa_sigaction = jump, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &a, NULL);
    if (sigsetjmp(back, 1) == 0) {
        *(volatile int *)0x1234 = 1;
        expect("not reached", 0);
    }
    expect("no mapping", code == SEGV_MAPERR && address == (void *)0x1234);
    page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    a.sa_sigaction = allow;
    sigaction(SIGSEGV, &a, NULL);
    page[5] = 9;
    expect("no right", code == SEGV_ACCERR && address == page + 5 && page[5] == 9);
    expect("cr2 in the context", value == (uint64_t)(uintptr_t)(page + 5));
    a.sa_sigaction = skip;
    sigaction(SIGILL, &a, NULL);
    long result = 0;
    __asm__ volatile("ud2" : "+a"(result));
    expect("context is changed by the handler", result == 77 && last == SIGILL);
    a.sa_sigaction = jump;
    sigaction(SIGFPE, &a, NULL);
    volatile int zero = 0, ten = 10;
    if (sigsetjmp(back, 1) == 0) {
        zero = ten / zero;
    }
    expect("division", code == FPE_INTDIV);
}

/* ---- waiting calls and threads ---- */

static pthread_t main_thread;
static int pipe_fds[2];

static void *disturb(void *argument)
{
    pause_ms(30);
    pthread_kill(main_thread, SIGUSR1);
    pause_ms(30);
    (void)!write(pipe_fds[1], "x", 1);
    return NULL;
}

static ssize_t read_disturbed(int flags)
{
    pthread_t thread;
    char c;
    install(SIGUSR1, count_it, flags, 0);
    pthread_create(&thread, NULL, disturb, NULL);
    errno = 0;
    ssize_t got = read(pipe_fds[0], &c, 1);
    int error = errno;
    pthread_join(thread, NULL);
    if (got < 0) {
        (void)!read(pipe_fds[0], &c, 1);
    }
    errno = error;
    return got;
}

static void waits(void)
{
    main_thread = pthread_self();
    expect("pipe", pipe(pipe_fds) == 0);
    expect("read is interrupted", read_disturbed(0) == -1 && errno == EINTR && count == 1);
    expect("read is restarted", read_disturbed(SA_RESTART) == 1 && count == 1);
    pthread_t thread;
    install(SIGUSR1, count_it, SA_RESTART, 0);
    pthread_create(&thread, NULL, disturb, NULL);
    struct timespec ts = {10, 0};
    expect("nanosleep", nanosleep(&ts, &ts) == -1 && errno == EINTR && ts.tv_sec >= 8);
    pthread_join(thread, NULL);
    char c;
    (void)!read(pipe_fds[0], &c, 1);
    change_mask(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    sigset_t none;
    sigemptyset(&none);
    count = 0;
    expect("sigsuspend", sigsuspend(&none) == -1 && errno == EINTR && count == 1);
    raise(SIGUSR1);
    expect("mask is back", count == 1);
    struct timespec now = {0, 0};
    expect("ppoll", ppoll(NULL, 0, &ts, &none) == -1 && errno == EINTR && count == 2);
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR1);
    expect("sigtimedwait, none", sigtimedwait(&wanted, NULL, &now) == -1 && errno == EAGAIN);
    pthread_create(&thread, NULL, disturb, NULL);
    siginfo_t info;
    expect("sigwaitinfo", sigwaitinfo(&wanted, &info) == SIGUSR1 && info.si_code <= 0);
    pthread_join(thread, NULL);
    change_mask(SIG_UNBLOCK, SIGUSR1);
    expect("taken by sigwaitinfo, not by the handler", count == 2);
}

/* ---- the alarm clock ---- */

static void alarms(void)
{
    struct itimerval t = {{0, 20000}, {0, 20000}}, before;
    struct timespec ts = {10, 0};
    install(SIGALRM, count_it, 0, 0);
    expect("setitimer", setitimer(ITIMER_REAL, &t, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        expect("rings", pause() == -1 && errno == EINTR);
    }
    expect("rang", count >= 3 && last == SIGALRM);
    memset(&t, 0, sizeof(t));
    expect("disarmed", setitimer(ITIMER_REAL, &t, &before) == 0);
    expect("interval was", before.it_interval.tv_usec == 20000 && before.it_value.tv_usec > 0);
    alarm(100);
    expect("seconds left", alarm(1) == 100);
    count = 0;
    expect("alarm", nanosleep(&ts, &ts) == -1 && errno == EINTR && count == 1);
    expect("no more", alarm(0) == 0);
    expect("no such timer", setitimer(9, &t, NULL) == -1 && errno == EINVAL);
}

static atomic_int ready, stop;
static _Thread_local volatile int mine;
static atomic_int total;

static void count_mine(int signal)
{
    mine++;
}

static void *compute(void *argument)
{
    atomic_fetch_add(&ready, 1);
    while (!atomic_load(&stop)) {
    }
    atomic_fetch_add(&total, mine > 0);
    return NULL;
}

/* Threads that only compute take signals; each its own. */
static void to_threads(void)
{
    pthread_t threads[3];
    install(SIGUSR2, count_mine, 0, 0);
    for (int i = 0; i < 3; i++) {
        pthread_create(&threads[i], NULL, compute, NULL);
    }
    while (atomic_load(&ready) < 3) {
        pause_ms(1);
    }
    for (int i = 0; i < 3; i++) {
        pthread_kill(threads[i], SIGUSR2);
    }
    pause_ms(50);
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    expect("each thread took its own", atomic_load(&total) == 3 && mine == 0);
    change_mask(SIG_BLOCK, SIGUSR2);
}

/* A stream of signals at a thread that computes: nothing of its work is lost. */
static void *bombard(void *argument)
{
    for (int i = 0; i < 300; i++) {
        pthread_kill(main_thread, SIGUSR1);
        sched_yield();
    }
    return NULL;
}

static void storm(void)
{
    pthread_t thread;
    double sum = 0;
    install(SIGUSR1, spoil_vectors, SA_RESTART, 0);
    pthread_create(&thread, NULL, bombard, NULL);
    for (int i = 1; i <= 400000; i++) {
        sum += 1.0 / (double)(i % 7 + 1);
    }
    pthread_join(thread, NULL);
    double again = 0;
    for (int i = 1; i <= 400000; i++) {
        again += 1.0 / (double)(i % 7 + 1);
    }
    expect("sums are equal", sum == again);
    expect("signals came", count > 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    main_thread = pthread_self();
    basics();
    queued();
    altstack();
    registers();
    faults();
    waits();
    alarms();
    to_threads();
    storm();
    return expect_done();
}
