/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vhost-user client of an agent's far-memory device, in place of a VMM: writes pages, reads them
 * back in another order, checks every word, and says how long a page took.
 *
 * usage: far-client SOCKET PAGES PASSES DEPTH
 *
 * One line of JSON: means of a page, and the median of DEPTH reads at a time; exit status 1 and a
 * line on stderr if a byte is wrong or a request fails.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "tests/unit/agent/front_end.h"

#define DEPTH_MAX 16u
/* Read and written by turns, as a guest's are: one alone would lie in this processor's cache. */
#define FRAMES     ((FRONT_MEMORY_BYTES - FRONT_DATA_OFFSET) / PAGE_BYTES)
#define FRAME_BITS 16u
#define WAIT_MS    30000u
#define SECTORS    (PAGE_BYTES / 512)
#define WORDS      (PAGE_BYTES / sizeof(uint64_t))

struct client {
    struct front_end front;
    uint32_t page_count;
    uint32_t depth;
    uint32_t pass;
    uint32_t frame;     /* the next to be used */
    uint64_t *batch_ns; /* of each batch of reads */
    uint32_t batch_count;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static uint64_t *buffer(struct client *client, uint32_t frame)
{
    return (uint64_t *)(void *)(client->front.memory + FRONT_DATA_OFFSET + frame * PAGE_BYTES);
}

static uint64_t word(const struct client *client, uint32_t page, uint32_t index)
{
    return mix(((uint64_t)client->pass << 48) + ((uint64_t)page << 16) + index + 1);
}

static void die(const char *what, uint32_t page)
{
    (void)fprintf(stderr, "far-client: %s, page %u\n", what, page);
    exit(1);
}

static void fill(struct client *client, uint32_t frame, uint32_t page)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        buffer(client, frame)[i] = word(client, page, i);
    }
}

static void check(struct client *client, uint32_t frame, uint32_t page)
{
    for (uint32_t i = 0; i < WORDS; i++) {
        if (buffer(client, frame)[i] != word(client, page, i)) {
            die("wrong data", page);
        }
        buffer(client, frame)[i] = 0;
    }
}

/* A page of the pass's order: a permutation, since the step is prime to every count below it. */
static uint32_t page_at(const struct client *client, bool write, uint32_t number)
{
    uint64_t step = write ? 1 : 1000003;
    return (uint32_t)((number * step + client->pass) % client->page_count);
}

/* The token is frame and page. */
static void submit(struct client *client, bool write, uint32_t frame, uint32_t page)
{
    const struct front_segment segment = {.offset = FRONT_DATA_OFFSET + frame * PAGE_BYTES,
                                          .bytes = PAGE_BYTES};
    if (write) {
        fill(client, frame, page);
    }
    if (front_submit(&client->front, 0, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, page * SECTORS,
                     &segment, 1, false, (uint64_t)page << FRAME_BITS | frame) < 0) {
        die("no room in the ring", page);
    }
}

/* The time between handing requests over and their answers, without filling and checking. */
static uint64_t run(struct client *client, bool write)
{
    uint32_t sent = 0;
    uint32_t done_count = 0;
    uint64_t spent_ns = 0;
    while (done_count < client->page_count) {
        uint32_t batch = MIN(client->depth, client->page_count - done_count);
        for (uint32_t i = 0; i < batch; i++) {
            submit(client, write, client->frame, page_at(client, write, sent++));
            client->frame = (client->frame + 1) % FRAMES;
        }
        struct front_done done[DEPTH_MAX];
        uint64_t begin_ns = sys_monotonic_ns();
        front_kick(&client->front, 0);
        for (uint32_t i = 0; i < batch; i++) {
            if (!front_spin(&client->front, 0, WAIT_MS, &done[i])) {
                die("no answer", sent);
            }
        }
        uint64_t batch_ns = sys_monotonic_ns() - begin_ns;
        spent_ns += batch_ns;
        if (!write) {
            client->batch_ns[client->batch_count++] = batch_ns;
        }
        for (uint32_t i = 0; i < batch; i++) {
            uint32_t page = (uint32_t)(done[i].token >> FRAME_BITS);
            if (done[i].status != VIRTIO_BLK_S_OK) {
                die("request failed", page);
            }
            if (!write) {
                check(client, (uint32_t)done[i].token % (1u << FRAME_BITS), page);
            }
        }
        done_count += batch;
    }
    return spent_ns;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static struct client client;
    uint64_t read_ns = 0;
    uint64_t write_ns = 0;
    if (argc != 5) {
        (void)fprintf(stderr, "usage: far-client SOCKET PAGES PASSES DEPTH\n");
        return 2;
    }
    client.page_count = (uint32_t)strtoul(argv[2], NULL, 10);
    uint32_t passes = (uint32_t)strtoul(argv[3], NULL, 10);
    client.depth = (uint32_t)strtoul(argv[4], NULL, 10);
    if (client.depth == 0 || client.depth > DEPTH_MAX || client.page_count == 0 ||
        client.page_count >= 1000003) {
        (void)fprintf(stderr, "far-client: DEPTH is 1 to %u, PAGES below 1000003\n", DEPTH_MAX);
        return 2;
    }
    if (!front_open(&client.front, argv[1], VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 0)) {
        (void)fprintf(stderr, "far-client: no device at %s\n", argv[1]);
        return 1;
    }
    client.batch_ns = calloc((size_t)passes * client.page_count + 1, sizeof(*client.batch_ns));
    CHECK(client.batch_ns != NULL);
    for (; client.pass < passes; client.pass++) {
        write_ns += run(&client, true);
        read_ns += run(&client, false);
    }
    front_close(&client.front);
    uint64_t pages = (uint64_t)passes * client.page_count;
    qsort(client.batch_ns, client.batch_count, sizeof(*client.batch_ns), by_value);
    printf("{\"pages\": %llu, \"write_ns\": %.1f, \"read_ns\": %.1f, \"read_p50\": %llu}\n",
           (unsigned long long)pages, (double)write_ns / (double)pages,
           (double)read_ns / (double)pages,
           (unsigned long long)client.batch_ns[client.batch_count / 2]);
    free(client.batch_ns);
    return 0;
}
