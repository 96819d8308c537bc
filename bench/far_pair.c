/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a read of 4 KiB costs more through an agent: a vhost-user client of the far device with its
 * thread as in an agent (computenode/agent/far_device.h), by turns with the same read of the memory
 * node's shared memory by the client itself. By turns, some hundred reads each, since a machine's
 * speed drifts within seconds by more than the difference. Each page that is read is checked,
 * outside of the time.
 *
 * usage: far-pair READS
 *
 * One line of JSON, in ns: "far" and "alone", medians of all reads; "share", the median of the
 * differences of neighbours' medians; "blocks", how many of those.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "computenode/agent/far_device.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "memnode/node.h"
#include "tests/unit/agent/front_end.h"

#define SLAB_BYTES  (1ull << 20)
#define SLAB_COUNT  8u
#define SLAB_PAGES  (uint32_t)(SLAB_BYTES / PAGE_BYTES)
#define PAGES       (SLAB_COUNT * SLAB_PAGES)
#define FRAMES      1024u /* read into by turns, as by bench/fabric_pages.c */
#define SECTORS     (PAGE_BYTES / VIRTIO_BLK_SECTOR_BYTES)
#define WORDS       (PAGE_BYTES / sizeof(uint64_t))
#define BLOCK_READS 500u
#define BLOCKS_MAX  2000u
#define WAIT_MS     10000u
#define POLL_NS     50000u

struct pair {
    char folder[32];
    char device_path[64];
    char node_path[64];
    struct node *node;
    struct far_device *device;
    struct front_end front;
    struct fabric_peer *peer;
    struct fabric_grant grants[SLAB_COUNT];
    uint32_t granted;
    uint32_t slabs[SLAB_COUNT]; /* the peer's names, in the order of the far device */
    uint32_t read_count;
    uint64_t far_ns[BLOCKS_MAX * BLOCK_READS];
    uint64_t alone_ns[BLOCKS_MAX * BLOCK_READS];
};

static void die(const char *what)
{
    (void)fprintf(stderr, "far-pair: %s\n", what);
    exit(1);
}

static uint64_t word(uint32_t page, uint64_t index)
{
    uint64_t x = ((uint64_t)page << 16) + index + 1;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ (x >> 31);
}

static uint64_t *frame_words(struct pair *pair, uint32_t frame)
{
    return (uint64_t *)(void *)(pair->front.memory + FRONT_DATA_OFFSET + frame * PAGE_BYTES);
}

static void check_frame(struct pair *pair, uint32_t frame, uint32_t page)
{
    uint64_t *words = frame_words(pair, frame);
    for (uint64_t i = 0; i < WORDS; i++) {
        if (words[i] != word(page, i)) {
            die("wrong data was read");
        }
        words[i] = 0;
    }
}

/* ---- setting up */

/* Plays the controller. */
static void grant_more(struct pair *pair, uint32_t count)
{
    for (uint32_t i = 0; i < count && pair->granted < SLAB_COUNT; i++) {
        uint32_t slab = pair->granted++;
        uint32_t culprit;
        struct slab_grant grant = {
            .node = "bench",
            .endpoint = {.node = "bench", .host_id = "here", .shm_path = pair->node_path},
            .fabric = {.slab_index = slab, .generation = 1, .slab_bytes = SLAB_BYTES}};
        CHECK(node_grant(pair->node, "bench", 1, false, &slab, 1, grant.fabric.key, &culprit) == 0);
        pair->grants[slab] = grant.fabric;
        CHECK(far_device_grant(pair->device, &grant, 1) == 0);
    }
    if (count > 0 && pair->granted == SLAB_COUNT) {
        CHECK(far_device_refuse(pair->device) == 0);
    }
}

static void take_events(struct pair *pair)
{
    struct far_event *event;
    while ((event = far_device_event(pair->device)) != NULL) {
        if (event->kind == FAR_EVENT_LOST || event->kind == FAR_EVENT_BROKEN) {
            die(event->text);
        }
        if (event->kind == FAR_EVENT_ASK) {
            grant_more(pair, event->count);
        }
        far_event_free(event);
    }
}

static void open_all(struct pair *pair)
{
    char error[NODE_ERROR_BYTES] = "";
    (void)strcpy(pair->folder, "/tmp/dilos-bench-XXXXXX");
    CHECK(mkdtemp(pair->folder) != NULL);
    (void)snprintf(pair->node_path, sizeof(pair->node_path), "%s/node", pair->folder);
    (void)snprintf(pair->device_path, sizeof(pair->device_path), "%s/far", pair->folder);
    const struct node_config node = {
        .arena = {.slab_bytes = SLAB_BYTES, .bytes = SLAB_COUNT * SLAB_BYTES},
        .shm_socket = pair->node_path};
    const struct far_device_config device = {.socket_path = pair->device_path,
                                             .slab_bytes = SLAB_BYTES,
                                             .far_bytes = SLAB_COUNT * SLAB_BYTES,
                                             .queue_count = FRONT_QUEUES,
                                             .poll_ns = POLL_NS,
                                             .choice = {.local_host_id = "here", .only = "shm"}};
    if (node_open(&node, &pair->node, error) != 0) {
        die(error);
    }
    if (far_device_open(&device, &pair->device) != 0 ||
        !front_open(&pair->front, pair->device_path, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 0)) {
        die("no far device");
    }
}

static void close_all(struct pair *pair)
{
    pair->peer = fabric_close(pair->peer);
    front_close(&pair->front);
    pair->device = far_device_close(pair->device);
    pair->node = node_close(pair->node);
    (void)unlink(pair->node_path);
    (void)rmdir(pair->folder);
}

/* ---- both kinds of reads */

