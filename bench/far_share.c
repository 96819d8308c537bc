/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the agent's share of a far read goes: the far device of an agent (computenode/agent) over
 * a memory node's shared memory, front end, device and node on one thread, so that nobody waits for
 * anybody. Each page that is read is checked, outside of the time.
 *
 * usage: far-share READS
 *
 * One line of JSON, means in ns, the clock's own cost taken off: "turn" one far_server_turn with a
 * read of 4 KiB in the queue, "idle" one without; "copy" the same read by a bare shm peer; and the
 * functions that a turn consists of, one by one: "take" (ring and descriptors), "parse" (the block
 * request), "find" (slab and page), "post" (both layers of the fabric, with the copy), "complete"
 * (its poll), "answer" (used ring, the driver's wish to be told).
 */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "computenode/agent/far_server.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "memnode/node.h"
#include "tests/unit/agent/front_end.h"

#define SLAB_BYTES  (1ull << 20)
#define SLAB_COUNT  8u
#define PAGES       (uint32_t)(SLAB_COUNT * SLAB_BYTES / PAGE_BYTES)
#define SLOTS       512u /* frames of the front end that are read into by turns */
#define SECTORS     (PAGE_BYTES / VIRTIO_BLK_SECTOR_BYTES)
#define WORDS       (PAGE_BYTES / sizeof(uint64_t))
#define WAIT_NS     10000000000ull
#define HANDSHAKE   10 /* ms between looks whether it is over */
#define CALIBRATION 100000u

enum stage { TAKE, PARSE, FIND, POST, COMPLETE, ANSWER, STAGES };

static const char *const stage_names[STAGES] = {"take", "parse",    "find",
                                                "post", "complete", "answer"};

struct share {
    char folder[32];
    char device_path[64];
    char node_path[64];
    struct node *node;
    struct far_server server;
    struct front_end front;
    pthread_t thread;
    int listen_fd;
    atomic_bool ready;
    struct fabric_grant grants[SLAB_COUNT];
    uint32_t granted;
    uint32_t read_count;
    uint64_t spent[STAGES];
    double clock_ns;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "far-share: %s\n", what);
    exit(1);
}

static uint64_t word(uint32_t page, uint64_t index)
{
    uint64_t x = ((uint64_t)page << 16) + index + 1;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ (x >> 31);
}

static uint64_t *slot_words(struct share *share, uint32_t slot)
{
    return (uint64_t *)(void *)(share->front.memory + FRONT_DATA_OFFSET + slot * PAGE_BYTES);
}

static void check_page(const uint64_t *words, uint32_t page)
{
    for (uint64_t i = 0; i < WORDS; i++) {
        if (words[i] != word(page, i)) {
            die("wrong data was read");
        }
    }
}

/* ---- setting up */

static void on_release(void *context, const struct slab_identity *slab)
{
    (void)context;
    (void)slab;
}

static void on_text(void *context, const char *text)
{
    (void)context;
    (void)fprintf(stderr, "far-share: %s\n", text);
}

/* The device's end of the front end's messages, until that has all that it needs. */
static void *handshake(void *context)
{
    struct share *share = context;
    int fd = accept(share->listen_fd, NULL, NULL);
    if (fd < 0) {
        die("accept");
    }
    vhost_session_start(&share->server.session, fd);
    while (!atomic_load(&share->ready)) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        if (poll(&item, 1, HANDSHAKE) > 0 && vhost_session_handle(&share->server.session) <= 0) {
            die(share->server.session.reason);
        }
    }
    return NULL;
}

static void device_open(struct share *share)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const struct slab_pool_config pool = {.slab_bytes = SLAB_BYTES,
                                          .far_bytes = SLAB_COUNT * SLAB_BYTES,
                                          .choice = {.local_host_id = "here", .only = "shm"},
                                          .release = on_release,
                                          .note = on_text};
    if (far_server_init(&share->server, &pool, FRONT_QUEUES, 0, on_text, share) != 0) {
        die("no memory for the device");
    }
    (void)strcpy(address.sun_path, share->device_path);
    share->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(share->listen_fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(share->listen_fd, 1) != 0 ||
        pthread_create(&share->thread, NULL, handshake, share) != 0) {
        die("no socket for the device");
    }
    if (!front_open(&share->front, share->device_path, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX,
                    0)) {
        die("no session with the device");
    }
    atomic_store(&share->ready, true);
    CHECK(pthread_join(share->thread, NULL) == 0);
}

static void node_start(struct share *share)
{
    char error[NODE_ERROR_BYTES] = "";
    const struct node_config config = {
        .arena = {.slab_bytes = SLAB_BYTES, .bytes = SLAB_COUNT * SLAB_BYTES},
        .shm_socket = share->node_path};
    if (node_open(&config, &share->node, error) != 0) {
        die(error);
    }
}

static void open_all(struct share *share)
{
    (void)strcpy(share->folder, "/tmp/dilos-bench-XXXXXX");
    CHECK(mkdtemp(share->folder) != NULL);
    (void)snprintf(share->node_path, sizeof(share->node_path), "%s/node", share->folder);
    (void)snprintf(share->device_path, sizeof(share->device_path), "%s/far", share->folder);
    node_start(share);
    device_open(share);
}

