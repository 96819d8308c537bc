/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/rootcache.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

#define NO_CHUNK UINT64_MAX

struct rootcache_slot {
    uint64_t chunk; /* index on the device, or NO_CHUNK */
    uint64_t used;  /* the clock when it was last wanted */
    uint32_t pin_count;
    uint32_t bytes; /* valid ones: the last chunk of the device may be short */
    uint8_t *data;
};

static struct rootcache_slot slots[ROOTCACHE_SLOTS_MAX];
static uint32_t slot_count;
static uint64_t device_bytes;
static uint64_t use_clock;

int rootcache_init(uint32_t wanted_slot_count, uint64_t bytes)
{
    uint32_t count = MIN(MAX(wanted_slot_count, ROOTCACHE_SLOTS_MIN), ROOTCACHE_SLOTS_MAX);
    for (slot_count = 0; slot_count < count; slot_count++) {
        struct rootcache_slot *slot = &slots[slot_count];
        *slot = (struct rootcache_slot){.chunk = NO_CHUNK};
        slot->data = kmalloc(ROOTCACHE_CHUNK_BYTES);
        if (slot->data == NULL) {
            break;
        }
    }
    device_bytes = bytes;
    return slot_count >= ROOTCACHE_SLOTS_MIN ? 0 : -ENOMEM;
}

static struct rootcache_slot *slot_find(uint64_t chunk)
{
    for (uint32_t i = 0; i < slot_count; i++) {
        if (slots[i].chunk == chunk) {
            return &slots[i];
        }
    }
    return NULL;
}

static struct rootcache_slot *slot_oldest(void)
{
    struct rootcache_slot *oldest = NULL;
    for (uint32_t i = 0; i < slot_count; i++) {
        if (slots[i].pin_count == 0 && (oldest == NULL || slots[i].used < oldest->used)) {
            oldest = &slots[i];
        }
    }
    CHECK(oldest != NULL);
    return oldest;
}

int rootcache_get(uint64_t offset, struct rootcache_slot **ret_slot, const void **ret_data,
                  uint64_t *ret_bytes)
{
    if (offset >= device_bytes) {
        return -EIO;
    }
    uint64_t chunk = offset / ROOTCACHE_CHUNK_BYTES;
    uint64_t within = offset % ROOTCACHE_CHUNK_BYTES;
    struct rootcache_slot *slot = slot_find(chunk);
    if (slot == NULL) {
        uint64_t start = chunk * ROOTCACHE_CHUNK_BYTES;
        uint64_t bytes = MIN(device_bytes - start, (uint64_t)ROOTCACHE_CHUNK_BYTES);
        slot = slot_oldest();
        slot->chunk = NO_CHUNK;
        int rc = rootdev_read(start, slot->data, bytes);
        if (rc != 0) {
            return rc;
        }
        slot->bytes = (uint32_t)bytes;
        slot->chunk = chunk;
    }
    slot->used = ++use_clock;
    slot->pin_count++;
    *ret_slot = slot;
    *ret_data = slot->data + within;
    *ret_bytes = slot->bytes - within;
    return 0;
}

void rootcache_put(struct rootcache_slot *slot)
{
    CHECK(slot->pin_count > 0);
    slot->pin_count--;
}

int rootcache_read(void *context, uint64_t offset, void *to, size_t bytes)
{
    uint8_t *at = to;
    while (bytes > 0) {
        struct rootcache_slot *slot;
        const void *data;
        uint64_t run;
        int rc = rootcache_get(offset, &slot, &data, &run);
        if (rc != 0) {
            return rc;
        }
        size_t part = run < bytes ? (size_t)run : bytes;
        memcpy(at, data, part);
        rootcache_put(slot);
        at += part;
        offset += part;
        bytes -= part;
    }
    return 0;
}
