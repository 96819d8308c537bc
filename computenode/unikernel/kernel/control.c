/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/control.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/power.h"
#include "computenode/unikernel/arch/x86_64/serial.h"
#include "computenode/unikernel/drivers/virtio_console.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "computenode/unikernel/kernel/wait.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define RECORD_BYTES_MAX  (CTL_HEADER_BYTES + CTL_BODY_BYTES_MAX)
#define INPUT_BYTES_MAX   CTL_BODY_BYTES_MAX /* so that any one record fits an empty buffer */
#define OUTPUT_BYTES_MAX  16384u             /* program output in one record */
#define SEND_WAIT_NS      UINT64_MAX / 2
#define LAST_WAIT_NS      UINT64_C(3000000000)
#define SIGNAL_NUMBER_MAX 64u
#define REASON_BYTES_MAX  8192u
#define STOP_WAIT_NS      UINT64_C(1000000000)
#define TUNED_BYTES_MAX   (CTL_TUNE_BYTES_MAX + 8)

enum channel_state {
    CHANNEL_NONE,   /* no console: the serial port */
    CHANNEL_OPEN,   /* records both ways */
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
    bool pager_started;
    bool exiting;
} control;

static void send(enum ctl_type type, const void *head, uint32_t head_length, const void *body,
                 uint32_t body_length)
{
    uint8_t header[CTL_HEADER_BYTES];
    uint64_t wait_ns = control.exiting ? LAST_WAIT_NS : SEND_WAIT_NS;
    struct ctl_header h = {.type = (uint16_t)type, .length = head_length + body_length};
    ctl_header_encode(&h, header);
    bool ok = console_write(header, sizeof(header), wait_ns) &&
              console_write(head, head_length, wait_ns) &&
              console_write(body, body_length, wait_ns);
    if (ok) {
        console_flush();
    }
}

int control_open(phys_addr_t stats)
{
    uint8_t body[16];
    wait_init(&control.readers);
    control.record = kmalloc(RECORD_BYTES_MAX);
    control.input = kmalloc(INPUT_BYTES_MAX);
    if (control.record == NULL || control.input == NULL) {
        return -ENOMEM;
    }
    le32_store(body, CTL_VERSION);
    le32_store(body + 4, 0);
    le64_store(body + 8, stats.v);
    control.state = CHANNEL_OPEN;
    send(CTL_HELLO, body, sizeof(body), NULL, 0);
    return 0;
}

void control_pager_started(void)
{
    control.pager_started = true;
}

void control_log(int level, const char *text, size_t length)
{
    if (control.state == CHANNEL_NONE) {
        serial_write("dilos: ", 7);
        serial_write(text, length);
        serial_write("\n", 1);
        return;
    }
    uint8_t head = (uint8_t)level;
    send(CTL_LOG, &head, 1, text, (uint32_t)MIN(length, (size_t)CTL_BODY_BYTES_MAX - 1));
}

void control_output(int descriptor, const void *bytes, size_t length)
{
    if (control.state == CHANNEL_NONE) {
        serial_write(bytes, length);
        return;
    }
    const uint8_t *from = bytes;
    uint8_t head = (uint8_t)descriptor;
    while (length != 0) {
        size_t part = MIN(length, (size_t)OUTPUT_BYTES_MAX);
        send(CTL_OUTPUT, &head, 1, from, (uint32_t)part);
        from += part;
        length -= part;
    }
}

void control_unknown_syscall(uint32_t number, const char *name)
{
    uint8_t head[4];
    if (control.state == CHANNEL_NONE) {
        klog(CTL_LEVEL_WARNING, "unknown syscall number=%u name=%s", number, name);
        return;
    }
    le32_store(head, number);
    send(CTL_SYSCALL, head, sizeof(head), name, (uint32_t)strlen(name));
}

static void channel_broken(const char *why)
{
    control.state = CHANNEL_CLOSED;
    control.input_end = true;
    wait_wake(&control.readers);
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
    control.signals |= UINT64_C(1) << (number - 1);
    if (control.thread != NULL) { /* a thread that reads its input may be the one that took it in */
        thread_wake_urgent(control.thread);
    }
}

/* False: there is no room yet. */
static bool take_input(const uint8_t *body, uint32_t length)
{
    if (control.input_length - control.input_offset + length > INPUT_BYTES_MAX) {
        return false;
    }
    uint32_t left = control.input_length - control.input_offset;
    memmove(control.input, control.input + control.input_offset, left);
    memcpy(control.input + left, body, length);
    control.input_offset = 0;
    control.input_length = left + length;
    control.input_end = control.input_end || length == 0;
    wait_wake(&control.readers);
    wait_changed();
    return true;
}

