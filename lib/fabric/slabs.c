/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/slabs.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/check.h"
#include "lib/base/state.h"

#define GROW_COUNT 64u

static const uint32_t moves[] = {
    [FABRIC_SLAB_FREE] = STATE_TO(FABRIC_SLAB_ATTACHING),
    /* FREE: the request could not even be queued. */
    [FABRIC_SLAB_ATTACHING] =
        STATE_TO(FABRIC_SLAB_READY) | STATE_TO(FABRIC_SLAB_REVOKED) | STATE_TO(FABRIC_SLAB_FREE),
    [FABRIC_SLAB_READY] = STATE_TO(FABRIC_SLAB_REVOKED) | STATE_TO(FABRIC_SLAB_DETACHING),
    [FABRIC_SLAB_REVOKED] = STATE_TO(FABRIC_SLAB_DETACHING),
    [FABRIC_SLAB_DETACHING] = STATE_TO(FABRIC_SLAB_FREE),
};

void fabric_slabs_init(struct fabric_slabs *slabs)
{
    *slabs = (struct fabric_slabs){0};
    list_init(&slabs->detaching);
}

void fabric_slabs_fini(struct fabric_slabs *slabs)
{
    for (uint32_t i = 0; i < slabs->count; i++) {
        free(slabs->items[i]);
    }
    free(slabs->items);
}

static int grow(struct fabric_slabs *slabs)
{
    if (slabs->count == FABRIC_SLABS_MAX) {
        return -EAGAIN;
    }
    uint32_t count = slabs->count + GROW_COUNT;
    struct fabric_slabs_item **items =
        realloc(slabs->items, count * sizeof(struct fabric_slabs_item *));
    if (items == NULL) {
        return -ENOMEM;
    }
    slabs->items = items;
    for (; slabs->count < count; slabs->count++) {
        struct fabric_slabs_item *item = calloc(1, sizeof(*item));
        if (item == NULL) {
            return -ENOMEM;
        }
        list_init(&item->node);
        slabs->items[slabs->count] = item;
    }
    return 0;
}

int fabric_slabs_take(struct fabric_slabs *slabs, uint64_t bytes, uint64_t token, uint32_t *ret)
{
    uint32_t index = 0;
    while (index < slabs->count && slabs->items[index]->state != FABRIC_SLAB_FREE) {
        index++;
    }
    if (index == slabs->count) {
        int error = grow(slabs);
        if (error != 0) {
            return error;
        }
    }
    struct fabric_slabs_item *item = slabs->items[index];
    *item = (struct fabric_slabs_item){.index = index, .bytes = bytes, .attach_token = token};
    list_init(&item->node);
    fabric_slabs_move(slabs, index, FABRIC_SLAB_ATTACHING);
    *ret = index;
    return 0;
}

struct fabric_slabs_item *fabric_slabs_get(const struct fabric_slabs *slabs, uint32_t index)
{
    if (index >= slabs->count || slabs->items[index]->state == FABRIC_SLAB_FREE) {
        return NULL;
    }
    return slabs->items[index];
}

void fabric_slabs_move(struct fabric_slabs *slabs, uint32_t index, enum fabric_slabs_state to)
{
    struct fabric_slabs_item *item = slabs->items[index];
    CHECK(state_may_move(moves, item->state, to));
    item->state = to;
    list_remove(&item->node);
    if (to == FABRIC_SLAB_DETACHING) {
        list_append(&slabs->detaching, &item->node);
    }
}
