/* SPDX-License-Identifier: Apache-2.0 */
/* The words that people and JSON see for states, and times and durations as text. */
#ifndef DILOS_CLI_WORDS_H
#define DILOS_CLI_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/dilos.pb-c.h"

/* "up", "granted", "running", ...; "unknown" for a value that this build doesn't know. */
const char *words_node_state(Dilos__NodeState state);
const char *words_slab_state(Dilos__SlabState state);
const char *words_instance_state(Dilos__InstanceState state);

/* "850 ms", "12.3 s", "4 min 5 s", "2 h 3 min", "5 d 1 h". `to` holds WORDS_TIME_BYTES. */
#define WORDS_TIME_BYTES 32
char *words_duration(uint64_t duration_ms, char *to);
/* "850 ns", "4.3 us", "1.2 ms", "2.5 s". `to` holds WORDS_TIME_BYTES. */
char *words_latency(uint64_t latency_ns, char *to);
/* Local time, "2026-01-02 03:04:05"; "-" for 0. `to` holds WORDS_TIME_BYTES. */
char *words_time(uint64_t time_ns, char *to);

/*
 * The arguments as one line for people (quoted where that helps, not made for a shell), cut with
 * "..." to fit `capacity` (at least 4). Returns `to`.
 */
char *words_command(char *const *arguments, size_t argument_count, char *to, size_t capacity);

#endif
