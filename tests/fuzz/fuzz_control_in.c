/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's end of the control channel, with stand-ins for the console, threads and the pager.
 * The input is a script: records and bytes that the agent sends, when they arrive, and what the
 * program reads meanwhile. Afterwards everything that came before the first broken rule has had its
 * effect, once, in order, and nothing after it has.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/unikernel/drivers/virtio_console.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/control.h"
#include "computenode/unikernel/kernel/control_in.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/wait.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "tests/fuzz/input.h"

#define STREAM_BYTES_MAX (512u * 1024)
#define STEPS_MAX        400u
#define SIGNAL_MAX       64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What has happened, or is to happen. The order of changes is in `changes`, a hash. */
struct effects {
    uint8_t input[STREAM_BYTES_MAX];
    size_t input_bytes;
    bool end;
    uint64_t signals;
    uint64_t changes;
    uint32_t answers;
    bool broken;
};

static struct {
    uint8_t stream[STREAM_BYTES_MAX]; /* all that the agent sends */
    size_t sent, arrived, taken;
    struct effects got, wanted;
    void (*loop)(void *argument);
    bool woken;
    jmp_buf waits;
} f;

static void change(struct effects *e, uint32_t kind, uint64_t value)
{
    e->changes = (e->changes ^ kind ^ value << 8) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* A name as a number: its length and two of its letters. */
static uint64_t name_of(const void *name, size_t length)
{
    const uint8_t *bytes = name;
    return length | (length > 0 ? (uint64_t)bytes[0] << 16 | (uint64_t)bytes[length - 1] << 24 : 0);
}

static bool is_prefetcher(size_t length)
{
    return length % 2 == 0;
}

/* ---- stand-ins ---- */

size_t console_read(void *to, size_t capacity)
{
    size_t bytes = MIN(capacity, f.arrived - f.taken);
    memcpy(to, f.stream + f.taken, bytes);
    f.taken += bytes;
    return bytes;
}

bool console_readable(void)
{
    return f.arrived > f.taken;
}

void control_send(enum ctl_type type, const void *head, uint32_t head_length, const void *body,
                  uint32_t body_length)
{
    struct ctl_tuned tuned;
    struct ctl_resized resized;
    CHECK(body_length == 0);
    if (type == CTL_TUNED) {
        CHECK(ctl_tuned_decode(head, head_length, &tuned) == 0);
        CHECK(tuned.status == 0 || tuned.text_length > 0);
    } else {
        CHECK(type == CTL_RESIZED);
        CHECK(ctl_resized_decode(head, head_length, &resized) == 0);
    }
    f.got.answers++;
}

int pager_prefetcher_set(const char *name, uint32_t length)
{
    change(&f.got, CTL_TUNE, name_of(name, length));
    return is_prefetcher(length) ? 0 : -ENOENT;
}

int pager_resize(uint64_t local_bytes, uint64_t *ret_bytes)
{
    change(&f.got, CTL_RESIZE, local_bytes);
    *ret_bytes = local_bytes / 2;
    return local_bytes % 3 == 0 ? -ERANGE : 0;
}

void pager_far_set(uint64_t far_bytes)
{
    change(&f.got, CTL_FAR, far_bytes);
}

void linux_memory_changed(void)
{
}

void linux_signal(int signal)
{
    CHECK(signal >= 1 && signal <= (int)SIGNAL_MAX);
    f.got.signals |= UINT64_C(1) << (signal - 1);
}

void klog(int level, const char *format, ...)
{
    f.got.broken = f.got.broken || level == CTL_LEVEL_ERROR;
}

void *kmalloc(size_t bytes)
{
    return malloc(bytes);
}

void kfree(void *p)
{
    free(p);
}

void kernel_lock(void)
{
}

void wait_init(struct wait_queue *q)
{
    list_init(&q->waiters);
}

int wait_on(struct wait_queue *q, uint64_t deadline_ns, enum thread_wait kind)
{
    return 0;
}

void wait_wake(struct wait_queue *q)
{
}

void wait_changed(void)
{
}

int thread_create(void (*start)(void *argument), void *argument, void *owner, struct thread **ret)
{
    static struct thread thread;
    f.loop = start;
    *ret = &thread;
    return 0;
}

void thread_start(struct thread *t)
{
    f.woken = true;
}

void thread_wake_urgent(struct thread *t)
{
    f.woken = true;
}

/* The thread stops here; it goes on as from its beginning, where it has nothing that it keeps. */
int thread_wait(uint64_t deadline_ns, enum thread_wait kind)
{
    longjmp(f.waits, 1);
}

/* ---- what is sent, and when it arrives ---- */

static void send_bytes(const uint8_t *bytes, size_t length)
{
    size_t part = MIN(length, STREAM_BYTES_MAX - f.sent);
    memcpy(f.stream + f.sent, bytes, part);
    f.sent += part;
}

/* Up to a byte more than a record may have. */
static void send_record(struct input *script, bool large)
{
    static uint8_t body[CTL_BODY_BYTES_MAX + 1];
    uint8_t header[CTL_HEADER_BYTES];
    struct ctl_header h = {.type = (uint16_t)(CTL_SIGNAL + input_u8(script) % 6)};
    uint32_t wanted = input_u8(script);
    if (large) {
        wanted = CTL_BODY_BYTES_MAX + 1 - MIN(wanted * wanted, CTL_BODY_BYTES_MAX);
    }
    const uint8_t *from;
    size_t have = input_take(script, MIN(wanted, 64u), &from);
    memset(body, 0, wanted);
    if (have > 0) {
        memcpy(body, from, have);
    }
    h.length = wanted;
    ctl_header_encode(&h, header);
    send_bytes(header, sizeof(header));
    send_bytes(body, wanted);
}

static void run_thread(void)
{
    if (setjmp(f.waits) == 0) {
        f.woken = false;
        f.loop(NULL);
    }
}

static void arrive(size_t bytes)
{
    f.arrived += MIN(bytes, f.sent - f.arrived);
    control_interrupt();
}

/* 0: end of file, or nothing there. */
static int64_t program_reads(size_t capacity)
{
    capacity = MIN(capacity, STREAM_BYTES_MAX - f.got.input_bytes);
    int64_t got = control_input(f.got.input + f.got.input_bytes, capacity);
    CHECK(got == -EAGAIN || (got >= 0 && (uint64_t)got <= capacity));
    f.got.end = f.got.end || (got == 0 && capacity > 0);
    f.got.input_bytes += got > 0 ? (size_t)got : 0;
    return MAX(got, 0);
}

static void step(struct input *script)
{
    const uint8_t *bytes;
    size_t length;
    switch (input_u8(script) % 8) {
    case 0:
        length = input_take(script, input_u8(script), &bytes);
        send_bytes(bytes, length);
        break;
    case 1:
    case 2:
        send_record(script, false);
        break;
    case 3:
        send_record(script, true);
        break;
    case 4:
        arrive(input_u8(script));
        break;
    case 5:
        arrive((size_t)input_u16(script) * 4);
        break;
    case 6:
        (void)program_reads(input_u16(script));
        break;
    default:
        CHECK(control_input_wait() == 0);
        run_thread();
        break;
    }
}

/* ---- what it must lead to ---- */

/* false: the rule is broken that ends the channel. */
static bool expect_record(const struct ctl_header *header, const uint8_t *body)
{
    static const char key[] = "prefetch=";
    const size_t key_length = sizeof(key) - 1;
    struct effects *e = &f.wanted;
    const uint32_t length = header->length;
    switch (header->type) {
    case CTL_SIGNAL:
        if (length != 4 || le32_load(body) == 0 || le32_load(body) > SIGNAL_MAX) {
            return false;
        }
        e->signals |= UINT64_C(1) << (le32_load(body) - 1);
        return true;
    case CTL_INPUT:
        memcpy(e->input + e->input_bytes, body, length);
        e->input_bytes += length;
        e->end = e->end || length == 0;
        return true;
    case CTL_TUNE:
        if (length == 0 || length > CTL_TUNE_BYTES_MAX) {
            return false;
        }
        e->answers++;
        if (length >= key_length && memcmp(body, key, key_length) == 0) {
            change(e, CTL_TUNE, name_of(body + key_length, length - key_length));
        }
        return true;
    case CTL_RESIZE:
    case CTL_FAR:
        if (length != 8) {
            return false;
        }
        e->answers += header->type == CTL_RESIZE;
        change(e, header->type, le64_load(body));
        return true;
    default:
        return false;
    }
}

static void expect_all(void)
{
    size_t at = 0;
    struct ctl_header header;
    while (!f.wanted.broken && f.sent - at >= CTL_HEADER_BYTES) {
        const uint8_t *record = f.stream + at;
        if (ctl_header_decode(record, &header) != 0) {
            f.wanted.broken = true;
        } else if (f.sent - at - CTL_HEADER_BYTES < header.length) {
            return;
        } else {
            at += CTL_HEADER_BYTES + header.length;
            f.wanted.broken = !expect_record(&header, record + CTL_HEADER_BYTES);
        }
    }
    f.wanted.end = f.wanted.end || f.wanted.broken;
}

static void compare(void)
{
    CHECK(f.got.broken == f.wanted.broken);
    CHECK(f.got.input_bytes == f.wanted.input_bytes);
    CHECK(memcmp(f.got.input, f.wanted.input, f.got.input_bytes) == 0);
    CHECK(f.got.end == f.wanted.end);
    CHECK(f.got.signals == f.wanted.signals);
    CHECK(f.got.changes == f.wanted.changes);
    CHECK(f.got.answers == f.wanted.answers);
}

static void reset(void)
{
    f.sent = f.arrived = f.taken = 0;
    struct effects *both[] = {&f.got, &f.wanted};
    for (int i = 0; i < 2; i++) {
        both[i]->input_bytes = 0;
        both[i]->end = both[i]->broken = false;
        both[i]->signals = both[i]->changes = 0;
        both[i]->answers = 0;
    }
    f.woken = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input script = {data, size};
    reset();
    CHECK(control_in_open() == 0);
    CHECK(control_start() == 0);
    for (uint32_t i = 0; i < STEPS_MAX && script.size > 0; i++) {
        step(&script);
        if (f.woken) {
            run_thread();
        }
    }
    arrive(STREAM_BYTES_MAX);
    do {
        run_thread();
    } while (program_reads(STREAM_BYTES_MAX) > 0);
    run_thread();
    expect_all();
    compare();
    return 0;
}