static void submit(struct pair *pair, uint32_t type, uint32_t page, uint32_t frame)
{
    const struct front_segment segment = {.offset = FRONT_DATA_OFFSET + frame * PAGE_BYTES,
                                          .bytes = PAGE_BYTES};
    if (front_submit(&pair->front, 0, type, (uint64_t)page * SECTORS, &segment, 1, false, page) <
        0) {
        die("no room in the ring");
    }
    front_kick(&pair->front, 0);
}

static void take_answer(struct pair *pair)
{
    struct front_done done;
    if (!front_spin(&pair->front, 0, WAIT_MS, &done) || done.status != VIRTIO_BLK_S_OK) {
        die("a request failed");
    }
}

static void fill(struct pair *pair)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        struct front_done done;
        for (uint64_t i = 0; i < WORDS; i++) {
            frame_words(pair, 0)[i] = word(page, i);
        }
        submit(pair, VIRTIO_BLK_T_OUT, page, 0);
        while (!front_spin(&pair->front, 0, 0, &done)) {
            take_events(pair);
        }
        if (done.status != VIRTIO_BLK_S_OK) {
            die("a page can't be written");
        }
    }
}

static void read_alone(struct pair *pair, uint32_t slab, uint64_t offset, uint32_t frame)
{
    const struct iovec segment = {frame_words(pair, frame), PAGE_BYTES};
    struct fabric_done done;
    if (fabric_read(pair->peer, slab, offset, &segment, 1, 0) != 0) {
        die("post");
    }
    while (fabric_poll(pair->peer, &done, 1) == 0) {
    }
    if (done.status != 0) {
        die("a read by the bare peer failed");
    }
}

/* Which part of far memory each slab holds, the slab's first page says. */
static void place_slab(struct pair *pair, uint32_t slab)
{
    read_alone(pair, slab, 0, 0);
    for (uint32_t i = 0; i < SLAB_COUNT; i++) {
        if (frame_words(pair, 0)[0] == word(i * SLAB_PAGES, 0)) {
            pair->slabs[i] = slab;
            check_frame(pair, 0, i * SLAB_PAGES);
            return;
        }
    }
    die("a slab holds nothing of the far device");
}

static void peer_open(struct pair *pair)
{
    const struct fabric_endpoint endpoint = {
        .node = "bench", .host_id = "here", .shm_path = pair->node_path};
    const struct fabric_choice choice = {.local_host_id = "here", .only = "shm"};
    char reason[128];
    if (fabric_connect(&endpoint, &choice, WAIT_MS, &pair->peer, reason) != 0) {
        die(reason);
    }
    for (uint32_t i = 0; i < SLAB_COUNT; i++) {
        struct fabric_done done;
        uint32_t slab;
        if (fabric_attach(pair->peer, &pair->grants[i], 0, &slab) != 0) {
            die("no slab for the bare peer");
        }
        while (fabric_poll(pair->peer, &done, 1) == 0) {
        }
        if (done.status != 0) {
            die("no slab for the bare peer");
        }
        place_slab(pair, slab);
    }
}

/* The page of read `number`: far apart, and another place each time. */
static uint32_t page_of(uint32_t number)
{
    return (uint32_t)((uint64_t)number * 769 % PAGES);
}

static void time_block(struct pair *pair, bool alone, uint32_t block)
{
    uint64_t *samples = (alone ? pair->alone_ns : pair->far_ns) + (size_t)block * BLOCK_READS;
    for (uint32_t i = 0; i < BLOCK_READS; i++) {
        uint32_t number = (block * 2 + (alone ? 1 : 0)) * BLOCK_READS + i;
        uint32_t page = page_of(number);
        uint32_t frame = number % FRAMES;
        uint64_t begin_ns = sys_monotonic_ns();
        if (alone) {
            read_alone(pair, pair->slabs[page / SLAB_PAGES], page % SLAB_PAGES * PAGE_BYTES, frame);
        } else {
            submit(pair, VIRTIO_BLK_T_IN, page, frame);
            take_answer(pair);
        }
        samples[i] = sys_monotonic_ns() - begin_ns;
        check_frame(pair, frame, page);
    }
}

/* ---- the figures */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const uint64_t *values, size_t count)
{
    double *sorted = calloc(count, sizeof(*sorted));
    CHECK(sorted != NULL);
    for (size_t i = 0; i < count; i++) {
        sorted[i] = (double)values[i];
    }
    qsort(sorted, count, sizeof(*sorted), by_value);
    double middle = sorted[count / 2];
    free(sorted);
    return middle;
}

int main(int argc, char **argv)
{
    static struct pair pair;
    static double shares[BLOCKS_MAX];
    uint64_t reads = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
    if (reads == 0) {
        (void)fprintf(stderr, "usage: far-pair READS\n");
        return 2;
    }
    uint32_t blocks = (uint32_t)MIN(MAX(reads / BLOCK_READS, 1), BLOCKS_MAX);
    open_all(&pair);
    fill(&pair);
    peer_open(&pair);
    for (uint32_t i = 0; i < blocks; i++) {
        time_block(&pair, false, i);
        time_block(&pair, true, i);
        shares[i] = median(pair.far_ns + (size_t)i * BLOCK_READS, BLOCK_READS) -
                    median(pair.alone_ns + (size_t)i * BLOCK_READS, BLOCK_READS);
    }
    qsort(shares, blocks, sizeof(shares[0]), by_value);
    printf("{\"far\": %.1f, \"alone\": %.1f, \"share\": %.1f, \"blocks\": %u}\n",
           median(pair.far_ns, (size_t)blocks * BLOCK_READS),
           median(pair.alone_ns, (size_t)blocks * BLOCK_READS), shares[blocks / 2], blocks);
    close_all(&pair);
    return 0;
}