static void close_all(struct share *share)
{
    front_close(&share->front);
    far_server_fini(&share->server);
    (void)close(share->listen_fd);
    share->node = node_close(share->node);
    (void)unlink(share->device_path);
    (void)unlink(share->node_path);
    (void)rmdir(share->folder);
}

/* Plays the controller. */
static void answer_ask(struct share *share)
{
    uint32_t count = far_io_ask(share->server.io);
    uint32_t culprit;
    for (uint32_t i = 0; i < count && share->granted < SLAB_COUNT; i++) {
        uint32_t slab = share->granted++;
        struct slab_grant grant = {
            .node = "bench",
            .endpoint = {.node = "bench", .host_id = "here", .shm_path = share->node_path},
            .fabric = {.slab_index = slab, .generation = 1, .slab_bytes = SLAB_BYTES}};
        CHECK(node_grant(share->node, "bench", 1, false, &slab, 1, grant.fabric.key, &culprit) ==
              0);
        share->grants[slab] = grant.fabric;
        far_io_grant(share->server.io, &grant, 1);
    }
}

static void submit(struct share *share, uint32_t type, uint32_t page, uint32_t slot)
{
    const struct front_segment segment = {.offset = FRONT_DATA_OFFSET + slot * PAGE_BYTES,
                                          .bytes = PAGE_BYTES};
    if (front_submit(&share->front, 0, type, (uint64_t)page * SECTORS, &segment, 1, false, page) <
        0) {
        die("no room in the ring");
    }
}

static int turn(struct share *share)
{
    int happened = far_server_turn(&share->server);
    if (happened < 0) {
        die(share->server.session.reason);
    }
    return happened;
}

static void take_answer(struct share *share)
{
    struct front_done done;
    if (!front_spin(&share->front, 0, 1, &done) || done.status != VIRTIO_BLK_S_OK) {
        die("a request failed");
    }
}

static void fill(struct share *share)
{
    for (uint32_t page = 0; page < PAGES; page++) {
        uint64_t begin_ns = sys_monotonic_ns();
        for (uint64_t i = 0; i < WORDS; i++) {
            slot_words(share, 0)[i] = word(page, i);
        }
        submit(share, VIRTIO_BLK_T_OUT, page, 0);
        do {
            (void)turn(share);
            answer_ask(share);
            if (sys_monotonic_ns() - begin_ns > WAIT_NS) {
                die("a write does not end");
            }
        } while (far_io_pending(share->server.io) != 0);
        take_answer(share);
    }
}

/* ---- the times */

static double net_ns(const struct share *share, uint64_t spent_ns, uint32_t count)
{
    double mean = (double)spent_ns / count - share->clock_ns;
    return mean > 0 ? mean : 0;
}

/* What two looks at the clock cost that have nothing between them. */
static void calibrate(struct share *share)
{
    uint64_t spent_ns = 0;
    for (uint32_t i = 0; i < CALIBRATION; i++) {
        uint64_t begin_ns = sys_monotonic_ns();
        spent_ns += sys_monotonic_ns() - begin_ns;
    }
    share->clock_ns = (double)spent_ns / CALIBRATION;
}

/* The page of read `number`: far apart, and another place each time. */
static uint32_t page_of(uint32_t number)
{
    return (uint32_t)((uint64_t)number * 769 % PAGES);
}

static double time_turns(struct share *share)
{
    uint64_t spent_ns = 0;
    for (uint32_t i = 0; i < share->read_count; i++) {
        submit(share, VIRTIO_BLK_T_IN, page_of(i), i % SLOTS);
        uint64_t begin_ns = sys_monotonic_ns();
        int happened = turn(share);
        spent_ns += sys_monotonic_ns() - begin_ns;
        CHECK(happened == 2); /* one taken, one completed: it is over */
        take_answer(share);
        check_page(slot_words(share, i % SLOTS), page_of(i));
    }
    return net_ns(share, spent_ns, share->read_count);
}

static double time_idle(struct share *share)
{
    uint64_t spent_ns = 0;
    for (uint32_t i = 0; i < share->read_count; i++) {
        uint64_t begin_ns = sys_monotonic_ns();
        (void)turn(share);
        spent_ns += sys_monotonic_ns() - begin_ns;
    }
    return net_ns(share, spent_ns, share->read_count);
}

static void lap(struct share *share, enum stage stage, uint64_t *at_ns)
{
    uint64_t now_ns = sys_monotonic_ns();
    share->spent[stage] += now_ns - *at_ns;
    *at_ns = now_ns;
}

