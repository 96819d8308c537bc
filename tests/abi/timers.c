/* SPDX-License-Identifier: Apache-2.0 */
/* timer_create(2), timerfd_create(2), signalfd(2) by their manual pages. Times are lower bounds. */
#include "tests/abi/expect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MS     1000000L
#define SIGNAL SIGRTMIN

static struct itimerspec in_ms(int64_t ms, int64_t interval_ms)
{
    return (struct itimerspec){{interval_ms / 1000, interval_ms % 1000 * MS},
                               {ms / 1000, ms % 1000 * MS}};
}

static int64_t ms_of(struct timespec ts)
{
    return ts.tv_sec * 1000 + ts.tv_nsec / MS;
}

static void block(int signal, int how)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(how, &set, NULL);
}

/* Takes a signal that is blocked; 0: none came within the time. */
static int take(int signal, long ms, siginfo_t *ret)
{
    sigset_t set;
    struct timespec limit = {ms / 1000, ms % 1000 * MS};
    sigemptyset(&set);
    sigaddset(&set, signal);
    int got = sigtimedwait(&set, ret, &limit);
    return got < 0 ? 0 : got;
}

/* ---- timer_create(2) ---- */

static atomic_int handled, handled_value;
static atomic_int handled_tid;

static void handler(int signal, siginfo_t *info, void *context)
{
    atomic_store(&handled_value, info->si_value.sival_int);
    atomic_store(&handled_tid, (int)syscall(SYS_gettid));
    atomic_fetch_add(&handled, info->si_code == SI_TIMER ? 1 : 1000);
}

static int await_count(atomic_int *count, int wanted)
{
    for (int i = 0; i < 5000 && atomic_load(count) < wanted; i++) {
        pause_ms(1);
    }
    return atomic_load(count);
}

static void timer_signals(void)
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGNAL};
    struct itimerspec once = in_ms(100, 0), again = in_ms(1, 5), none = in_ms(0, 9), left;
    timer_t timer;
    event.sigev_value.sival_int = 4711;
    sigaction(SIGNAL, &action, NULL);
    expect("timer_create", timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    expect("not set", timer_gettime(timer, &left) == 0 && ms_of(left.it_value) == 0);
    int64_t start_ms = clock_ms(CLOCK_MONOTONIC);
    expect("once", timer_settime(timer, 0, &once, NULL) == 0);
    expect("it runs", timer_gettime(timer, &left) == 0 && left.it_value.tv_nsec > 0);
    expect("one signal", await_count(&handled, 1) == 1);
    expect("not too early", clock_ms(CLOCK_MONOTONIC) - start_ms >= 100);
    expect("its value", atomic_load(&handled_value) == 4711);
    expect("over", timer_gettime(timer, &left) == 0 && ms_of(left.it_value) == 0);
    expect("again", timer_settime(timer, 0, &again, &left) == 0 && ms_of(left.it_value) == 0);
    expect("several", await_count(&handled, 5) >= 5);
    expect("stop", timer_settime(timer, 0, &none, &left) == 0 && ms_of(left.it_interval) == 5);
    expect("nothing is kept", timer_gettime(timer, &left) == 0 && ms_of(left.it_interval) == 0);
    int count = atomic_load(&handled);
    pause_ms(30);
    expect("it stopped", atomic_load(&handled) <= count + 1);
    expect("timer_delete", timer_delete(timer) == 0);
}

