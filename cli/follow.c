/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/follow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/print.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"

#define WAIT_SLICE_MS  10000u
#define START_SLICE_MS 200u
#define ATTACH_WAIT_MS 150u
/* Between looks at one that is silent: each wakes controller and agent, next to the instance. */
#define ATTACH_WAIT_MS_MAX 1200u
#define DRAIN_MS           10000u
#define LOG_BYTES          (256u * 1024u)
#define STOP_GRACE_MS      5000u

bool follow_has_started(const Dilos__InstanceInfo *info)
{
    return info->state >= DILOS__INSTANCE_STATE__INSTANCE_RUNNING;
}

bool follow_has_ended(const Dilos__InstanceInfo *info)
{
    return info->state == DILOS__INSTANCE_STATE__INSTANCE_EXITED ||
           info->state == DILOS__INSTANCE_STATE__INSTANCE_FAILED;
}

static int wait_slice(struct session *s, const char *name, uint32_t slice_ms,
                      Dilos__InstanceInfo **ret, struct session_error *ret_error)
{
    Dilos__Wait request = DILOS__WAIT__INIT;
    request.name = (char *)(uintptr_t)name;
    request.timeout_ms = slice_ms;
    return session_try(s, DILOS__MESSAGE_TYPE__MESSAGE_WAIT, &request.base,
                       &dilos__instance_info__descriptor, slice_ms + SESSION_TIMEOUT_MS, ret,
                       ret_error);
}

int follow_wait(struct session *s, const char *name, uint32_t timeout_ms, Dilos__InstanceInfo **ret)
{
    uint64_t end_ns = sys_monotonic_ns() + timeout_ms * 1000000ull;
    for (;;) {
        uint64_t now_ns = sys_monotonic_ns();
        uint64_t left_ms = now_ns >= end_ns ? 0 : (end_ns - now_ns) / 1000000u;
        uint32_t slice_ms = timeout_ms == 0 ? WAIT_SLICE_MS : (uint32_t)MIN(left_ms, WAIT_SLICE_MS);
        Dilos__InstanceInfo *info;
        struct session_error error;
        if (wait_slice(s, name, slice_ms, &info, &error) != EXIT_DONE) {
            return session_print_error(&error);
        }
        if (follow_has_ended(info) || (timeout_ms != 0 && left_ms <= slice_ms)) {
            *ret = info;
            return EXIT_DONE;
        }
        dilos__instance_info__free_unpacked(info, NULL);
    }
}

int follow_start(struct session *s, const char *name, Dilos__InstanceInfo **ret)
{
    for (;;) {
        Dilos__InstanceInfo *info;
        struct session_error error;
        if (wait_slice(s, name, START_SLICE_MS, &info, &error) != EXIT_DONE) {
            return session_print_error(&error);
        }
        if (follow_has_started(info)) {
            *ret = info;
            return EXIT_DONE;
        }
        dilos__instance_info__free_unpacked(info, NULL);
    }
}

static int write_all(int fd, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno != EINTR) {
            return -errno;
        }
        data += MAX(written, 0);
        length -= (size_t)MAX(written, 0);
    }
    return 0;
}

/* One LogRead; *ret_bytes is how much came. */
static int copy_chunk(struct session *s, struct follow_stream *stream, uint32_t wait_ms,
                      size_t *ret_bytes, struct session_error *ret_error)
{
    Dilos__LogRead request = DILOS__LOG_READ__INIT;
    request.name = (char *)(uintptr_t)stream->instance;
    request.stream = stream->log;
    request.offset = stream->offset;
    request.bytes_max = LOG_BYTES;
    request.wait_ms = wait_ms;
    Dilos__LogChunk *chunk;
    int exit_code =
        session_try(s, DILOS__MESSAGE_TYPE__MESSAGE_LOG_READ, &request.base,
                    &dilos__log_chunk__descriptor, wait_ms + SESSION_TIMEOUT_MS, &chunk, ret_error);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    int rc = write_all(stream->fd, chunk->data.data, chunk->data.len);
    *ret_bytes = chunk->data.len;
    stream->offset = chunk->next_offset;
    stream->end = chunk->end;
    dilos__log_chunk__free_unpacked(chunk, NULL);
    if (rc != 0) {
        memset(ret_error, 0, sizeof(*ret_error));
        return cli_fail(EXIT_FAILED, NULL, "can't write the output: %s", strerror(-rc));
    }
    return EXIT_DONE;
}

int follow_copy(struct session *s, struct follow_stream *stream, uint32_t wait_ms,
                struct session_error *ret_error)
{
    for (;;) {
        size_t bytes = 0;
        int exit_code = copy_chunk(s, stream, wait_ms, &bytes, ret_error);
        if (exit_code != EXIT_DONE || bytes == 0 || stream->end) {
            return exit_code;
        }
        wait_ms = 0;
    }
}

struct attach {
    struct session *s;
    const char *name;
    struct follow_stream streams[2];
    Dilos__InstanceInfo *info; /* of the last look */
    uint32_t wait_ms;          /* before the next */
    bool stop_sent;
    struct session_error log_error; /* of the last attempt to read */
    bool log_failed;
};