/* The same calls as a turn makes for a read, with a look at the clock between them. */
static void read_by_stages(struct share *share)
{
    static struct vring_chain chain;
    static struct far_request request;
    struct vhost_queue *queue = &share->server.session.queues[0];
    const struct slab_pool *pool = far_io_pool(share->server.io);
    struct iovec segments[FABRIC_SEGMENTS_MAX];
    struct fabric_done done;
    struct far_span span;
    uint32_t count;

    uint64_t at_ns = sys_monotonic_ns();
    int taken = vring_take(&queue->ring, &share->server.session.memory, &chain);
    lap(share, TAKE, &at_ns);
    int parsed = blk_request_parse(&chain, share->server.capacity_sectors, &request.blk);
    lap(share, PARSE, &at_ns);
    far_request_start(&request);
    bool found = far_request_next(&request, pool->map, &span) && span.slab != NULL &&
                 slab_page_is_set(span.slab, span.offset / PAGE_BYTES);
    lap(share, FIND, &at_ns);
    CHECK(taken == 1 && parsed == 0 && found);
    struct fabric_peer *fabric = slab_pool_fabric(pool, span.slab);
    at_ns = sys_monotonic_ns();
    (void)far_request_slice(&request, span.bytes, segments, FABRIC_SEGMENTS_MAX, &count);
    int posted = fabric_read(fabric, span.slab->fabric_slab, span.offset, segments, count, 0);
    far_request_advance(&request, span.bytes);
    lap(share, POST, &at_ns);
    uint32_t completed = fabric_poll(fabric, &done, 1);
    lap(share, COMPLETE, &at_ns);
    *request.blk.status = VIRTIO_BLK_S_OK;
    vring_give(&queue->ring, chain.head, PAGE_BYTES + 1);
    (void)vring_must_notify(&queue->ring);
    lap(share, ANSWER, &at_ns);
    CHECK(posted == 0 && completed == 1 && done.status == 0);
}

static void time_stages(struct share *share)
{
    for (uint32_t i = 0; i < share->read_count; i++) {
        submit(share, VIRTIO_BLK_T_IN, page_of(i), i % SLOTS);
        read_by_stages(share);
        take_answer(share);
        check_page(slot_words(share, i % SLOTS), page_of(i));
    }
}

static void bare_wait(struct fabric_peer *peer)
{
    struct fabric_done done;
    uint64_t begin_ns = sys_monotonic_ns();
    while (fabric_poll(peer, &done, 1) == 0) {
        if (sys_monotonic_ns() - begin_ns > WAIT_NS) {
            die("the bare peer does not answer");
        }
    }
    if (done.status != 0) {
        die("the bare peer's request failed");
    }
}

static struct fabric_peer *bare_open(struct share *share, uint32_t *ret_slabs)
{
    const struct fabric_endpoint endpoint = {
        .node = "bench", .host_id = "here", .shm_path = share->node_path};
    const struct fabric_choice choice = {.local_host_id = "here", .only = "shm"};
    struct fabric_peer *peer;
    char reason[128];
    if (fabric_connect(&endpoint, &choice, 1000, &peer, reason) != 0) {
        die(reason);
    }
    for (uint32_t i = 0; i < SLAB_COUNT; i++) {
        if (fabric_attach(peer, &share->grants[i], 0, &ret_slabs[i]) != 0) {
            die("no bare peer");
        }
        bare_wait(peer);
    }
    return peer;
}

/* The same pages out of the same slabs into the same frames. */
static double time_copy(struct share *share)
{
    uint32_t slabs[SLAB_COUNT];
    const struct slab_map *map = far_io_pool(share->server.io)->map;
    struct fabric_peer *peer = bare_open(share, slabs);
    uint64_t spent_ns = 0;
    for (uint32_t i = 0; i < share->read_count; i++) {
        const struct iovec segment = {slot_words(share, i % SLOTS), PAGE_BYTES};
        uint64_t at = page_of(i) * PAGE_BYTES;
        const struct slab *from = slab_map_get(map, at / SLAB_BYTES);
        struct fabric_done done;
        uint64_t begin_ns = sys_monotonic_ns();
        int posted = fabric_read(peer, slabs[from->slab_index], at % SLAB_BYTES, &segment, 1, 0);
        uint32_t completed = fabric_poll(peer, &done, 1);
        spent_ns += sys_monotonic_ns() - begin_ns;
        CHECK(posted == 0 && completed == 1 && done.status == 0);
        check_page(slot_words(share, i % SLOTS), page_of(i));
    }
    (void)fabric_close(peer);
    return net_ns(share, spent_ns, share->read_count);
}

int main(int argc, char **argv)
{
    static struct share share;
    share.read_count = argc == 2 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (share.read_count == 0) {
        (void)fprintf(stderr, "usage: far-share READS\n");
        return 2;
    }
    open_all(&share);
    fill(&share);
    calibrate(&share);
    (void)time_turns(&share);
    double turn_ns = time_turns(&share);
    double idle_ns = time_idle(&share);
    time_stages(&share);
    double copy_ns = time_copy(&share);
    printf("{\"turn\": %.1f, \"idle\": %.1f, \"copy\": %.1f", turn_ns, idle_ns, copy_ns);
    for (unsigned i = 0; i < STAGES; i++) {
        printf(", \"%s\": %.1f", stage_names[i], net_ns(&share, share.spent[i], share.read_count));
    }
    printf("}\n");
    close_all(&share);
    return 0;
}
