/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/control.h"

#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/power.h"
#include "computenode/unikernel/arch/x86_64/serial.h"
#include "computenode/unikernel/drivers/virtio_console.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/control_in.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define OUTPUT_BYTES_MAX 16384u /* program output in one record */
#define SEND_WAIT_NS     UINT64_MAX / 2
#define LAST_WAIT_NS     UINT64_C(3000000000)
#define REASON_BYTES_MAX 8192u
#define STOP_WAIT_NS     UINT64_C(1000000000)

static struct {
    bool open; /* else there is no console: the serial port */
    bool pager_started;
    bool exiting;
} control;

void control_send(enum ctl_type type, const void *head, uint32_t head_length, const void *body,
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
    int r = control_in_open();
    if (r != 0) {
        return r;
    }
    le32_store(body, CTL_VERSION);
    le32_store(body + 4, 0);
    le64_store(body + 8, stats.v);
    control.open = true;
    control_send(CTL_HELLO, body, sizeof(body), NULL, 0);
    return 0;
}

void control_pager_started(void)
{
    control.pager_started = true;
}

void control_log(int level, const char *text, size_t length)
{
    if (!control.open) {
        serial_write("dilos: ", 7);
        serial_write(text, length);
        serial_write("\n", 1);
        return;
    }
    uint8_t head = (uint8_t)level;
    control_send(CTL_LOG, &head, 1, text, (uint32_t)MIN(length, (size_t)CTL_BODY_BYTES_MAX - 1));
}

void control_output(int descriptor, const void *bytes, size_t length)
{
    if (!control.open) {
        serial_write(bytes, length);
        return;
    }
    const uint8_t *from = bytes;
    uint8_t head = (uint8_t)descriptor;
    while (length != 0) {
        size_t part = MIN(length, (size_t)OUTPUT_BYTES_MAX);
        control_send(CTL_OUTPUT, &head, 1, from, (uint32_t)part);
        from += part;
        length -= part;
    }
}

void control_unknown_syscall(uint32_t number, const char *name)
{
    uint8_t head[4];
    if (!control.open) {
        klog(CTL_LEVEL_WARNING, "unknown syscall number=%u name=%s", number, name);
        return;
    }
    le32_store(head, number);
    control_send(CTL_SYSCALL, head, sizeof(head), name, (uint32_t)strlen(name));
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
    if (control.open && ctl_exit_encode(&exit, body, sizeof(body), &length) == 0) {
        control_send(CTL_EXIT, body, (uint32_t)length, NULL, 0);
        console_drain(LAST_WAIT_NS);
    }
    if (!control.open || kind == CTL_PANIC) {
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
