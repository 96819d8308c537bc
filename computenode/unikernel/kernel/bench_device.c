/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/bench_device.h"

#include <errno.h>

#include "computenode/unikernel/far/frame.h"

#define READ_COUNT     2000u
#define SAMPLE_PASSES  10u /* over all of them, one at a time */
#define SAMPLE_COUNT   (SAMPLE_PASSES * READ_COUNT)
#define SAMPLES_FRAME  (PAGE_BYTES / sizeof(uint32_t))
#define SAMPLE_FRAMES  ((SAMPLE_COUNT + SAMPLES_FRAME - 1) / SAMPLES_FRAME)
#define DEPTH          16u /* requests in flight in the second part */
#define SPAN_BYTES_MAX (64 * MIB)
#define PAGE_SECTORS   (PAGE_BYTES / BLKQ_SECTOR_BYTES)
#define START_SECTOR   (GIB / BLKQ_SECTOR_BYTES)
#define POLL_FOR_NS    UINT64_C(10000000000)

static struct {
    struct blkq *q;
    phys_addr_t frame;
    phys_addr_t frames[DEPTH];
    uint32_t order[READ_COUNT];
    uint64_t sector[READ_COUNT];
    phys_addr_t samples[SAMPLE_FRAMES]; /* of SAMPLES_FRAME nanoseconds each */
    uint64_t pass_ns[SAMPLE_PASSES];    /* the reads of each pass together */
} bench;

NORETURN static void stop(int status, const char *what)
{
    char reason[96];
    (void)ksnprintf(reason, sizeof(reason), "device benchmark: %s: error %d", what, -status);
    machine_exit(CTL_FAR_LOST, -status, reason);
}

static uint64_t random_u64(void)
{
    uint64_t value;
    random_fill(&value, sizeof(value));
    return value;
}

static void wait_one(struct blkq_done *ret)
{
    uint64_t start_ns = clock_ns();
    while (blkq_poll(bench.q, ret, 1) == 0) {
        if (clock_ns() - start_ns > POLL_FOR_NS) {
            stop(-ETIMEDOUT, "no answer");
        }
        cpu_relax();
    }
}

/* One request, polled without rest. */
static void transfer(enum blkq_op op, uint64_t sector)
{
    struct blkq_segment segment = {bench.frame, PAGE_BYTES};
    struct blkq_done done = {.status = 0};
    int r = blkq_submit(bench.q, op, sector, &segment, 1, sector);
    if (r != 0) {
        stop(r, "a request was refused");
    }
    blkq_kick(bench.q);
    wait_one(&done);
    if (done.status != 0 || done.token != sector) {
        stop(done.status, "a request failed");
    }
}

static uint64_t word_of(uint64_t sector, uint32_t i)
{
    return (sector + 1) * UINT64_C(0x9e3779b97f4a7c15) + i;
}

static void write_one(uint64_t sector)
{
    uint64_t *page = phys_to_virt(bench.frame);
    for (uint32_t i = 0; i < PAGE_BYTES / 8; i++) {
        page[i] = word_of(sector, i);
    }
    transfer(BLKQ_WRITE, sector);
}

static uint64_t read_one(uint64_t sector)
{
    uint64_t *page = phys_to_virt(bench.frame);
    for (uint32_t i = 0; i < PAGE_BYTES / 8; i++) {
        page[i] = 0;
    }
    uint64_t start_ns = clock_ns();
    transfer(BLKQ_READ, sector);
    uint64_t ns = clock_ns() - start_ns;
    for (uint32_t i = 0; i < PAGE_BYTES / 8; i++) {
        if (page[i] != word_of(sector, i)) {
            stop(-EIO, "a page came back with other bytes");
        }
    }
    return ns;
}

static uint32_t *sample(uint32_t i)
{
    uint32_t *samples = phys_to_virt(bench.samples[i / SAMPLES_FRAME]);
    return &samples[i % SAMPLES_FRAME];
}

static void samples_sort(void)
{
    for (uint32_t gap = SAMPLE_COUNT / 2; gap != 0; gap /= 2) {
        for (uint32_t i = gap; i < SAMPLE_COUNT; i++) {
            uint32_t value = *sample(i);
            uint32_t j = i;
            for (; j >= gap && *sample(j - gap) > value; j -= gap) {
                *sample(j) = *sample(j - gap);
            }
            *sample(j) = value;
        }
    }
}

static void shuffle(void)
{
    for (uint32_t i = READ_COUNT - 1; i != 0; i--) {
        uint32_t j = (uint32_t)(random_u64() % (i + 1));
        uint32_t swapped = bench.order[i];
        bench.order[i] = bench.order[j];
        bench.order[j] = swapped;
    }
}

/* Gives the far memory back; the pages read as zeros. */
static void discard(uint64_t span_bytes)
{
    struct blkq_done done = {.status = 0};
    int r = blkq_discard(bench.q, START_SECTOR, span_bytes / BLKQ_SECTOR_BYTES, 0);
    if (r != 0) {
        stop(r, "the discard was refused");
    }
    blkq_kick(bench.q);
    wait_one(&done);
    if (done.status != 0) {
        stop(done.status, "the discard failed");
    }
}

