/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON form of what several commands show; field names are those of proto/dilos.proto. */
#ifndef DILOS_CLI_PRINT_H
#define DILOS_CLI_PRINT_H

#include <stddef.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "proto/dilos.pb-c.h"

/* {"name": value, ...}; a name that comes twice is written once. */
void print_counters(struct json *j, const char *key, Dilos__Counter *const *counters, size_t count);
void print_health(struct json *j, const char *key, Dilos__Health *const *health, size_t count);
/* For people: a line per degradation, with its remedy. */
void print_health_lines(const char *subject, Dilos__Health *const *health, size_t count);
void print_extents(struct json *j, const char *key, Dilos__SlabInfo *const *extents, size_t count);
void print_extent_table(Dilos__SlabInfo *const *extents, size_t count);
/* `detailed`: with the specification, the slabs and the live figures. */
void print_instance(struct json *j, const char *key, const Dilos__InstanceInfo *info,
                    bool detailed);
void print_instance_json(const Dilos__InstanceInfo *info); /* alone, on stdout */

/* "exited with status 3", "killed by signal 11: ...", "stopped: ..."; "" while it runs. */
char *print_outcome(const Dilos__InstanceInfo *info, char *to, size_t capacity);

/* "  label  text" of an inspect page. */
void print_line(const char *label, const char *format, ...) PRINTF_LIKE(2, 3);

/* text_format_size into one of a few static buffers: for up to 8 sizes in one printf. */
const char *print_size(uint64_t bytes);

#endif
