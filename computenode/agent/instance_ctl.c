/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel of an instance says over the control channel. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "computenode/agent/instance_internal.h"
#include "lib/base/bytes.h"

#define HELLO_BYTES 16u
/*
 * The kernel has said its last word: then QEMU leaves by itself, or is killed, as when it waits for
 * requests that a silent memory node does not answer.
 */
#define EXIT_MS_MAX 1500u

static const char *const level_names[] = {"error", "warning", "info"};

static void broken(struct instance *instance, const char *what)
{
    instance_verdict(instance, "vmm", 0, "the control channel broke its rules: %s", what);
    instance_end(instance);
}

static void on_hello(struct instance *instance, const uint8_t *body, uint32_t length)
{
    struct bytes_reader r;
    bytes_reader_init(&r, body, length);
    uint32_t version = bytes_get_u32(&r);
    (void)bytes_get_u32(&r);
    uint64_t stats = bytes_get_u64(&r);
    if (!r.ok || length != HELLO_BYTES || version != CTL_VERSION) {
        broken(instance, "HELLO of another version; use the dilos.elf of this build");
        return;
    }
    instance->stats_address = stats;
    if (instance->state == INSTANCE_BOOTING) {
        (void)event_del(instance->timer);
        instance_move(instance, INSTANCE_RUNNING);
        /* There is no standard input: the program reads its end. */
        (void)!ctl_channel_send(instance->ctl, CTL_INPUT, NULL, 0);
    }
}

static void on_log(struct instance *instance, const uint8_t *body, uint32_t length)
{
    if (length == 0 || body[0] >= ARRAY_LEN(level_names)) {
        broken(instance, "malformed LOG");
        return;
    }
    output_log_note(instance->log, "kernel %s: %.*s", level_names[body[0]], (int)length - 1,
                    (const char *)body + 1);
    instance->host->output(instance->host->context, instance);
}

static void on_output(struct instance *instance, const uint8_t *body, uint32_t length)
{
    if (length == 0 || (body[0] != 1 && body[0] != 2)) {
        broken(instance, "malformed OUTPUT");
        return;
    }
    output_log_write(instance->log, body[0] == 1 ? OUTPUT_STDOUT : OUTPUT_STDERR, body + 1,
                     length - 1);
    instance->host->output(instance->host->context, instance);
}

static void on_syscall(struct instance *instance, const uint8_t *body, uint32_t length)
{
    if (length < 4) {
        broken(instance, "malformed SYSCALL");
        return;
    }
    uint32_t number = le32_load(body);
    int name_length = (int)MIN(length - 4, INSTANCE_SYSCALL_BYTES - 16);
    if (instance->syscall_count < INSTANCE_SYSCALLS_MAX) {
        (void)snprintf(instance->syscalls[instance->syscall_count++], INSTANCE_SYSCALL_BYTES,
                       "%.*s (%u)", name_length, (const char *)body + 4, number);
    }
    output_log_note(instance->log, "kernel warning: system call %.*s (%u) is not there: ENOSYS",
                    name_length, (const char *)body + 4, number);
}

/* A kernel reason, with what only the agent knows. */
static void verdict(struct instance *instance, const struct ctl_exit *end)
{
    static const char *const kinds[] = {
        [CTL_EXITED] = "exited",       [CTL_SIGNALED] = "signaled", [CTL_FAR_LOST] = "far-lost",
        [CTL_NO_MEMORY] = "no-memory", [CTL_REFUSED] = "refused",   [CTL_PANIC] = "panic"};
    const char *kind = kinds[end->kind];
    const char *more = "";
    if (end->kind == CTL_FAR_LOST) {
        more = instance->lost;
    } else if (end->kind == CTL_NO_MEMORY) {
        more = instance->refusal;
    } else if (end->kind == CTL_SIGNALED && instance->stop_wanted &&
               (uint32_t)end->code == instance->stop_signal) {
        kind = "stopped";
        more = "on request";
    }
    instance_verdict(instance, kind, end->code, "%s%s%.*s", more,
                     more[0] != '\0' && end->reason_length > 0 ? ": " : "",
                     (int)MIN(end->reason_length, INSTANCE_REASON_BYTES - 256), end->reason);
}

static void on_exit(struct instance *instance, const uint8_t *body, uint32_t length)
{
    struct ctl_exit end;
    if (ctl_exit_decode(body, length, &end) < 0) {
        broken(instance, "malformed EXIT");
        return;
    }
    if (instance->exit_kind != NULL) {
        return; /* only once, or a guest could put off its end for ever */
    }
    verdict(instance, &end);
    if (instance->far != NULL) {
        far_device_ending(instance->far);
    }
    instance_timer(instance, EXIT_MS_MAX);
}

static void on_record(void *context, uint16_t type, const uint8_t *body, uint32_t length)
{
    struct instance *instance = context;
    switch (type) {
    case CTL_HELLO:
        on_hello(instance, body, length);
        break;
    case CTL_LOG:
        on_log(instance, body, length);
        break;
    case CTL_OUTPUT:
        on_output(instance, body, length);
        break;
    case CTL_EXIT:
        on_exit(instance, body, length);
        break;
    case CTL_SYSCALL:
        on_syscall(instance, body, length);
        break;
    case CTL_TUNED:
        if (!instance_on_tuned(instance, body, length)) {
            broken(instance, "malformed TUNED, or one that nobody asked for");
        }
        break;
    case CTL_RESIZED:
        if (!instance_on_resized(instance, body, length)) {
            broken(instance, "malformed RESIZED, or one that nobody asked for");
        }
        break;
    default:
        broken(instance, "a record that only the agent sends");
        break;
    }
}

static void on_closed(void *context, const char *reason)
{
    struct instance *instance = context;
    if (reason != NULL) {
        broken(instance, reason);
    }
}

int instance_ctl_open(struct instance *instance)
{
    char path[IMAGE_PATH_BYTES + 8];
    const struct ctl_callbacks callbacks = {
        .record = on_record, .closed = on_closed, .context = instance};
    (void)snprintf(path, sizeof(path), "%s/ctl", instance->folder);
    return ctl_channel_open(instance->host->base, path, &callbacks, &instance->ctl);
}
