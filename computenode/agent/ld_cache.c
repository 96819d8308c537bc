/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/ld_cache.h"

#include <errno.h>
#include <string.h>

#include "lib/base/bytes.h"

#define MAGIC        "glibc-ld.so.cache1.1"
#define MAGIC_BYTES  20u
#define HEADER_BYTES 48u /* magic, count u32, strings u32, five more u32 */
#define ENTRY_BYTES  24u /* flags u32, key u32, value u32, three more fields */
#define FLAGS_X86_64 0x0303u
#define COUNT_MAX    65536u

/* The string at `at`, or NULL if it doesn't end within the cache. */
static const char *string_at(const uint8_t *cache, size_t bytes, uint32_t at)
{
    if (at >= bytes || memchr(cache + at, '\0', bytes - at) == NULL) {
        return NULL;
    }
    return (const char *)cache + at;
}

int ld_cache_find(const void *cache, size_t bytes, const char *name, const char **ret_path)
{
    const uint8_t *data = cache;
    if (bytes < HEADER_BYTES || memcmp(data, MAGIC, MAGIC_BYTES) != 0) {
        return -EBADMSG;
    }
    uint32_t count = le32_load(data + MAGIC_BYTES);
    if (count > COUNT_MAX || (bytes - HEADER_BYTES) / ENTRY_BYTES < count) {
        return -EBADMSG;
    }
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *entry = data + HEADER_BYTES + (size_t)i * ENTRY_BYTES;
        const char *key = string_at(data, bytes, le32_load(entry + 4));
        const char *value = string_at(data, bytes, le32_load(entry + 8));
        if (key == NULL || value == NULL) {
            return -EBADMSG;
        }
        if (le32_load(entry) == FLAGS_X86_64 && strcmp(key, name) == 0) {
            *ret_path = value;
            return 0;
        }
    }
    return -ENOENT;
}
