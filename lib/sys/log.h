/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines of the daemons: one line each on stderr, key=value:
 *   2026-01-02T03:04:05.678Z level=info part=memnode event=registered name=mn1 epoch=3
 * Only programs log; libraries and cores return errors. Thread safe after log_init. Control
 * characters in values come out as "?"; a line is cut at 4 KiB.
 */
#ifndef DILOS_LIB_SYS_LOG_H
#define DILOS_LIB_SYS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* `part` (static string) names the program. Lines above `level` are dropped. */
void log_init(const char *part, enum log_level level);

/* `format` holds the key=value pairs; values with spaces are the caller's to quote ("%s"). */
void log_line(enum log_level level, const char *event, const char *format, ...) PRINTF_LIKE(3, 4);

/*
 * For lines that a peer can cause at will. One for each kind of line and owner; all zero bytes is
 * a fresh one. Not thread safe.
 */
#define LOG_LIMIT_LINES     10u
#define LOG_LIMIT_WINDOW_MS 10000u
struct log_limit {
    uint64_t window_ns; /* when the window began */
    uint32_t passed;
    uint64_t dropped;
};
/* Whether to write the line; then *ret_dropped says how many before it were not written. */
bool log_limit_pass(struct log_limit *limit, uint64_t now_ns, uint64_t *ret_dropped);

#define log_error(event, ...)   log_line(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warning(event, ...) log_line(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_info(event, ...)    log_line(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...)   log_line(LOG_LEVEL_DEBUG, event, __VA_ARGS__)

#endif
