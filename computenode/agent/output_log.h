/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one instance said, in files of its folder: 0 log of kernel and agent, 1 stdout, 2 stderr,
 * 3 both merged. Each is bounded; what comes after the bound is dropped, and its last line says so.
 */
#ifndef DILOS_AGENT_OUTPUT_LOG_H
#define DILOS_AGENT_OUTPUT_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

enum output_stream { OUTPUT_LOG, OUTPUT_STDOUT, OUTPUT_STDERR, OUTPUT_MERGED, OUTPUT_STREAMS };

#define OUTPUT_BYTES_MAX (64 * MIB) /* of one stream */

struct output_log;

/* Makes the files in `folder`. Errors: -ENOMEM, of open(2). */
int output_log_open(const char *folder, struct output_log **ret) MUST_CHECK;
struct output_log *output_log_close(struct output_log *log);

/* stdout and stderr go to the merged stream too. */
void output_log_write(struct output_log *log, enum output_stream stream, const void *data,
                      size_t bytes);
/* A line of the agent's own in OUTPUT_LOG. */
void output_log_note(struct output_log *log, const char *format, ...) PRINTF_LIKE(2, 3);

uint64_t output_log_bytes(const struct output_log *log, enum output_stream stream);
/* Reads what there is at `offset`, up to `bytes`. Returns how many, or negative errno. */
int64_t output_log_read(const struct output_log *log, enum output_stream stream, uint64_t offset,
                        void *to, size_t bytes);

#endif
