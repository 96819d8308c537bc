/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The far device: 2^48 bytes, thin, of which pages that were never written read as zeros. It
 * moves the bytes of a request when it is submitted or when it completes, at random, completes in
 * any order, and watches for requests that race with each other.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/unikernel/host/host.h"
#include "lib/base/check.h"

#define QUEUE_SIZE       24
#define QUEUES_MAX       (2 * CPU_COUNT_MAX)
#define BUCKETS          4096
#define LATE_MAX         64
#define GIVEN_MAX        32
#define SECTORS_PER_PAGE (PAGE_BYTES / BLKQ_SECTOR_BYTES)

enum { OP_DISCARD = 100 };

struct request {
    bool used;
    bool moved; /* the bytes were moved at submission */
    int op;
    int status;
    uint32_t delay;
    uint32_t segment_count;
    uint64_t page;
    uint64_t page_count;
    uint64_t token;
    struct blkq_segment segments[BLKQ_SEGMENTS_MAX];
};

struct blkq {
    struct request requests[QUEUE_SIZE];
    uint32_t used_count;
    uint64_t given[GIVEN_MAX]; /* tokens of the last completions */
    uint32_t given_count;
};

struct stored {
    struct stored *next;
    uint64_t page;
    uint8_t bytes[PAGE_BYTES];
};

static struct {
    struct blkq queues[QUEUES_MAX];
    struct stored *buckets[BUCKETS];
    uint64_t stored_count;
    uint64_t late[LATE_MAX]; /* HOST_BUG_LATE_DISCARD */
    uint32_t late_count;
    uint64_t repeat_count;
} device;

/* One device, and one thing at a time in it. */
static pthread_mutex_t device_lock = PTHREAD_MUTEX_INITIALIZER;

static void enter(void)
{
    (void)pthread_mutex_lock(&device_lock);
}

static void leave(void)
{
    (void)pthread_mutex_unlock(&device_lock);
}

struct blkq *host_queue(uint32_t cpu, bool demand)
{
    return &device.queues[2 * cpu + (demand ? 0 : 1)];
}

uint64_t host_far_pages(void)
{
    return device.stored_count;
}

void host_far_limit(uint64_t page_limit)
{
    host_config.far_page_limit = page_limit;
}

void host_fail(uint32_t read_per_1000, uint32_t write_per_1000)
{
    host_config.read_fail_per_1000 = read_per_1000;
    host_config.write_fail_per_1000 = write_per_1000;
}

static struct stored **find(uint64_t page)
{
    struct stored **at = &device.buckets[page * 0x9e3779b97f4a7c15ull >> 52];
    while (*at != NULL && (*at)->page != page) {
        at = &(*at)->next;
    }
    return at;
}

static void forget(uint64_t page)
{
    struct stored **at = find(page);
    struct stored *s = *at;
    if (s != NULL) {
        *at = s->next;
        free(s);
        device.stored_count--;
    }
}

void host_device_stop(void)
{
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (device.buckets[i] != NULL) {
            struct stored *s = device.buckets[i];
            device.buckets[i] = s->next;
            free(s);
        }
    }
    memset(&device, 0, sizeof(device));
}

void host_device_start(void)
{
    host_device_stop();
}

static int write_page(uint64_t page, const uint8_t *from)
{
    if ((host_config.bugs & HOST_BUG_DROP_WRITES) != 0 && host_random_below(16) == 0) {
        return 0;
    }
    struct stored **at = find(page);
    if (*at == NULL) {
        if (host_config.far_page_limit != 0 && device.stored_count >= host_config.far_page_limit) {
            return -ENOSPC;
        }
        *at = calloc(1, sizeof(struct stored));
        CHECK(*at != NULL);
        (*at)->page = page;
        device.stored_count++;
    }
    memcpy((*at)->bytes, from, PAGE_BYTES);
    return 0;
}

static void read_page(uint64_t page, uint8_t *to)
{
    struct stored *s = *find(page);
    if (s == NULL) {
        host_violation("a far page is read that was not written", page << PAGE_SHIFT);
        memset(to, 0, PAGE_BYTES);
        return;
    }
    memcpy(to, s->bytes, PAGE_BYTES);
}

/* HOST_BUG_LATE_DISCARD: it is done when 64 more have been asked for. */
static void discard_late(uint64_t page)
{
    if (device.late_count == LATE_MAX) {
        forget(device.late[0]);
        memmove(device.late, device.late + 1, sizeof(device.late) - sizeof(device.late[0]));
        device.late_count--;
    }
    device.late[device.late_count++] = page;
}

static void move_bytes(struct request *r)
{
    for (uint64_t i = 0; i < r->page_count && r->status == 0; i++) {
        if (r->op == OP_DISCARD && (host_config.bugs & HOST_BUG_LATE_DISCARD) != 0) {
            discard_late(r->page + i);
        } else if (r->op == OP_DISCARD) {
            forget(r->page + i);
        } else if (r->op == BLKQ_WRITE) {
            r->status = write_page(r->page + i, phys_to_virt(r->segments[i].pa));
        } else {
            read_page(r->page + i, phys_to_virt(r->segments[i].pa));
        }
    }
    r->moved = true;
}

