/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a page costs over one fabric, between this process and a memory node in another. Every byte
 * that is read is checked, outside of the time.
 *
 * usage: fabric-pages shm|tcp|verbs DEPTH PAGES    {"ns": mean of a page, "p50": of a read alone}
 *        fabric-pages revoke-FABRIC COUNT          {"p50", "p99", "max"} of revokes, in ns
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/fabric.h"
#include "lib/sys/sys.h"
#include "memnode/node.h"

#define SLAB_BYTES   (1ull << 20)
#define SLAB_COUNT   8u
#define SLAB_PAGES   (SLAB_BYTES / PAGE_BYTES)
#define BATCH_PAGES  (SLAB_COUNT * SLAB_PAGES / 2) /* read between two checks */
#define DEPTH_MAX    128u
#define CONNECT_MS   10000u
#define SAMPLES_MAX  1000000u
#define ADDRESS_ROOM 256u

/* What the node's process tells. */
struct offer {
    char tcp[ADDRESS_ROOM];
    char shm[ADDRESS_ROOM];
    char verbs[EXPORT_VERBS_ADDRESSES_BYTES];
    struct fabric_grant grants[SLAB_COUNT];
};

struct bench {
    const char *fabric;
    pid_t node;
    int channel;
    struct offer offer;
    struct fabric_peer *peer;
    uint32_t slabs[SLAB_COUNT];
    uint8_t *pages; /* BATCH_PAGES, registered */
    uint64_t *samples;
    uint32_t sample_count;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "fabric-pages: %s\n", what);
    exit(1);
}

/* ---- the memory node's process */

static void grant(struct node *node, uint32_t slab, uint64_t generation, struct fabric_grant *ret)
{
    uint32_t culprit;
    *ret = (struct fabric_grant){
        .slab_index = slab, .generation = generation, .slab_bytes = SLAB_BYTES};
    CHECK(node_grant(node, "bench", generation, false, &slab, 1, ret->key, &culprit) == 0);
}

/* Each byte on the channel asks to revoke a slab; the answer is the time and the next grant. */
static void serve(struct node *node, int channel)
{
    uint64_t generation = 1;
    uint8_t index;
    struct {
        uint64_t ns;
        struct fabric_grant grant;
    } answer;
    uint64_t generations[SLAB_COUNT];
    for (uint32_t i = 0; i < SLAB_COUNT; i++) {
        generations[i] = 1;
    }
    while (read(channel, &index, 1) == 1) {
        uint32_t slab = index;
        uint64_t begin_ns = sys_monotonic_ns();
        CHECK(node_revoke(node, &slab, &generations[slab], 1) == 0);
        answer.ns = sys_monotonic_ns() - begin_ns;
        generations[slab] = ++generation;
        grant(node, slab, generation, &answer.grant);
        CHECK(write(channel, &answer, sizeof(answer)) == (ssize_t)sizeof(answer));
    }
}

static void copy_text(char *to, size_t bytes, const char *from)
{
    (void)snprintf(to, bytes, "%s", from == NULL ? "" : from);
}

static void node_main(const char *fabric, int channel)
{
    char error[NODE_ERROR_BYTES] = "";
    char socket_path[64];
    struct offer offer = {0};
    struct node *node;
    bool verbs = strcmp(fabric, "verbs") == 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(socket_path, sizeof(socket_path), "/tmp/dilos-bench-%d", (int)getpid());
    const struct node_config config = {
        .arena = {.slab_bytes = SLAB_BYTES, .bytes = SLAB_BYTES * SLAB_COUNT, .huge = true},
        .listen_tcp = "127.0.0.1:0",
        .shm_socket = socket_path,
        .verbs = verbs,
        .verbs_wanted = verbs,
        .listen_verbs = {.insecure = true},
    };
    if (node_open(&config, &node, error) != 0) {
        die(error);
    }
    copy_text(offer.tcp, sizeof(offer.tcp), node_tcp_address(node));
    copy_text(offer.shm, sizeof(offer.shm), socket_path);
    copy_text(offer.verbs, sizeof(offer.verbs), node_verbs_addresses(node));
    /* The first address alone: every run over the same port. */
    offer.verbs[strcspn(offer.verbs, ",")] = '\0';
    for (uint32_t i = 0; i < SLAB_COUNT; i++) {
        grant(node, i, 1, &offer.grants[i]);
    }
    CHECK(write(channel, &offer, sizeof(offer)) == (ssize_t)sizeof(offer));
    serve(node, channel);
    (void)node_close(node);
}

