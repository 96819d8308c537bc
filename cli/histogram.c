/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/histogram.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/compiler.h"
#include "lib/sys/text.h"

bool histogram_is_bucket(const char *name, const char *prefix, uint32_t *ret_bucket)
{
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0) {
        return false;
    }
    uint64_t bucket;
    if (text_parse_u64(name + length + strspn(name + length, "_.[bucket"), GUESTSTATS_BUCKETS - 1,
                       &bucket) != 0) {
        return false;
    }
    *ret_bucket = (uint32_t)bucket;
    return true;
}

void histogram_collect(struct histogram *h, const char *prefix, Dilos__Counter *const *counters,
                       size_t counter_count)
{
    memset(h, 0, sizeof(*h));
    for (size_t i = 0; i < counter_count; i++) {
        uint32_t bucket;
        if (histogram_is_bucket(counters[i]->name, prefix, &bucket)) {
            h->buckets[bucket] += counters[i]->value;
            h->count += counters[i]->value;
        }
    }
}

uint64_t histogram_percentile_ns(const struct histogram *h, uint32_t per_mille)
{
    CHECK(per_mille <= 1000);
    /* Divided first: the counters come from a guest, which may send anything. */
    uint64_t wanted = h->count / 1000 * per_mille + h->count % 1000 * per_mille / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < GUESTSTATS_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= MAX(wanted, 1)) {
            return (2ull << i) - 1;
        }
    }
    return 0;
}