/* While its signal waits, a timer counts what it would have sent. */
static void timer_overrun(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGNAL};
    struct itimerspec again = in_ms(1, 2);
    siginfo_t info;
    timer_t timer, other;
    block(SIGNAL, SIG_BLOCK);
    event.sigev_value.sival_int = 1;
    expect("timer_create", timer_create(CLOCK_REALTIME, &event, &timer) == 0);
    event.sigev_value.sival_int = 2;
    expect("another", timer_create(CLOCK_REALTIME, &event, &other) == 0);
    expect("set", timer_settime(timer, 0, &again, NULL) == 0);
    pause_ms(50);
    expect("signal", take(SIGNAL, 5000, &info) == SIGNAL && info.si_code == SI_TIMER);
    expect("counted in the signal", info.si_overrun >= 10);
    expect("and by the timer", timer_getoverrun(timer) == info.si_overrun);
    expect("not of the other", timer_getoverrun(other) == 0);
    expect("deleted", timer_delete(timer) == 0 && timer_delete(other) == 0);
    while (take(SIGNAL, 0, &info) != 0) {
    }
    block(SIGNAL, SIG_UNBLOCK);
}

static void timer_absolute(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
    siginfo_t info;
    block(SIGUSR1, SIG_BLOCK);
    for (int i = 0; i < 3; i++) {
        timer_t timer;
        expect("timer_create", timer_create(clocks[i], &event, &timer) == 0);
        int64_t at_ms = clock_ms(clocks[i]) + 20;
        struct itimerspec at = in_ms(at_ms, 0), past = in_ms(1, 0);
        expect("absolute", timer_settime(timer, TIMER_ABSTIME, &at, NULL) == 0);
        expect("it came", take(SIGUSR1, 5000, &info) == SIGUSR1 && info.si_overrun == 0);
        expect("not before", clock_ms(clocks[i]) >= at_ms);
        expect("in the past", timer_settime(timer, TIMER_ABSTIME, &past, NULL) == 0);
        expect("at once", take(SIGUSR1, 5000, &info) == SIGUSR1);
        expect("timer_delete", timer_delete(timer) == 0);
    }
    block(SIGUSR1, SIG_UNBLOCK);
}

static atomic_int notified;

static void notify(union sigval value)
{
    atomic_fetch_add(&notified, value.sival_int);
}

/* To one thread, by a thread, to nobody. */
static void timer_kinds(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGNAL};
    struct itimerspec once = in_ms(5, 0), far = in_ms(100000, 7), left;
    timer_t timer;
    event._sigev_un._tid = (int)syscall(SYS_gettid);
    atomic_store(&handled, 0);
    expect("SIGEV_THREAD_ID", timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    expect("set", timer_settime(timer, 0, &once, NULL) == 0);
    expect("signal", await_count(&handled, 1) == 1);
    expect("to that thread", atomic_load(&handled_tid) == (int)syscall(SYS_gettid));
    expect("deleted", timer_delete(timer) == 0);

    struct sigevent thread = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notify};
    thread.sigev_value.sival_int = 3;
    once = in_ms(5, 5);
    expect("SIGEV_THREAD", timer_create(CLOCK_REALTIME, &thread, &timer) == 0);
    expect("set", timer_settime(timer, 0, &once, NULL) == 0);
    expect("twice", await_count(&notified, 6) >= 6);
    expect("deleted", timer_delete(timer) == 0);

    struct sigevent nobody = {.sigev_notify = SIGEV_NONE};
    expect("SIGEV_NONE", timer_create(CLOCK_MONOTONIC, &nobody, &timer) == 0);
    expect("set", timer_settime(timer, 0, &far, NULL) == 0);
    expect("left", timer_gettime(timer, &left) == 0 && left.it_value.tv_sec >= 99);
    expect("interval", ms_of(left.it_interval) == 7);
    expect("deleted", timer_delete(timer) == 0);
}

