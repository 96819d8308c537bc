/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/control_in.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/drivers/virtio_console.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/control.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "computenode/unikernel/kernel/wait.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define RECORD_BYTES_MAX  (CTL_HEADER_BYTES + CTL_BODY_BYTES_MAX)
#define INPUT_BYTES_MAX   CTL_BODY_BYTES_MAX /* so that any one record fits an empty buffer */
#define SIGNAL_NUMBER_MAX 64u
#define TUNED_BYTES_MAX   (CTL_TUNE_BYTES_MAX + 8)

enum channel_state {
    CHANNEL_NONE,   /* no console */
    CHANNEL_OPEN,   /* what comes is taken in */
    CHANNEL_CLOSED, /* the agent broke the rules: what it sends is ignored */
};

static struct {
    enum channel_state state;
    uint8_t *record; /* of RECORD_BYTES_MAX: what has come of the next record */
    uint32_t record_length;
    uint8_t *input; /* stdin: bytes from input_offset to input_length are to be taken */
    uint32_t input_offset;
    uint32_t input_length;
    bool input_end;
    uint64_t signals; /* bit number - 1 */
    bool full;        /* a record waits until the program has read more of its input */
    struct wait_queue readers;
    struct thread *thread; /* that takes in what comes */
} in;

int control_in_open(void)
{
    kfree(in.record);
    kfree(in.input);
    memset(&in, 0, sizeof(in));
    wait_init(&in.readers);
    in.record = kmalloc(RECORD_BYTES_MAX);
    in.input = kmalloc(INPUT_BYTES_MAX);
    if (in.record == NULL || in.input == NULL) {
        return -ENOMEM;
    }
    in.state = CHANNEL_OPEN;
    return 0;
}

static void channel_broken(const char *why)
{
    in.state = CHANNEL_CLOSED;
    in.input_end = true;
    wait_wake(&in.readers);
    wait_changed();
    klog(CTL_LEVEL_ERROR, "control channel closed: %s", why);
}

static void take_signal(const uint8_t *body, uint32_t length)
{
    uint32_t number = length == 4 ? le32_load(body) : 0;
    if (number == 0 || number > SIGNAL_NUMBER_MAX) {
        channel_broken("a signal that does not exist");
        return;
    }
    in.signals |= UINT64_C(1) << (number - 1);
    if (in.thread != NULL) { /* a thread that reads its input may be the one that took it in */
        thread_wake_urgent(in.thread);
    }
}

/* False: there is no room yet. */
static bool take_input(const uint8_t *body, uint32_t length)
{
    if (in.input_length - in.input_offset + length > INPUT_BYTES_MAX) {
        return false;
    }
    uint32_t left = in.input_length - in.input_offset;
    memmove(in.input, in.input + in.input_offset, left);
    memcpy(in.input + left, body, length);
    in.input_offset = 0;
    in.input_length = left + length;
    in.input_end = in.input_end || length == 0;
    wait_wake(&in.readers);
    wait_changed();
    return true;
}

static void answer_tune(int status, const char *text)
{
    uint8_t body[TUNED_BYTES_MAX];
    size_t length;
    struct ctl_tuned tuned = {status, text, (uint32_t)strnlen(text, CTL_TUNE_BYTES_MAX)};
    if (ctl_tuned_encode(&tuned, body, sizeof(body), &length) == 0) {
        control_send(CTL_TUNED, body, (uint32_t)length, NULL, 0);
    }
}

static void take_tune(const uint8_t *body, uint32_t length)
{
    static const char prefetch[] = "prefetch=";
    const uint32_t key_length = sizeof(prefetch) - 1;
    if (length == 0 || length > CTL_TUNE_BYTES_MAX) {
        channel_broken("a setting that is too long");
    } else if (length < key_length || memcmp(body, prefetch, key_length) != 0) {
        answer_tune(-ENOENT, "no such setting; there is: prefetch");
    } else if (pager_prefetcher_set((const char *)body + key_length, length - key_length) != 0) {
        answer_tune(-EINVAL, "no such prefetcher; there are: " PAGER_PREFETCHERS);
    } else {
        answer_tune(0, "");
    }
}

