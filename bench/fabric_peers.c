/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fabrics are measured against, on this machine.
 *
 * usage: fabric-peers pingpong spin|block COUNT         the bytes of a 4 KiB read over TCP, bare
 *        fabric-peers memcpy COUNT                      4 KiB and a hand-over between two threads
 *        fabric-peers handover LINES COUNT              cache lines to another thread and as many
 * back fabric-peers redis|memcached PORT DEPTH COUNT  4 KiB values, DEPTH requests at a time
 *
 * One line {"ns": mean of a page; of hand-overs their median}. What is read is checked.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAGE          4096u
#define REQUEST_BYTES 32u
#define REPLY_BYTES   (24u + PAGE)
#define KEYS          1024u
#define DEPTH_MAX     128u
#define PAGES         2048u
#define TARGETS       1024u
#define STEP          769u /* the same pages in the same order as fabric-pages */
#define SPINS         2000u
#define LINE_WORDS    8u /* of 64 bytes */
#define LINES_MAX     64u
#define SAMPLES_MAX   1000000u

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void no_delay(int fd)
{
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("connect");
    }
    no_delay(fd);
    return fd;
}

static void put(int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes != 0) {
        ssize_t count = send(fd, at, bytes, MSG_NOSIGNAL);
        if (count <= 0) {
            die("send");
        }
        at += count;
        bytes -= (size_t)count;
    }
}

static void get(int fd, void *data, size_t bytes, bool spin)
{
    char *at = data;
    while (bytes != 0) {
        ssize_t count = recv(fd, at, bytes, spin ? MSG_DONTWAIT : 0);
        if (count == 0) {
            exit(0);
        }
        if (count < 0 && !spin) {
            die("recv");
        }
        at += count > 0 ? count : 0;
        bytes -= count > 0 ? (size_t)count : 0;
    }
}

/* What is read, and where to, with room for a reply's header behind the last. */
static char pages[PAGES + 1][PAGE];
static char target[TARGETS + 1][PAGE];

static void fill_pages(void)
{
    for (unsigned i = 0; i < PAGES + 1; i++) {
        memset(pages[i], (int)(i & 0x7f), PAGE);
    }
}

/* Out of and into as much memory as a read by dilos: caches help neither more than the other. */
static void pingpong(bool spin, unsigned count)
{
    char request[REQUEST_BYTES] = {1};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    fill_pages();
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        die("listen");
    }
    if (fork() == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = accept(listener, NULL, NULL);
        no_delay(fd);
        for (unsigned i = 0;; i++) {
            get(fd, request, sizeof(request), spin);
            put(fd, pages[i * STEP % PAGES], REPLY_BYTES);
        }
    }
    int fd = connect_to(ntohs(address.sin_port));
    double begin = 0;
    unsigned last = 0;
    for (unsigned i = 0; i < count + count / 10; i++) {
        begin = i == count / 10 ? now_ns() : begin;
        put(fd, request, sizeof(request));
        get(fd, target[i % TARGETS], REPLY_BYTES, spin);
        last = i;
    }
    double spent = now_ns() - begin;
    if (target[last % TARGETS][17] != (char)(last * STEP % PAGES & 0x7f)) {
        die("wrong data");
    }
    printf("{\"ns\": %.1f}\n", spent / count);
}

/* ---- a memcpy by another thread that is waiting for it */

static atomic_uint asked;
static atomic_uint answered;
static unsigned memcpy_count;

static void *copier(void *argument)
{
    (void)argument;
    for (unsigned i = 1; i <= memcpy_count; i++) {
        for (unsigned spins = 0; atomic_load_explicit(&asked, memory_order_acquire) < i; spins++) {
            if (spins == SPINS) {
                spins = 0;
                (void)sched_yield();
            }
        }
        memcpy(target[i % TARGETS], pages[i * STEP % PAGES], PAGE);
        atomic_store_explicit(&answered, i, memory_order_release);
    }
    return NULL;
}

static void copy(unsigned count)
{
    pthread_t thread;
    fill_pages();
    memcpy_count = count;
    if (pthread_create(&thread, NULL, copier, NULL) != 0) {
        die("pthread_create");
    }
    double begin = now_ns();
    for (unsigned i = 1; i <= count; i++) {
        atomic_store_explicit(&asked, i, memory_order_release);
        for (unsigned spins = 0; atomic_load_explicit(&answered, memory_order_acquire) < i;
             spins++) {
            if (spins == SPINS) {
                spins = 0;
                (void)sched_yield();
            }
        }
    }
    double spent = now_ns() - begin;
    (void)pthread_join(thread, NULL);
    if (target[count % TARGETS][17] != (char)(count * STEP % PAGES & 0x7f)) {
        die("wrong data");
    }
    printf("{\"ns\": %.1f}\n", spent / count);
}

/* ---- lines that two threads hand to each other, each polling for the last of them */

struct lines {
    _Alignas(PAGE) _Atomic uint64_t words[LINES_MAX * LINE_WORDS];
};

static struct lines to_other;
static struct lines from_other;
static unsigned line_count;
static unsigned handover_count;

/* The last line tells that all are there. */
static void lines_put(struct lines *lines, uint64_t value)
{
    for (unsigned i = 0; i < line_count; i++) {
        atomic_store_explicit(&lines->words[(size_t)i * LINE_WORDS], value, memory_order_release);
    }
}

