/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program that ends, or goes on, as a test wants it:
 *   behave exit N            exits with N
 *   behave signal N          dies of signal N
 *   behave segfault          touches address 0
 *   behave streams           one line on each of stdout and stderr
 *   behave hold MIB SECONDS  fills memory, then verifies it over and over for so long
 *   behave take MIB SECONDS  takes memory piece by piece, then reads all of it for so long
 *   behave grow MIB          maps it at once; refused ("ENOMEM"), tries until it is not; fills it
 *   behave share MIB SECONDS writes a file through a shared mapping (it is pinned), then waits
 *   behave unknown           makes a system call that doesn't exist
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define MIB  (1u << 20)

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void say(const char *text)
{
    puts(text);
    (void)fflush(stdout);
}

static int hold(uint64_t bytes, uint64_t seconds)
{
    uint8_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        say("ENOMEM");
        return 3;
    }
    for (uint64_t at = 0; at < bytes; at += PAGE) {
        memcpy(data + at, &at, sizeof(at));
    }
    say("filled");
    uint64_t end_ms = now_ms() + seconds * 1000;
    do {
        for (uint64_t at = 0; at < bytes; at += PAGE) {
            if (memcmp(data + at, &at, sizeof(at)) != 0) {
                say("wrong data");
                return 1;
            }
        }
    } while (now_ms() < end_ms);
    say("verified");
    return 0;
}

static int take(uint64_t mib, uint64_t seconds)
{
    static const uint8_t *blocks[4096];
    for (uint64_t i = 0; i < mib && i < 4096; i++) {
        uint8_t *data = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (data == MAP_FAILED) {
            say(errno == ENOMEM ? "ENOMEM" : strerror(errno));
            return 3;
        }
        for (uint32_t at = 0; at < MIB; at += PAGE) {
            data[at] = (uint8_t)i + 1;
        }
        blocks[i] = data;
    }
    say("taken");
    uint64_t end_ms = now_ms() + seconds * 1000;
    while (now_ms() < end_ms) {
        for (uint64_t i = 0; i < mib && i < 4096; i++) {
            for (uint32_t at = 0; at < MIB; at += PAGE) {
                if (blocks[i][at] != (uint8_t)((uint8_t)i + 1)) {
                    say("wrong data");
                    return 1;
                }
            }
        }
    }
    return 0;
}

static int share(uint64_t bytes, uint64_t seconds)
{
    const struct timespec pause = {.tv_sec = (time_t)seconds};
    int fd = open("/tmp/shared", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0) {
        return 3;
    }
    uint8_t *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
        return 3;
    }
    for (uint64_t at = 0; at < bytes; at += PAGE) {
        data[at] = (uint8_t)(at / PAGE);
    }
    say("filled");
    (void)nanosleep(&pause, NULL);
    for (uint64_t at = 0; at < bytes; at += PAGE) {
        if (data[at] != (uint8_t)(at / PAGE)) {
            say("wrong data");
            return 1;
        }
    }
    say("verified");
    return 0;
}

/* What /proc/meminfo says; 0: nothing. */
static unsigned long far_total_kib(void)
{
    char line[128];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        (void)sscanf(line, "DilosFarTotal: %lu", &kib);
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return kib;
}

static int grow(uint64_t bytes)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    uint8_t *data;
    bool refused = false;
    while ((data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) ==
           MAP_FAILED) {
        if (!refused) {
            say(errno == ENOMEM ? "ENOMEM" : strerror(errno));
        }
        refused = true;
        (void)nanosleep(&pause, NULL);
    }
    (void)munmap(data, bytes);
    printf("far memory %lu MiB\n", far_total_kib() / 1024);
    return hold(bytes, 0);
}

static int end_by(int number)
{
    (void)signal(number, SIG_DFL);
    (void)raise(number);
    return 1;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t second = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    if (strcmp(what, "exit") == 0) {
        return (int)first;
    }
    if (strcmp(what, "signal") == 0) {
        return end_by((int)first);
    }
    if (strcmp(what, "segfault") == 0) {
        *(volatile int *)(uintptr_t)first = 1;
    }
    if (strcmp(what, "streams") == 0) {
        say("to stdout");
        fprintf(stderr, "to stderr\n");
        return 0;
    }
    if (strcmp(what, "hold") == 0) {
        return hold(first * MIB, second);
    }
    if (strcmp(what, "grow") == 0) {
        return grow(first * MIB);
    }
    if (strcmp(what, "share") == 0) {
        return share(first * MIB, second);
    }
    if (strcmp(what, "take") == 0) {
        return take(first, second);
    }
    if (strcmp(what, "unknown") == 0) {
        long rc = syscall(425, 1, NULL); /* io_uring_setup */
        say(rc == -1 && errno == ENOSYS ? "ENOSYS" : "answered");
        return 0;
    }
    fprintf(stderr, "usage: see the source\n");
    return 2;
}
