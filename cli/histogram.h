/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histograms of lib/wire/gueststats.h as they come in counters: PREFIX_Nns, N a power of
 * two, counts events of N to 2N-1 nanoseconds.
 */
#ifndef DILOS_CLI_HISTOGRAM_H
#define DILOS_CLI_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/wire/gueststats.h"
#include "proto/dilos.pb-c.h"

struct histogram {
    uint64_t buckets[GUESTSTATS_BUCKETS];
    uint64_t count;
};

/* Collects the buckets of `prefix`. */
void histogram_collect(struct histogram *h, const char *prefix, Dilos__Counter *const *counters,
                       size_t counter_count);
/* Whether the counter is a bucket of `prefix`; then *ret_bucket is which. */
bool histogram_is_bucket(const char *name, const char *prefix, uint32_t *ret_bucket);
/*
 * The prefix of a counter that is a bucket of some histogram, in a buffer of HISTOGRAM_NAME_BYTES.
 * False: it isn't one.
 */
#define HISTOGRAM_NAME_BYTES 48u
bool histogram_prefix(const char *name, char *ret_prefix);
/* An upper bound of the given part (per mille) of the events; 0 when there are none. */
uint64_t histogram_percentile_ns(const struct histogram *h, uint32_t per_mille);

#endif