/* ---- the client */

static void wait_done(struct bench *bench, struct fabric_done *ret)
{
    while (fabric_poll(bench->peer, ret, 1) == 0) {
    }
    if (ret->status != 0) {
        die("a request failed");
    }
}

static void attach(struct bench *bench, uint32_t index)
{
    struct fabric_done done;
    if (fabric_attach(bench->peer, &bench->offer.grants[index], 0, &bench->slabs[index]) != 0) {
        die("attach");
    }
    wait_done(bench, &done);
}

static uint64_t word(uint64_t page, uint64_t index)
{
    uint64_t x = (page << 16) + index + 1;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t *page_words(struct bench *bench, uint64_t place)
{
    return (uint64_t *)(void *)(bench->pages + place * PAGE_BYTES);
}

static void transfer(struct bench *bench, bool write, uint64_t page, uint64_t place)
{
    uint32_t slab = bench->slabs[page / SLAB_PAGES];
    uint64_t offset = page % SLAB_PAGES * PAGE_BYTES;
    const struct iovec segment = {page_words(bench, place), PAGE_BYTES};
    int error = write ? fabric_write(bench->peer, slab, offset, &segment, 1, place)
                      : fabric_read(bench->peer, slab, offset, &segment, 1, place);
    if (error != 0) {
        die("post");
    }
}

static void fill(struct bench *bench)
{
    struct fabric_done done;
    for (uint64_t page = 0; page < SLAB_COUNT * SLAB_PAGES; page++) {
        for (uint64_t i = 0; i < PAGE_BYTES / 8; i++) {
            page_words(bench, 0)[i] = word(page, i);
        }
        transfer(bench, true, page, 0);
        wait_done(bench, &done);
    }
}

/* The page that read number `number` of a batch is of: far apart, and another place each time. */
static uint64_t page_of(uint64_t batch, uint64_t number)
{
    return (number * 769 + batch * 31) % (SLAB_COUNT * SLAB_PAGES);
}

static void check(struct bench *bench, uint64_t batch, uint64_t count)
{
    for (uint64_t place = 0; place < count; place++) {
        uint64_t *words = page_words(bench, place);
        for (uint64_t i = 0; i < PAGE_BYTES / 8; i++) {
            if (words[i] != word(page_of(batch, place), i)) {
                die("wrong data was read");
            }
            words[i] = 0;
        }
    }
}

/* Reads `count` pages, `depth` at a time; returns how long it took. */
static uint64_t read_batch(struct bench *bench, uint64_t batch, uint64_t count, uint32_t depth)
{
    uint64_t posted = 0;
    uint64_t completed = 0;
    uint64_t begin_ns = sys_monotonic_ns();
    uint64_t last_ns = begin_ns;
    while (completed < count) {
        struct fabric_done done[DEPTH_MAX];
        while (posted < count && posted - completed < depth) {
            transfer(bench, false, page_of(batch, posted), posted);
            posted++;
        }
        uint32_t more = fabric_poll(bench->peer, done, DEPTH_MAX);
        for (uint32_t i = 0; i < more; i++) {
            if (done[i].status != 0) {
                die("a read failed");
            }
        }
        completed += more;
        if (depth == 1 && more == 1) {
            uint64_t now_ns = sys_monotonic_ns();
            if (bench->sample_count < SAMPLES_MAX) {
                bench->samples[bench->sample_count++] = now_ns - last_ns;
            }
            last_ns = now_ns;
        }
    }
    return sys_monotonic_ns() - begin_ns;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t percentile(struct bench *bench, uint32_t permille)
{
    qsort(bench->samples, bench->sample_count, sizeof(uint64_t), by_value);
    return bench->sample_count == 0
               ? 0
               : bench->samples[(uint64_t)(bench->sample_count - 1) * permille / 1000];
}

static void measure_reads(struct bench *bench, uint32_t depth, uint64_t pages)
{
    uint64_t spent_ns = 0;
    uint64_t done = 0;
    fill(bench);
    (void)read_batch(bench, 0, BATCH_PAGES, depth);
    check(bench, 0, BATCH_PAGES);
    bench->sample_count = 0;
    for (uint64_t batch = 1; done < pages; batch++) {
        uint64_t count = MIN(BATCH_PAGES, pages - done);
        spent_ns += read_batch(bench, batch, count, depth);
        check(bench, batch, count);
        done += count;
    }
    printf("{\"ns\": %.1f, \"p50\": %llu, \"pages\": %llu}\n", (double)spent_ns / (double)done,
           (unsigned long long)percentile(bench, 500), (unsigned long long)done);
}

/* The client answers notices meanwhile, as an agent's poller does. */
static void measure_revokes(struct bench *bench, uint32_t count)
{
    struct {
        uint64_t ns;
        struct fabric_grant grant;
    } answer;
    fill(bench);
    for (uint32_t i = 0; i < count && i < SAMPLES_MAX; i++) {
        uint8_t index = (uint8_t)(i % SLAB_COUNT);
        struct fabric_done done;
        for (uint64_t page = 0; page < SLAB_PAGES; page++) {
            transfer(bench, true, index * SLAB_PAGES + page, 0);
            wait_done(bench, &done);
        }
        CHECK(write(bench->channel, &index, 1) == 1);
        struct pollfd item = {.fd = bench->channel, .events = POLLIN};
        while (poll(&item, 1, 0) == 0) {
            (void)fabric_poll(bench->peer, &done, 1);
        }
        CHECK(read(bench->channel, &answer, sizeof(answer)) == (ssize_t)sizeof(answer));
        bench->samples[bench->sample_count++] = answer.ns;
        fabric_detach(bench->peer, bench->slabs[index]);
        bench->offer.grants[index] = answer.grant;
        attach(bench, index);
    }
    printf("{\"p50\": %llu, \"p99\": %llu, \"max\": %llu, \"revokes\": %u}\n",
           (unsigned long long)percentile(bench, 500), (unsigned long long)percentile(bench, 990),
           (unsigned long long)percentile(bench, 1000), bench->sample_count);
}

static void start(struct bench *bench)
{
    int channels[2];
    char reason[128];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channels) == 0);
    bench->node = fork();
    CHECK(bench->node >= 0);
    if (bench->node == 0) {
        (void)close(channels[0]);
        node_main(bench->fabric, channels[1]);
        _exit(0);
    }
    (void)close(channels[1]);
    bench->channel = channels[0];
    if (read(bench->channel, &bench->offer, sizeof(bench->offer)) != sizeof(bench->offer)) {
        die("the memory node did not start");
    }
    const struct fabric_endpoint endpoint = {.node = "bench",
                                             .host_id = "here",
                                             .tcp_address = bench->offer.tcp,
                                             .shm_path = bench->offer.shm,
                                             .verbs_address = bench->offer.verbs};
    const struct fabric_choice choice = {.local_host_id = "here", .only = bench->fabric};
    if (fabric_connect(&endpoint, &choice, CONNECT_MS, &bench->peer, reason) != 0) {
        die(reason);
    }
    bench->pages = aligned_alloc(PAGE_BYTES, BATCH_PAGES * PAGE_BYTES);
    bench->samples = calloc(SAMPLES_MAX, sizeof(uint64_t));
    CHECK(bench->pages != NULL && bench->samples != NULL);
    memset(bench->pages, 0, BATCH_PAGES * PAGE_BYTES);
    if (fabric_register(bench->peer, bench->pages, BATCH_PAGES * PAGE_BYTES) != 0) {
        die("memory can't be registered");
    }
    for (uint32_t i = 0; i < SLAB_COUNT; i++) {
        attach(bench, i);
    }
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bool revoke = argc == 3 && strncmp(argv[1], "revoke-", 7) == 0;
    if (!revoke && argc != 4) {
        die("usage: fabric-pages shm|tcp|verbs DEPTH PAGES | revoke-FABRIC COUNT");
    }
    bench.fabric = argv[1] + (revoke ? 7 : 0);
    start(&bench);
    if (revoke) {
        measure_revokes(&bench, (uint32_t)strtoul(argv[2], NULL, 10));
    } else {
        uint32_t depth = (uint32_t)strtoul(argv[2], NULL, 10);
        if (depth == 0 || depth > DEPTH_MAX) {
            die("DEPTH is 1 to 128");
        }
        measure_reads(&bench, depth, strtoull(argv[3], NULL, 10));
    }
    bench.peer = fabric_close(bench.peer);
    (void)close(bench.channel);
    (void)waitpid(bench.node, NULL, 0);
    free(bench.pages);
    free(bench.samples);
    return 0;
}