static void timer_errors(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    struct itimerspec bad = {{0, 0}, {0, 1000000000}}, good = in_ms(1, 0);
    int id = -1; /* as the kernel numbers them; the C library's are others */
    expect("a signal that isn't", syscall(SYS_timer_create, 1, &event, &id) < 0 && errno == EINVAL);
    event.sigev_signo = SIGALRM;
    expect("a clock that isn't", syscall(SYS_timer_create, 99, &event, &id) < 0 && errno == EINVAL);
    event.sigev_notify = 77;
    expect("a way that isn't", syscall(SYS_timer_create, 1, &event, &id) < 0 && errno == EINVAL);
    event.sigev_notify = SIGEV_THREAD_ID;
    event._sigev_un._tid = 99999999;
    expect("a thread that isn't", syscall(SYS_timer_create, 1, &event, &id) < 0 && errno == EINVAL);
    expect("no place", syscall(SYS_timer_create, 1, NULL, 8) < 0 && errno == EFAULT);
    expect("no event", syscall(SYS_timer_create, 1, NULL, &id) == 0 && id >= 0);
    expect("bad time", syscall(SYS_timer_settime, id, 0, &bad, NULL) < 0 && errno == EINVAL);
    expect("nowhere", syscall(SYS_timer_settime, id, 0, 8, NULL) < 0 && errno == EFAULT);
    expect("deleted", syscall(SYS_timer_delete, id) == 0);
    expect("twice", syscall(SYS_timer_delete, id) < 0 && errno == EINVAL);
    expect("set", syscall(SYS_timer_settime, id, 0, &good, NULL) < 0 && errno == EINVAL);
    expect("get", syscall(SYS_timer_gettime, id, &good) < 0 && errno == EINVAL);
    expect("overrun", syscall(SYS_timer_getoverrun, id) < 0 && errno == EINVAL);
}

/* ---- timerfd_create(2) ---- */

static uint64_t times_of(int fd)
{
    uint64_t times = 0;
    return read(fd, &times, sizeof(times)) == (ssize_t)sizeof(times) ? times : UINT64_MAX;
}

static void timerfd(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec once = in_ms(100, 0), again = in_ms(2, 2), none = in_ms(0, 0), left;
    struct pollfd p = {fd, POLLIN, 0};
    expect("timerfd_create", fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    expect("not ready", poll(&p, 1, 0) == 0);
    int64_t start_ms = clock_ms(CLOCK_MONOTONIC);
    expect("once", timerfd_settime(fd, 0, &once, NULL) == 0);
    expect("it runs", timerfd_gettime(fd, &left) == 0 && left.it_value.tv_nsec > 0);
    expect("read waits", times_of(fd) == 1 && clock_ms(CLOCK_MONOTONIC) - start_ms >= 100);
    expect("again", timerfd_settime(fd, 0, &again, &left) == 0 && ms_of(left.it_value) == 0);
    pause_ms(50);
    expect("poll", poll(&p, 1, 5000) == 1 && p.revents == POLLIN);
    uint64_t times = times_of(fd);
    expect("all times", times >= 20 && times < 100000);
    expect("next", times_of(fd) >= 1);
    expect("stop", timerfd_settime(fd, 0, &none, &left) == 0 && ms_of(left.it_interval) == 2);
    expect("forgotten", poll(&p, 1, 10) == 0);
    int64_t at_ms = clock_ms(CLOCK_MONOTONIC);
    struct itimerspec past = in_ms(at_ms - 100, 10);
    expect("absolute", timerfd_settime(fd, TFD_TIMER_ABSTIME, &past, NULL) == 0);
    expect("what is past counts", times_of(fd) >= 10);
    close(fd);
}

static void timerfd_waits(void)
{
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK), e = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 5}, got;
    struct itimerspec once = in_ms(10, 0);
    uint32_t small;
    uint64_t times;
    expect("EAGAIN", read(fd, &times, 8) == -1 && errno == EAGAIN);
    expect("too small", read(fd, &small, sizeof(small)) == -1 && errno == EINVAL);
    expect("write", write(fd, &times, 8) == -1 && errno == EINVAL);
    expect("epoll_ctl", epoll_ctl(e, EPOLL_CTL_ADD, fd, &event) == 0);
    expect("set", timerfd_settime(fd, 0, &once, NULL) == 0);
    expect("epoll", epoll_wait(e, &got, 1, 5000) == 1 && got.data.u32 == 5);
    expect("once", times_of(fd) == 1);
    close(e);
    close(fd);
    expect("a clock that isn't", timerfd_create(99, 0) == -1 && errno == EINVAL);
    expect("flags that aren't", timerfd_create(CLOCK_MONOTONIC, 1) == -1 && errno == EINVAL);
    expect("closed", timerfd_settime(fd, 0, &once, NULL) == -1 && errno == EBADF);
    expect("another file", timerfd_settime(1, 0, &once, NULL) == -1 && errno == EINVAL);
}