static void take_resize(const uint8_t *body, uint32_t length)
{
    uint8_t answer[CTL_RESIZED_BYTES];
    struct ctl_resized resized = {0};
    if (length != 8) {
        channel_broken("a resize without a size");
        return;
    }
    resized.status = pager_resize(le64_load(body), &resized.bytes);
    ctl_resized_encode(&resized, answer);
    control_send(CTL_RESIZED, answer, sizeof(answer), NULL, 0);
}

static void take_far(const uint8_t *body, uint32_t length)
{
    if (length != 8) {
        channel_broken("far memory without a size");
        return;
    }
    pager_far_set(le64_load(body));
    linux_memory_changed();
}

/* Handles a whole record. False: it has to wait. */
static bool take_record(const struct ctl_header *header)
{
    const uint8_t *body = in.record + CTL_HEADER_BYTES;
    switch (header->type) {
    case CTL_SIGNAL:
        take_signal(body, header->length);
        return true;
    case CTL_INPUT:
        return take_input(body, header->length);
    case CTL_TUNE:
        take_tune(body, header->length);
        return true;
    case CTL_RESIZE:
        take_resize(body, header->length);
        return true;
    case CTL_FAR:
        take_far(body, header->length);
        return true;
    default:
        channel_broken("a record that only the guest sends");
        return true;
    }
}

static bool read_up_to(uint32_t length)
{
    if (in.record_length < length) {
        in.record_length +=
            (uint32_t)console_read(in.record + in.record_length, length - in.record_length);
    }
    return in.record_length == length;
}

/*
 * Takes in what has come. Input that the program does not read holds back what follows it, signals
 * too: the channel is one stream.
 */
static void pump(void)
{
    in.full = false;
    while (in.state == CHANNEL_OPEN) {
        struct ctl_header header;
        if (in.record_length < CTL_HEADER_BYTES && !read_up_to(CTL_HEADER_BYTES)) {
            return;
        }
        if (ctl_header_decode(in.record, &header) != 0) {
            channel_broken("malformed record");
            return;
        }
        if (!read_up_to(CTL_HEADER_BYTES + header.length)) {
            return;
        }
        if (!take_record(&header)) {
            in.full = true;
            return;
        }
        in.record_length = 0;
    }
}

static void pump_if_readable(void)
{
    if (in.state == CHANNEL_OPEN && console_readable()) {
        pump();
    }
}

int64_t control_input(void *to, size_t capacity)
{
    if (in.state == CHANNEL_NONE) {
        return 0;
    }
    pump_if_readable();
    uint32_t length = (uint32_t)MIN((size_t)(in.input_length - in.input_offset), capacity);
    if (length == 0 && capacity != 0) {
        return in.input_end ? 0 : -EAGAIN;
    }
    memcpy(to, in.input + in.input_offset, length);
    in.input_offset += length;
    pump(); /* a record may have waited for room */
    return length;
}

int control_input_wait(void)
{
    if (in.state == CHANNEL_NONE || in.input_length != in.input_offset || in.input_end) {
        return 0;
    }
    return wait_on(&in.readers, THREAD_NEVER, THREAD_WAIT_OUTSIDE);
}

static void deliver_signals(void)
{
    while (in.signals != 0) {
        int number = __builtin_ctzll(in.signals) + 1;
        in.signals &= in.signals - 1;
        linux_signal(number);
    }
}

/* Takes in what comes, whatever the program does meanwhile. */
static void control_loop(void *argument)
{
    kernel_lock();
    for (;;) {
        pump_if_readable();
        deliver_signals();
        int r = thread_wait(THREAD_NEVER, THREAD_WAIT_OUTSIDE);
        CHECK(r == 0); /* nobody interrupts it */
    }
}

int control_start(void)
{
    if (in.state == CHANNEL_NONE) {
        return 0;
    }
    int r = thread_create(control_loop, NULL, NULL, &in.thread);
    if (r == 0) {
        thread_start(in.thread);
    }
    return r;
}

/* Two loads, without the lock: at worst the thread looks in vain, or a tick later. */
void control_interrupt(void)
{
    if (in.thread != NULL && in.state == CHANNEL_OPEN && !in.full && console_readable()) {
        thread_wake_urgent(in.thread);
    }
}