/* Until the agent has opened the logs reading them fails, and is tried again. */
static int copy_both(struct attach *a)
{
    bool silent = true;
    a->log_failed = false;
    for (uint32_t i = 0; i < ARRAY_LEN(a->streams); i++) {
        uint64_t offset = a->streams[i].offset;
        if (a->streams[i].end) {
            continue;
        }
        if (follow_copy(a->s, &a->streams[i], 0, &a->log_error) != EXIT_DONE) {
            if (a->log_error.message[0] == '\0') {
                return EXIT_FAILED;
            }
            if ((a->log_error.lost || a->log_error.silent) && !a->log_error.interrupted) {
                return session_print_error(&a->log_error);
            }
            a->log_failed = true;
        }
        silent = silent && !a->log_failed && a->streams[i].offset == offset;
    }
    a->wait_ms = silent ? MIN(2 * a->wait_ms, ATTACH_WAIT_MS_MAX) : ATTACH_WAIT_MS;
    return EXIT_DONE;
}

static void send_stop(struct attach *a)
{
    a->stop_sent = true;
    fprintf(stderr, "\ndilosctl: stopping %s; Ctrl-C again detaches\n", a->name);
    Dilos__Stop request = DILOS__STOP__INIT;
    request.name = (char *)(uintptr_t)a->name;
    request.grace_ms = STOP_GRACE_MS;
    Dilos__InstanceInfo *info;
    if (session_call(a->s, DILOS__MESSAGE_TYPE__MESSAGE_STOP, &request.base,
                     &dilos__instance_info__descriptor, SESSION_TIMEOUT_MS, &info) == EXIT_DONE) {
        dilos__instance_info__free_unpacked(info, NULL);
    }
}

/* Looks at the state after a short wait. Returns an exit code. */
static int look(struct attach *a)
{
    Dilos__InstanceInfo *info;
    struct session_error error;
    int exit_code = wait_slice(a->s, a->name, a->wait_ms, &info, &error);
    if (exit_code != EXIT_DONE) {
        return error.interrupted ? EXIT_DONE : session_print_error(&error);
    }
    dilos__instance_info__free_unpacked(a->info, NULL);
    a->info = info;
    if (follow_has_started(info)) {
        session_set_activity(a->s, NULL);
    }
    return EXIT_DONE;
}

static bool all_read(const struct attach *a)
{
    return a->streams[0].end && a->streams[1].end;
}

/* The instance has ended: the rest of its output. */
static int drain(struct attach *a)
{
    uint64_t until_ns = sys_monotonic_ns() + DRAIN_MS * 1000000ull;
    int exit_code = copy_both(a);
    while (exit_code == EXIT_DONE && !all_read(a) && sys_monotonic_ns() < until_ns &&
           session_interrupt_count(a->s) < 2) {
        if (a->log_failed && a->log_error.code == DILOS__ERROR_CODE__ERROR_NOT_FOUND) {
            return EXIT_DONE; /* it never got as far as having logs */
        }
        session_pause(a->s, ATTACH_WAIT_MS);
        exit_code = copy_both(a);
    }
    if (exit_code == EXIT_DONE && a->log_failed) {
        (void)cli_fail(EXIT_FAILED, a->log_error.remedy, "the rest of the output can't be read: %s",
                       a->log_error.message);
    }
    return exit_code;
}

int follow_attach(struct session *s, const char *name, Dilos__InstanceInfo **ret)
{
    struct attach a = {.s = s,
                       .name = name,
                       .wait_ms = ATTACH_WAIT_MS,
                       .streams = {{.instance = name, .log = FOLLOW_STDOUT, .fd = STDOUT_FILENO},
                                   {.instance = name, .log = FOLLOW_STDERR, .fd = STDERR_FILENO}}};
    int exit_code = session_catch_interrupt(s);
    *ret = NULL;
    while (exit_code == EXIT_DONE && session_interrupt_count(s) < 2) {
        if (session_interrupt_count(s) == 1 && !a.stop_sent) {
            send_stop(&a);
        }
        exit_code = copy_both(&a);
        if (exit_code == EXIT_DONE) {
            exit_code = look(&a);
        }
        if (exit_code == EXIT_DONE && a.info != NULL && follow_has_ended(a.info)) {
            exit_code = drain(&a);
            *ret = a.info;
            return exit_code;
        }
    }
    dilos__instance_info__free_unpacked(a.info, NULL);
    if (exit_code == EXIT_DONE) {
        return cli_fail(EXIT_FAILED, NULL, "detached; dilosctl inspect %s tells how it goes on",
                        name);
    }
    return exit_code;
}

int follow_result(const Dilos__InstanceInfo *info, bool pass_status)
{
    char outcome[1024];
    bool exited = strcmp(info->exit_kind, "exited") == 0;
    bool signaled = strcmp(info->exit_kind, "signaled") == 0;
    if (info->state == DILOS__INSTANCE_STATE__INSTANCE_EXITED && exited && info->exit_code == 0) {
        return EXIT_DONE;
    }
    enum cli_exit exit_code = strcmp(info->exit_kind, "refused") == 0 ? EXIT_REFUSED : EXIT_FAILED;
    (void)cli_fail(exit_code, NULL, "%s: %s", info->name,
                   print_outcome(info, outcome, sizeof(outcome)));
    if (pass_status && (exited || signaled)) {
        return ((signaled ? 128 : 0) + info->exit_code) & 255;
    }
    return (int)exit_code;
}
