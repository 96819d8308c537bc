/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "lib/sys/sys.h"

#define LOG_LINE_BYTES_MAX 4096

static const char *log_part = "dilos";
static enum log_level log_level_max = LOG_LEVEL_INFO;

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

void log_init(const char *part, enum log_level level)
{
    log_part = part;
    log_level_max = level;
}

/* Appends at *length, which stays below LOG_LINE_BYTES_MAX - 1 whatever the text. */
static void append(char *line, size_t *length, const char *format, va_list arguments)
{
    size_t room = LOG_LINE_BYTES_MAX - 1 - *length;
    int written = vsnprintf(line + *length, room, format, arguments);
    if (written > 0) {
        *length += MIN((size_t)written, room - 1);
    }
}

PRINTF_LIKE(3, 4)
static void append_text(char *line, size_t *length, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    append(line, length, format, arguments);
    va_end(arguments);
}

static void append_time(char *line, size_t *length)
{
    uint64_t now_ns = sys_realtime_ns();
    time_t seconds = (time_t)(now_ns / 1000000000u);
    unsigned milliseconds = (unsigned)(now_ns / 1000000u % 1000u);
    struct tm tm;
    char text[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL) {
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    }
    append_text(line, length, "%s.%03uZ", text, milliseconds);
}

/* A peer's text may hold anything; it must not be able to forge a line or drive a terminal. */
static void replace_control_characters(char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
}

void log_line(enum log_level level, const char *event, const char *format, ...)
{
    if (level > log_level_max) {
        return;
    }
    int saved_errno = errno;
    char line[LOG_LINE_BYTES_MAX];
    size_t length = 0;
    append_time(line, &length);
    append_text(line, &length, " level=%s part=%s event=%s ", level_names[level], log_part, event);
    va_list arguments;
    va_start(arguments, format);
    append(line, &length, format, arguments);
    va_end(arguments);
    while (length > 0 && line[length - 1] == ' ') {
        length--;
    }
    replace_control_characters(line, length);
    line[length++] = '\n';
    /* One write, so that lines of several threads and processes don't mix. */
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written;
    errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t *ret_dropped)
{
    if (limit->passed == 0 || now_ns - limit->window_ns > LOG_LIMIT_WINDOW_MS * 1000000ull) {
        limit->window_ns = now_ns;
        limit->passed = 0;
    }
    if (limit->passed == LOG_LIMIT_LINES) {
        limit->dropped++;
        return false;
    }
    limit->passed++;
    *ret_dropped = limit->dropped;
    limit->dropped = 0;
    return true;
}
