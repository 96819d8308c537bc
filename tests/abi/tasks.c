/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc/self says about threads: all are listed while they live, with their own files. */
#include "tests/abi/expect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS 5

/* Contents of a file of a thread (0: of the process); "" if it can't be read. */
static const char *file_of(int tid, const char *name)
{
    static char text[4096];
    char path[64];
    if (tid == 0) {
        (void)snprintf(path, sizeof(path), "/proc/self/%s", name);
    } else {
        (void)snprintf(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
    }
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    if (fd >= 0) {
        close(fd);
    }
    text[got < 0 ? 0 : got] = 0;
    return text;
}

/* The number after "NAME:\t"; -1: there is none. */
static long number_of(int tid, const char *name)
{
    const char *line = strstr(file_of(tid, "status"), name);
    return line == NULL ? -1 : strtol(line + strlen(name), NULL, 10);
}

/* How many are listed; whether `tid` is among them. */
static int listed(int tid, int *ret_found)
{
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    int count = 0;
    *ret_found = 0;
    while (d != NULL && (e = readdir(d)) != NULL) {
        int number = atoi(e->d_name);
        count += number > 0;
        *ret_found |= number == tid;
    }
    if (d != NULL) {
        closedir(d);
    }
    return count;
}

static struct thread {
    pthread_t thread;
    atomic_int tid;
    atomic_int end;
} threads[THREADS];

static void *run(void *argument)
{
    struct thread *t = argument;
    char link[64] = "", wanted[64];
    atomic_store(&t->tid, (int)syscall(SYS_gettid));
    (void)snprintf(wanted, sizeof(wanted), "%d/task/%d", (int)getpid(), atomic_load(&t->tid));
    expect("thread-self", readlink("/proc/thread-self", link, sizeof(link) - 1) > 0);
    expect("leads to the thread", strcmp(link, wanted) == 0);
    while (!atomic_load(&t->end)) {
        pause_ms(2);
    }
    return NULL;
}

static void check_thread(int index)
{
    char name[16], wanted[20], got[16] = "";
    int found, tid = atomic_load(&threads[index].tid);
    listed(tid, &found);
    expect("listed", found);
    (void)snprintf(name, sizeof(name), "worker-%d", index);
    (void)snprintf(wanted, sizeof(wanted), "%s\n", name);
    expect("named by another", pthread_setname_np(threads[index].thread, name) == 0);
    expect("comm", strcmp(file_of(tid, "comm"), wanted) == 0);
    expect("getname", pthread_getname_np(threads[index].thread, got, sizeof(got)) == 0 &&
                          strcmp(got, name) == 0);
    expect("Pid", number_of(tid, "\nPid:\t") == tid);
    expect("Tgid", number_of(tid, "\nTgid:\t") == getpid());
    expect("Name", strncmp(file_of(tid, "status") + 6, name, strlen(name)) == 0);
    const char *stat = file_of(tid, "stat");
    expect("stat", atoi(stat) == tid && strstr(stat, name) != NULL);
    expect("its state", strstr(stat, ") S ") != NULL || strstr(stat, ") R ") != NULL);
}

int main(void)
{
    int found, pid = getpid();
    char path[64];
    struct timespec start, now;
    expect("alone", listed(pid, &found) == 1 && found && number_of(0, "\nThreads:\t") == 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i].thread, NULL, run, &threads[i]);
        while (atomic_load(&threads[i].tid) == 0) {
            pause_ms(1);
        }
        expect("one more", listed(pid, &found) == i + 2 && found);
        expect("Threads", number_of(0, "\nThreads:\t") == i + 2);
    }
    for (int i = 0; i < THREADS; i++) {
        check_thread(i);
    }
    expect("the first keeps its name", strncmp(file_of(0, "comm"), "tasks\n", 6) == 0);
    expect("the process is the first", atoi(file_of(0, "stat")) == pid);
    expect("no such thread", file_of(999999, "comm")[0] == 0 && errno == ENOENT);
    expect("no such file", file_of(pid, "nothing")[0] == 0 && errno == ENOENT);
    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/comm", atomic_load(&threads[0].tid));
    int fd = open(path, O_RDONLY);
    for (int i = 0; i < THREADS; i++) {
        atomic_store(&threads[i].end, 1);
        pthread_join(threads[i].thread, NULL);
    }
    clock_gettime(CLOCK_MONOTONIC, &start);
    do { /* the last steps of a thread may come after it is joined */
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (listed(pid, &found) != 1 && now.tv_sec - start.tv_sec < 10);
    expect("alone again", listed(pid, &found) == 1 && found && number_of(0, "\nThreads:\t") == 1);
    char byte;
    expect("of one that has ended", fd >= 0 && read(fd, &byte, 1) == -1 && errno == ESRCH);
    expect("gone", open(path, O_RDONLY) == -1 && errno == ENOENT);
    return expect_done();
}
