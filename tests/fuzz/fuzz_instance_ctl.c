/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's end of the control channel against a hostile kernel: a stream of records, cut
 * anywhere, through ctl_channel.c into instance_ctl.c. instance.c is replaced by what counts.
 * Promises: the first verdict stays and names a known kind; texts fit; once the guest has told its
 * end, it can't put off the moment at which QEMU is killed.
 *
 * Input: pieces, each a length (u8) and so many bytes; 0xff: records are read in between.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "computenode/agent/instance_internal.h"
#include "lib/base/check.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct event_base *base;
static struct instance_host host;
static struct instance *instance;
static unsigned timers, ends;

/* ---- in place of computenode/agent/instance.c ---- */

void instance_move(struct instance *which, enum instance_state to)
{
    CHECK(which->state == INSTANCE_BOOTING && to == INSTANCE_RUNNING);
    which->state = to;
}

void instance_verdict(struct instance *which, const char *kind, int32_t code, const char *format,
                      ...)
{
    va_list arguments;
    if (which->exit_kind != NULL) {
        return;
    }
    va_start(arguments, format);
    int length = vsnprintf(which->reason, sizeof(which->reason), format, arguments);
    va_end(arguments);
    CHECK(length >= 0 && (size_t)length < sizeof(which->reason));
    CHECK(kind[0] != '\0');
    which->exit_kind = kind;
    which->exit_code = code;
}

void far_device_ending(struct far_device *device)
{
    (void)device;
}

void instance_timer(struct instance *which, uint32_t after_ms)
{
    timers++;
}

void instance_end(struct instance *which)
{
    ends++;
}

/* ---- the rest ---- */

static void on_output(void *context, struct instance *which)
{
}

static void remove_folder(void)
{
    instance->ctl = ctl_channel_close(instance->ctl);
    instance->log = output_log_close(instance->log);
    event_free(instance->timer);
    event_base_free(base);
    static const char *const files[] = {"log", "stdout", "stderr", "merged"};
    for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
        char path[IMAGE_PATH_BYTES + 16];
        (void)snprintf(path, sizeof(path), "%s/%s", instance->folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(instance->folder);
    free(instance);
}

static void on_timer(int fd, short events, void *context)
{
}

static void init(void)
{
    base = event_base_new();
    CHECK(base != NULL);
    host = (struct instance_host){.base = base, .output = on_output};
    instance = calloc(1, sizeof(*instance));
    CHECK(instance != NULL);
    instance->host = &host;
    (void)strcpy(instance->folder, "/tmp/dilos-fuzz-XXXXXX");
    CHECK(mkdtemp(instance->folder) != NULL);
    instance->timer = event_new(base, -1, 0, on_timer, NULL);
    CHECK(output_log_open(instance->folder, &instance->log) == 0);
    CHECK(instance_ctl_open(instance) == 0);
    CHECK(atexit(remove_folder) == 0);
}

static int connect_guest(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.64s/ctl", instance->folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    (void)event_base_loop(base, EVLOOP_NONBLOCK);
    return fd;
}

static void settle(void)
{
    for (int i = 0; i < 3; i++) {
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void fresh(uint32_t flags)
{
    instance->state = INSTANCE_BOOTING;
    instance->exit_kind = NULL;
    instance->reason[0] = '\0';
    instance->syscall_count = 0;
    instance->stop_wanted = (flags & 1) != 0;
    instance->stop_signal = 15;
    timers = 0;
    ends = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const uint8_t *piece;
    if (base == NULL) {
        init();
    }
    fresh(input_u8(&input));
    int fd = connect_guest();
    while (input.size > 0) {
        uint32_t length = input_u8(&input);
        if (length == 0xff) {
            settle();
        } else {
            size_t bytes = input_take(&input, length, &piece);
            (void)!send(fd, piece, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    settle();
    (void)close(fd);
    settle();
    CHECK(timers <= 1);
    CHECK(instance->syscall_count <= INSTANCE_SYSCALLS_MAX);
    for (uint32_t i = 0; i < instance->syscall_count; i++) {
        CHECK(memchr(instance->syscalls[i], '\0', INSTANCE_SYSCALL_BYTES) != NULL);
    }
    CHECK(ends == 0 || instance->exit_kind != NULL);
    return 0;
}
