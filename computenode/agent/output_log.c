/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/output_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTE_BYTES 2048u

static const char truncated[] = "\n[dilos: this stream is full, what follows was dropped]\n";

struct output_log {
    struct {
        int fd;
        uint64_t bytes;
        bool full;
    } streams[OUTPUT_STREAMS];
};

int output_log_open(const char *folder, struct output_log **ret)
{
    static const char *const names[OUTPUT_STREAMS] = {"log", "stdout", "stderr", "merged"};
    struct output_log *log = calloc(1, sizeof(*log));
    if (log == NULL) {
        return -ENOMEM;
    }
    for (int i = 0; i < OUTPUT_STREAMS; i++) {
        char path[1100];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        log->streams[i].fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (log->streams[i].fd < 0) {
            int r = -errno;
            while (i-- > 0) {
                (void)close(log->streams[i].fd);
            }
            free(log);
            return r;
        }
    }
    *ret = log;
    return 0;
}

struct output_log *output_log_close(struct output_log *log)
{
    if (log != NULL) {
        for (int i = 0; i < OUTPUT_STREAMS; i++) {
            (void)close(log->streams[i].fd);
        }
        free(log);
    }
    return NULL;
}

static bool append(struct output_log *log, enum output_stream stream, const void *data,
                   size_t bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pwrite(log->streams[stream].fd, (const char *)data + done, bytes - done,
                           (off_t)log->streams[stream].bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
        log->streams[stream].bytes += (uint64_t)n;
    }
    return true;
}

static void write_one(struct output_log *log, enum output_stream stream, const void *data,
                      size_t bytes)
{
    if (log->streams[stream].full) {
        return;
    }
    if (log->streams[stream].bytes + bytes > OUTPUT_BYTES_MAX ||
        !append(log, stream, data, bytes)) {
        log->streams[stream].full = true;
        (void)append(log, stream, truncated, sizeof(truncated) - 1);
    }
}

void output_log_write(struct output_log *log, enum output_stream stream, const void *data,
                      size_t bytes)
{
    write_one(log, stream, data, bytes);
    if (stream == OUTPUT_STDOUT || stream == OUTPUT_STDERR) {
        write_one(log, OUTPUT_MERGED, data, bytes);
    }
}

void output_log_note(struct output_log *log, const char *format, ...)
{
    char line[NOTE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (length > 0) {
        size_t bytes = MIN((size_t)length, sizeof(line) - 2);
        line[bytes] = '\n';
        write_one(log, OUTPUT_LOG, line, bytes + 1);
    }
}

uint64_t output_log_bytes(const struct output_log *log, enum output_stream stream)
{
    return log->streams[stream].bytes;
}

int64_t output_log_read(const struct output_log *log, enum output_stream stream, uint64_t offset,
                        void *to, size_t bytes)
{
    if (offset >= log->streams[stream].bytes) {
        return 0;
    }
    ssize_t n = pread(log->streams[stream].fd, to, bytes, (off_t)offset);
    return n < 0 ? -errno : n;
}
