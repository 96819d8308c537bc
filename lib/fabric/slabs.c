/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/slabs.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/check.h"
#include "lib/base/state.h"

#define GROW_COUNT 64u

static const uint32_t moves[] = {
    [SLAB_FREE] = STATE_TO(SLAB_ATTACHING),
    /* FREE: the request could not even be queued. */
    [SLAB_ATTACHING] = STATE_TO(SLAB_READY) | STATE_TO(SLAB_REVOKED) | STATE_TO(SLAB_FREE),
    [SLAB_READY] = STATE_TO(SLAB_REVOKED) | STATE_TO(SLAB_DETACHING),
    [SLAB_REVOKED] = STATE_TO(SLAB_DETACHING),
    [SLAB_DETACHING] = STATE_TO(SLAB_FREE),
};

void slabs_init(struct slabs *slabs)
{
    *slabs = (struct slabs){0};
    list_init(&slabs->detaching);
}

void slabs_fini(struct slabs *slabs)
{
    for (uint32_t i = 0; i < slabs->count; i++) {
        free(slabs->items[i]);
    }
    free(slabs->items);
}

static int grow(struct slabs *slabs)
{
    if (slabs->count == SLABS_MAX) {
        return -EAGAIN;
    }
    uint32_t count = slabs->count + GROW_COUNT;
    struct slabs_item **items = realloc(slabs->items, count * sizeof(struct slabs_item *));
    if (items == NULL) {
        return -ENOMEM;
    }
    slabs->items = items;
    for (; slabs->count < count; slabs->count++) {
        struct slabs_item *item = calloc(1, sizeof(*item));
        if (item == NULL) {
            return -ENOMEM;
        }
        list_init(&item->node);
        slabs->items[slabs->count] = item;
    }
    return 0;
}

int slabs_take(struct slabs *slabs, uint64_t bytes, uint64_t token, uint32_t *ret)
{
    uint32_t index = 0;
    while (index < slabs->count && slabs->items[index]->state != SLAB_FREE) {
        index++;
    }
    if (index == slabs->count) {
        int error = grow(slabs);
        if (error != 0) {
            return error;
        }
    }
    struct slabs_item *item = slabs->items[index];
    *item = (struct slabs_item){.index = index, .bytes = bytes, .attach_token = token};
    list_init(&item->node);
    slabs_move(slabs, index, SLAB_ATTACHING);
    *ret = index;
    return 0;
}

struct slabs_item *slabs_get(const struct slabs *slabs, uint32_t index)
{
    if (index >= slabs->count || slabs->items[index]->state == SLAB_FREE) {
        return NULL;
    }
    return slabs->items[index];
}

void slabs_move(struct slabs *slabs, uint32_t index, enum slabs_state to)
{
    struct slabs_item *item = slabs->items[index];
    CHECK(state_may_move(moves, item->state, to));
    item->state = to;
    list_remove(&item->node);
    if (to == SLAB_DETACHING) {
        list_append(&slabs->detaching, &item->node);
    }
}
