/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/histogram.h"

#include <string.h>

#include "lib/base/check.h"
#include "lib/base/compiler.h"
#include "lib/sys/text.h"

bool histogram_is_bucket(const char *name, const char *prefix, uint32_t *ret_bucket)
{
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || name[length] != '_') {
        return false;
    }
    char digits[24];
    const char *from = name + length + 1;
    size_t digit_count = strspn(from, "0123456789");
    if (digit_count >= sizeof(digits) || strcmp(from + digit_count, "ns") != 0) {
        return false;
    }
    memcpy(digits, from, digit_count);
    digits[digit_count] = '\0';
    uint64_t low_ns;
    if (text_parse_u64(digits, 1ull << (GUESTSTATS_BUCKETS - 1), &low_ns) != 0 ||
        !IS_POWER_OF_TWO(low_ns)) {
        return false;
    }
    *ret_bucket = (uint32_t)__builtin_ctzll(low_ns);
    return true;
}

bool histogram_prefix(const char *name, char *ret_prefix)
{
    uint32_t bucket;
    const char *end = strrchr(name, '_');
    if (end == NULL || end == name || (size_t)(end - name) >= HISTOGRAM_NAME_BYTES) {
        return false;
    }
    memcpy(ret_prefix, name, (size_t)(end - name));
    ret_prefix[end - name] = '\0';
    return histogram_is_bucket(name, ret_prefix, &bucket);
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
    uint64_t wanted = h->count / 1000 * per_mille + (h->count % 1000 * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < GUESTSTATS_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= MAX(wanted, 1)) {
            return (2ull << i) - 1;
        }
    }
    return 0;
}
