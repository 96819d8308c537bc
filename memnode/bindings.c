/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/bindings.h"

#include <stdlib.h>
#include <string.h>

#include "lib/wire/pageop.h"

#define GROW_COUNT 64u

void bindings_fini(struct bindings *bindings)
{
    free(bindings->items);
    *bindings = (struct bindings){0};
}

struct binding *bindings_make(struct bindings *bindings, uint32_t handle)
{
    if (handle >= PAGEOP_HANDLES_MAX) {
        return NULL;
    }
    if (handle >= bindings->count) {
        uint32_t count = (uint32_t)ALIGN_UP(handle + 1, GROW_COUNT);
        struct binding *items = realloc(bindings->items, count * sizeof(*items));
        if (items == NULL) {
            return NULL;
        }
        memset(items + bindings->count, 0, (count - bindings->count) * sizeof(*items));
        bindings->items = items;
        bindings->count = count;
    }
    return &bindings->items[handle];
}

struct binding *bindings_get(const struct bindings *bindings, uint32_t handle)
{
    if (handle >= bindings->count || bindings->items[handle].state == BINDING_FREE) {
        return NULL;
    }
    return &bindings->items[handle];
}

bool bindings_was(const struct bindings *bindings, uint32_t handle, uint32_t *ret_slab)
{
    if (handle >= bindings->count || !bindings->items[handle].revoked) {
        return false;
    }
    *ret_slab = bindings->items[handle].slab;
    return true;
}