/* Puts read `i` into the frame of `slot`. */
static void submit_read(uint32_t i, uint32_t slot)
{
    struct blkq_segment segment = {bench.frames[slot], PAGE_BYTES};
    uint64_t sector = bench.sector[bench.order[i]];
    *(uint64_t *)phys_to_virt(bench.frames[slot]) = 0;
    int r = blkq_submit(bench.q, BLKQ_READ, sector, &segment, 1, (uint64_t)i * DEPTH + slot);
    if (r != 0) {
        stop(r, "a request was refused");
    }
}

/* Checks one answer (its first word: all words were checked before); returns its slot. */
static uint32_t take_read(const struct blkq_done *done)
{
    uint32_t slot = (uint32_t)(done->token % DEPTH);
    uint64_t sector = bench.sector[bench.order[done->token / DEPTH]];
    if (done->status != 0) {
        stop(done->status, "a request failed");
    }
    if (*(const uint64_t *)phys_to_virt(bench.frames[slot]) != word_of(sector, 0)) {
        stop(-EIO, "a page came back with other bytes");
    }
    return slot;
}

/* All reads once more with DEPTH in flight. Returns how long they took together. */
static uint64_t read_at_depth(void)
{
    uint32_t submitted = 0;
    uint64_t start_ns = clock_ns();
    while (submitted < DEPTH) {
        submit_read(submitted, submitted);
        submitted++;
    }
    blkq_kick(bench.q);
    for (uint32_t taken = 0; taken < READ_COUNT; taken++) {
        struct blkq_done done;
        wait_one(&done);
        uint32_t slot = take_read(&done);
        if (submitted < READ_COUNT) {
            submit_read(submitted++, slot);
            blkq_kick(bench.q);
        }
    }
    return clock_ns() - start_ns;
}

static void frames_take(phys_addr_t *frames, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (frame_alloc_kernel(&frames[i]) != 0) {
            machine_exit(CTL_NO_MEMORY, 0, "device benchmark: no frames");
        }
    }
}

static void frames_give(const phys_addr_t *frames, uint32_t count)
{
    while (count > 0) {
        frame_free_kernel(frames[--count]);
    }
}

static void measure_depth(void)
{
    char line[128];
    frames_take(bench.frames, DEPTH);
    uint64_t ns = read_at_depth();
    frames_give(bench.frames, DEPTH);
    int length = ksnprintf(line, sizeof(line),
                           "{\"system\":\"device-depth-%u\",\"reads\":%u,\"mean\":%llu,"
                           "\"unit\":\"ns/page\"}\n",
                           DEPTH, READ_COUNT, (unsigned long long)(ns / READ_COUNT));
    control_output(1, line, (size_t)length);
}

static uint32_t percentile(uint32_t per_1000)
{
    return *sample(SAMPLE_COUNT / 1000 * per_1000);
}

/* The mean of the pass that is in the middle: a pause of the machine counts, but not in all. */
static uint32_t middle_mean(void)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < SAMPLE_PASSES; i++) {
        uint32_t shorter_count = 0;
        for (uint32_t j = 0; j < SAMPLE_PASSES; j++) {
            bool shorter = bench.pass_ns[j] < bench.pass_ns[i] ||
                           (bench.pass_ns[j] == bench.pass_ns[i] && j < i);
            shorter_count += shorter ? 1 : 0;
        }
        at = shorter_count == SAMPLE_PASSES / 2 ? i : at;
    }
    return (uint32_t)(bench.pass_ns[at] / READ_COUNT);
}

static void report(void)
{
    char line[192];
    int length = ksnprintf(line, sizeof(line),
                           "{\"system\":\"device\",\"reads\":%u,\"median\":%u,\"mean\":%u,"
                           "\"min\":%u,\"max\":%u,\"p99\":%u,\"p999\":%u,"
                           "\"unit\":\"ns/page\"}\n",
                           SAMPLE_COUNT, percentile(500), middle_mean(), *sample(0),
                           *sample(SAMPLE_COUNT - 1), percentile(990), percentile(999));
    control_output(1, line, (size_t)length);
}

static void measure_single(void)
{
    frames_take(bench.samples, SAMPLE_FRAMES);
    for (uint32_t i = 0; i < SAMPLE_COUNT; i++) {
        uint64_t ns = read_one(bench.sector[bench.order[i % READ_COUNT]]);
        *sample(i) = (uint32_t)MIN(ns, (uint64_t)UINT32_MAX);
        bench.pass_ns[i / READ_COUNT] += ns;
    }
    samples_sort();
    report();
    frames_give(bench.samples, SAMPLE_FRAMES);
}

void bench_device(struct blkq *q, uint64_t far_bytes)
{
    uint64_t span_bytes = ALIGN_DOWN(MIN(far_bytes / 2, SPAN_BYTES_MAX), PAGE_BYTES);
    bench.q = q;
    if (span_bytes == 0) {
        machine_exit(CTL_REFUSED, 1, "device benchmark: the instance may hold no far memory");
    }
    frames_take(&bench.frame, 1);
    for (uint32_t i = 0; i < READ_COUNT; i++) {
        uint64_t page = random_u64() % (span_bytes / PAGE_BYTES);
        bench.sector[i] = START_SECTOR + page * PAGE_SECTORS;
        bench.order[i] = i;
        write_one(bench.sector[i]);
    }
    shuffle();
    measure_single();
    measure_depth();
    discard(span_bytes);
    frames_give(&bench.frame, 1);
}