static void lines_get(struct lines *lines, uint64_t value)
{
    size_t last = (size_t)(line_count - 1) * LINE_WORDS;
    for (unsigned spins = 1;
         atomic_load_explicit(&lines->words[last], memory_order_acquire) < value; spins++) {
        if (spins % SPINS == 0) {
            (void)sched_yield();
        }
    }
    for (unsigned i = 0; i < line_count; i++) {
        if (atomic_load_explicit(&lines->words[(size_t)i * LINE_WORDS], memory_order_relaxed) !=
            value) {
            die("wrong data");
        }
    }
}

static void *other(void *argument)
{
    (void)argument;
    for (unsigned i = 1; i <= handover_count; i++) {
        lines_get(&to_other, i);
        lines_put(&from_other, i);
    }
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* There and back; a look at the clock is part of each, as it is of each read that is timed. */
static void handover(unsigned lines, unsigned count)
{
    static double samples[SAMPLES_MAX];
    pthread_t thread;
    line_count = lines;
    handover_count = count;
    if (pthread_create(&thread, NULL, other, NULL) != 0) {
        die("pthread_create");
    }
    for (unsigned i = 1; i <= count; i++) {
        double begin = now_ns();
        lines_put(&to_other, i);
        lines_get(&from_other, i);
        samples[i - 1] = now_ns() - begin;
    }
    (void)pthread_join(thread, NULL);
    qsort(samples, count, sizeof(samples[0]), by_value);
    printf("{\"ns\": %.1f}\n", samples[count / 2]);
}

/* ---- key-value stores, by their text protocols */

struct store {
    bool redis;
    int fd;
    char value[PAGE];
};

static void fill_value(struct store *store, unsigned key)
{
    for (unsigned i = 0; i < PAGE; i++) {
        store->value[i] = (char)('a' + (key * 7 + i) % 26);
    }
}

static void store_set(struct store *store, unsigned key)
{
    char head[128];
    char reply[16] = "";
    const char *wanted = store->redis ? "+OK\r\n" : "STORED\r\n";
    int length = store->redis ? snprintf(head, sizeof(head),
                                         "*3\r\n$3\r\nSET\r\n$5\r\nk%04u\r\n$%u\r\n", key, PAGE)
                              : snprintf(head, sizeof(head), "set k%04u 0 0 %u\r\n", key, PAGE);
    fill_value(store, key);
    put(store->fd, head, (size_t)length);
    put(store->fd, store->value, PAGE);
    put(store->fd, "\r\n", 2);
    get(store->fd, reply, strlen(wanted), false);
    if (memcmp(reply, wanted, strlen(wanted)) != 0) {
        die("the store did not take a value");
    }
}

static size_t get_request(const struct store *store, unsigned key, char *to)
{
    return (size_t)(store->redis ? sprintf(to, "*2\r\n$3\r\nGET\r\n$5\r\nk%04u\r\n", key)
                                 : sprintf(to, "get k%04u\r\n", key));
}

/* Every answer has the same length. */
static size_t answer_bytes(const struct store *store, unsigned *ret_offset)
{
    char head[64];
    *ret_offset = (unsigned)(store->redis ? sprintf(head, "$%u\r\n", PAGE)
                                          : sprintf(head, "VALUE k0000 0 %u\r\n", PAGE));
    return *ret_offset + PAGE + (store->redis ? 2 : 7);
}

static void run_store(bool redis, uint16_t port, unsigned depth, unsigned count)
{
    static char answers[DEPTH_MAX * (PAGE + 64)];
    static char requests[DEPTH_MAX * 64];
    struct store store = {.redis = redis, .fd = connect_to(port)};
    unsigned offset;
    size_t bytes = answer_bytes(&store, &offset);
    double spent = 0;
    for (unsigned key = 0; key < KEYS; key++) {
        store_set(&store, key);
    }
    for (unsigned done = 0; done < count; done += depth) {
        size_t length = 0;
        for (unsigned i = 0; i < depth; i++) {
            length += get_request(&store, (done + i) * 769 % KEYS, requests + length);
        }
        double begin = now_ns();
        put(store.fd, requests, length);
        get(store.fd, answers, depth * bytes, false);
        spent += now_ns() - begin;
        for (unsigned i = 0; i < depth; i++) {
            fill_value(&store, (done + i) * 769 % KEYS);
            if (memcmp(answers + i * bytes + offset, store.value, PAGE) != 0) {
                die("wrong data");
            }
        }
    }
    printf("{\"ns\": %.1f}\n", spent / count);
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "pingpong") == 0) {
        pingpong(strcmp(argv[2], "spin") == 0, (unsigned)atoi(argv[3]));
    } else if (argc == 3 && strcmp(argv[1], "memcpy") == 0) {
        copy((unsigned)atoi(argv[2]));
    } else if (argc == 4 && strcmp(argv[1], "handover") == 0 && atoi(argv[2]) > 0 &&
               atoi(argv[2]) <= (int)LINES_MAX && atoi(argv[3]) > 0 &&
               atoi(argv[3]) <= (int)SAMPLES_MAX) {
        handover((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
    } else if (argc == 5 && atoi(argv[3]) > 0 && atoi(argv[3]) <= (int)DEPTH_MAX) {
        unsigned depth = (unsigned)atoi(argv[3]);
        run_store(strcmp(argv[1], "redis") == 0, (uint16_t)atoi(argv[2]), depth,
                  (unsigned)atoi(argv[4]) / depth * depth);
    } else {
        (void)fprintf(stderr, "usage: see the head of fabric_peers.c\n");
        return 2;
    }
    return 0;
}