/* ---- signalfd(2) ---- */

static void *send_later(void *argument)
{
    pause_ms(20);
    kill(getpid(), SIGUSR2);
    return NULL;
}

static void signal_fd(void)
{
    struct signalfd_siginfo got[4];
    sigset_t set;
    pthread_t thread;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    block(SIGUSR2, SIG_BLOCK);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    struct pollfd p = {fd, POLLIN, 0};
    expect("signalfd", fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    expect("nothing", read(fd, got, sizeof(got)) == -1 && errno == EAGAIN);
    expect("too small", read(fd, got, 100) == -1 && errno == EINVAL);
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR2);
    expect("ready", poll(&p, 1, 5000) == 1 && p.revents == POLLIN);
    expect("one of them", read(fd, got, sizeof(got)) == (ssize_t)sizeof(got[0]));
    expect("which", got[0].ssi_signo == SIGUSR1 && got[0].ssi_pid == (uint32_t)getpid());
    sigaddset(&set, SIGUSR2);
    expect("another mask", signalfd(fd, &set, 0) == fd);
    expect("the other", read(fd, got, sizeof(got)) == (ssize_t)sizeof(got[0]) &&
                            got[0].ssi_signo == SIGUSR2 && got[0].ssi_code == SI_USER);
    expect("no more", poll(&p, 1, 0) == 0);
    expect("wait", fcntl(fd, F_SETFL, 0) == 0);
    pthread_create(&thread, NULL, send_later, NULL);
    expect("poll waits", poll(&p, 1, 5000) == 1);
    pthread_join(thread, NULL);
    expect("read", read(fd, got, sizeof(got[0])) == (ssize_t)sizeof(got[0]));
    pthread_create(&thread, NULL, send_later, NULL);
    expect("read waits",
           read(fd, got, sizeof(got)) == (ssize_t)sizeof(got[0]) && got[0].ssi_signo == SIGUSR2);
    pthread_join(thread, NULL);
    expect("not a signalfd", signalfd(1, &set, 0) == -1 && errno == EINVAL);
    expect("not open", signalfd(99, &set, 0) == -1 && errno == EBADF);
    expect("flags", signalfd(-1, &set, 1) == -1 && errno == EINVAL);
    close(fd);
}

/* The event loop of many programs: a timer's signals and others by one descriptor. */
static void signal_fd_of_timer(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGNAL};
    struct itimerspec again = in_ms(1, 2);
    struct signalfd_siginfo got;
    sigset_t set;
    timer_t timer;
    sigemptyset(&set);
    sigaddset(&set, SIGNAL);
    block(SIGNAL, SIG_BLOCK);
    event.sigev_value.sival_int = 99;
    int fd = signalfd(-1, &set, 0);
    expect("timer_create", timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    expect("set", timer_settime(timer, 0, &again, NULL) == 0);
    for (int i = 0; i < 3; i++) {
        pause_ms(10);
        expect("read", read(fd, &got, sizeof(got)) == (ssize_t)sizeof(got));
        expect("a timer's", got.ssi_code == SI_TIMER && got.ssi_int == 99);
        expect("overrun", got.ssi_overrun >= 1);
    }
    timer_delete(timer);
    close(fd);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    timer_signals();
    timer_overrun();
    timer_absolute();
    timer_kinds();
    timer_errors();
    timerfd();
    timerfd_waits();
    signal_fd();
    signal_fd_of_timer();
    return expect_done();
}