/* Rule 1 of far/page.h. */
static void watch(uint64_t page, uint64_t page_count)
{
    for (uint32_t q = 0; q < QUEUES_MAX; q++) {
        for (uint32_t i = 0; i < QUEUE_SIZE; i++) {
            const struct request *r = &device.queues[q].requests[i];
            if (r->used && page < r->page + r->page_count && r->page < page + page_count) {
                host_violation("two requests in flight for a page", page << PAGE_SHIFT);
            }
        }
    }
}

static uint32_t fail_rate(int op)
{
    return op == BLKQ_READ    ? host_config.read_fail_per_1000
           : op == BLKQ_WRITE ? host_config.write_fail_per_1000
                              : host_config.discard_fail_per_1000;
}

static int accept(struct blkq *q, struct request *like)
{
    if (q->used_count == QUEUE_SIZE) {
        return -EAGAIN;
    }
    watch(like->page, like->page_count);
    struct request *r = q->requests;
    while (r->used) {
        r++;
    }
    *r = *like;
    r->used = true;
    r->delay = 1 + (uint32_t)host_random_below(host_config.delay_max);
    r->status = host_random_below(1000) < fail_rate(r->op) ? -EIO : 0;
    q->used_count++;
    if (r->op == BLKQ_READ) {
        for (uint32_t i = 0; i < r->segment_count; i++) {
            memset(phys_to_virt(r->segments[i].pa), 0xdb, r->segments[i].length);
        }
    }
    /* What a failed write leaves on the device is anybody's guess: here, sometimes all of it. */
    if (host_random_below(2) == 0 && (r->status == 0 || r->op == BLKQ_WRITE)) {
        int status = r->status;
        r->status = 0;
        move_bytes(r);
        r->status = status != 0 ? status : r->status;
    }
    return 0;
}

uint32_t blkq_room(const struct blkq *q)
{
    enter();
    uint32_t room = QUEUE_SIZE - q->used_count;
    leave();
    return room;
}

int blkq_submit(struct blkq *q, enum blkq_op op, uint64_t sector,
                const struct blkq_segment *segments, uint32_t segment_count, uint64_t token)
{
    CHECK(op != BLKQ_FLUSH);
    CHECK(segment_count > 0 && segment_count <= BLKQ_SEGMENTS_MAX);
    CHECK(sector % SECTORS_PER_PAGE == 0);
    struct request r = {.op = (int)op,
                        .segment_count = segment_count,
                        .token = token,
                        .page = sector / SECTORS_PER_PAGE,
                        .page_count = segment_count};
    for (uint32_t i = 0; i < segment_count; i++) {
        CHECK(segments[i].length == PAGE_BYTES);
        r.segments[i] = segments[i];
    }
    enter();
    int e = accept(q, &r);
    leave();
    return e;
}

int blkq_discard(struct blkq *q, uint64_t sector, uint64_t sector_count, uint64_t token)
{
    struct request r = {.op = OP_DISCARD,
                        .token = token,
                        .page = sector / SECTORS_PER_PAGE,
                        .page_count = sector_count / SECTORS_PER_PAGE};
    enter();
    int e = accept(q, &r);
    leave();
    return e;
}

void blkq_kick(struct blkq *q)
{
}

static void finish(struct request *r)
{
    if (!r->moved && r->status == 0) {
        move_bytes(r);
    }
    r->used = false;
}

/* One of the last completions once more, at any time, perhaps with another status. */
static void repeat(struct blkq *q, struct blkq_done *ret, uint32_t *count, uint32_t max)
{
    uint32_t known = MIN(q->given_count, (uint32_t)GIVEN_MAX);
    if (host_config.repeat_per_1000 != 0 && known != 0 && *count < max &&
        host_random_below(1000) < host_config.repeat_per_1000) {
        uint64_t token = q->given[host_random_below(known)];
        ret[(*count)++] = (struct blkq_done){token, host_random_below(2) == 0 ? 0 : -EIO};
        device.repeat_count++;
    }
}

uint64_t host_repeats(void)
{
    return device.repeat_count;
}

uint32_t blkq_poll(struct blkq *q, struct blkq_done *ret, uint32_t max)
{
    uint32_t count = 0;
    uint32_t first = (uint32_t)host_random_below(QUEUE_SIZE);
    enter();
    for (uint32_t i = 0; i < QUEUE_SIZE && count < max; i++) {
        struct request *r = &q->requests[(first + i) % QUEUE_SIZE];
        if (r->used && --r->delay == 0) {
            finish(r);
            q->used_count--;
            q->given[q->given_count++ % GIVEN_MAX] = r->token;
            ret[count++] = (struct blkq_done){r->token, r->status};
        }
        repeat(q, ret, &count, max);
    }
    leave();
    return count;
}

uint64_t blkq_capacity(const struct blkq *q)
{
    return (1ull << 48) / BLKQ_SECTOR_BYTES;
}

/* Time passes in blkq_poll(). A wait with nothing in flight would be for ever. */
void blkq_wait(struct blkq *q)
{
    enter();
    CHECK(q->used_count > 0);
    leave();
    cpu_relax();
}