static void answer_tune(int status, const char *text)
{
    uint8_t body[TUNED_BYTES_MAX];
    size_t length;
    struct ctl_tuned tuned = {status, text, (uint32_t)strnlen(text, CTL_TUNE_BYTES_MAX)};
    if (ctl_tuned_encode(&tuned, body, sizeof(body), &length) == 0) {
        send(CTL_TUNED, body, (uint32_t)length, NULL, 0);
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
    send(CTL_RESIZED, answer, sizeof(answer), NULL, 0);
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
    const uint8_t *body = control.record + CTL_HEADER_BYTES;
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
    if (control.record_length < length) {
        control.record_length += (uint32_t)console_read(control.record + control.record_length,
                                                        length - control.record_length);
    }
    return control.record_length == length;
}

/*
 * Takes in what has come. Input that the program does not read holds back what follows it, signals
 * too: the channel is one stream.
 */
static void pump(void)
{
    control.full = false;
    while (control.state == CHANNEL_OPEN) {
        struct ctl_header header;
        if (control.record_length < CTL_HEADER_BYTES && !read_up_to(CTL_HEADER_BYTES)) {
            return;
        }
        if (ctl_header_decode(control.record, &header) != 0) {
            channel_broken("malformed record");
            return;
        }
        if (!read_up_to(CTL_HEADER_BYTES + header.length)) {
            return;
        }
        if (!take_record(&header)) {
            control.full = true;
            return;
        }
        control.record_length = 0;
    }
}

static void pump_if_readable(void)
{
    if (control.state == CHANNEL_OPEN && console_readable()) {
        pump();
    }
}

int64_t control_input(void *to, size_t capacity)
{
    if (control.state == CHANNEL_NONE) {
        return 0;
    }
    pump_if_readable();
    uint32_t length =
        (uint32_t)MIN((size_t)(control.input_length - control.input_offset), capacity);
    if (length == 0 && capacity != 0) {
        return control.input_end ? 0 : -EAGAIN;
    }
    memcpy(to, control.input + control.input_offset, length);
    control.input_offset += length;
    pump(); /* a record may have waited for room */
    return length;
}

int control_input_wait(void)
{
    if (control.state == CHANNEL_NONE || control.input_length != control.input_offset ||
        control.input_end) {
        return 0;
    }
    return wait_on(&control.readers, THREAD_NEVER, THREAD_WAIT_OUTSIDE);
}

static void deliver_signals(void)
{
    while (control.signals != 0) {
        int number = __builtin_ctzll(control.signals) + 1;
        control.signals &= control.signals - 1;
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
    if (control.state == CHANNEL_NONE) {
        return 0;
    }
    int r = thread_create(control_loop, NULL, NULL, &control.thread);
    if (r == 0) {
        thread_start(control.thread);
    }
    return r;
}

/* Two loads, without the lock: at worst the thread looks in vain, or a tick later. */
void control_interrupt(void)
{
    if (control.thread != NULL && control.state == CHANNEL_OPEN && !control.full &&
        console_readable()) {
        thread_wake_urgent(control.thread);
    }
}

static const char *kind_name(enum ctl_exit_kind kind)
{
    static const char *const names[] = {
        [CTL_EXITED] = "exited",       [CTL_SIGNALED] = "signaled", [CTL_FAR_LOST] = "far-lost",
        [CTL_NO_MEMORY] = "no-memory", [CTL_REFUSED] = "refused",   [CTL_PANIC] = "panic",
    };
    return names[kind];
}

static void report(enum ctl_exit_kind kind, int code, const char *reason)
{
    static uint8_t body[REASON_BYTES_MAX + 8];
    size_t length;
    struct ctl_exit exit = {.kind = (uint8_t)kind,
                            .code = code,
                            .reason = reason,
                            .reason_length = (uint32_t)strnlen(reason, REASON_BYTES_MAX)};
    if (control.state != CHANNEL_NONE && ctl_exit_encode(&exit, body, sizeof(body), &length) == 0) {
        send(CTL_EXIT, body, (uint32_t)length, NULL, 0);
        console_drain(LAST_WAIT_NS);
    }
    if (control.state == CHANNEL_NONE || kind == CTL_PANIC) {
        static char line[REASON_BYTES_MAX + 64];
        int line_length = ksnprintf(line, sizeof(line), "dilos: exit kind=%s code=%d reason=%s\n",
                                    kind_name(kind), code, reason);
        serial_write(line, MIN((size_t)line_length, sizeof(line) - 1));
    }
}

/*
 * The others stop first: nobody writes any more when the pager completes what is under way. Who
 * comes second waits for the end; who comes a second time has a bug, and goes at once.
 */
static void stop_others(enum ctl_exit_kind kind)
{
    static _Atomic uint32_t leaver; /* processor + 1 */
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong(&leaver, &nobody, cpu_index() + 1)) {
        if (nobody == cpu_index() + 1) {
            power_off((uint8_t)kind);
        }
        thread_stop_here();
    }
    if (kind == CTL_PANIC) {
        lapic_stop_others();
    } else if (!thread_stop_others(STOP_WAIT_NS)) {
        lapic_stop_others();
        control.pager_started = false;
        klog(CTL_LEVEL_ERROR, "a processor did not stop in time: pages on their way are lost");
    }
}

void machine_exit(enum ctl_exit_kind kind, int code, const char *reason)
{
    stop_others(kind);
    control.exiting = true;
    if (control.pager_started && kind != CTL_PANIC) {
        pager_quiesce();
    }
    report(kind, code, reason != NULL ? reason : "");
    power_off((uint8_t)kind);
}
