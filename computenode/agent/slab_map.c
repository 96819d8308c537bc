/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/slab_map.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/check.h"

struct leaf {
    uint32_t count;
    struct slab *slabs[];
};

struct slab_map {
    uint32_t shift;
    uint32_t leaf_shift; /* slabs per leaf, as a power of two */
    uint64_t count;
    uint64_t number_count;
    uint64_t leaf_count;
    struct leaf *leaves[];
};

struct slab *slab_open(uint64_t slab_bytes)
{
    uint64_t page_count = slab_bytes / PAGE_BYTES;
    struct slab *slab = calloc(1, sizeof(*slab) + BITMAP_WORDS(page_count) * sizeof(uint64_t));
    if (slab == NULL) {
        return NULL;
    }
    list_init(&slab->link);
    slab->number = SLAB_NUMBER_NONE;
    slab->page_count = page_count;
    return slab;
}

struct slab *slab_close(struct slab *slab)
{
    free(slab);
    return NULL;
}

void slab_pages_set(struct slab *slab, uint64_t first, uint64_t count)
{
    CHECK(first <= slab->page_count);
    CHECK(count <= slab->page_count - first);
    for (uint64_t page = first; page < first + count; page++) {
        slab->pages_set += bitmap_test(slab->pages, page) ? 0 : 1;
        bitmap_set(slab->pages, page);
    }
}

void slab_pages_clear(struct slab *slab, uint64_t first, uint64_t count)
{
    CHECK(first <= slab->page_count);
    CHECK(count <= slab->page_count - first);
    for (uint64_t page = first; page < first + count; page++) {
        slab->pages_set -= bitmap_test(slab->pages, page) ? 1 : 0;
        bitmap_clear(slab->pages, page);
    }
}

int slab_map_open(uint64_t slab_bytes, struct slab_map **ret)
{
    if (!IS_POWER_OF_TWO(slab_bytes) || slab_bytes < SLAB_BYTES_MIN ||
        slab_bytes > SLAB_BYTES_MAX) {
        return -EINVAL;
    }
    uint64_t number_count = FAR_BYTES / slab_bytes;
    uint32_t number_bits = (uint32_t)__builtin_ctzll(number_count);
    uint32_t leaf_shift = number_bits / 2;
    uint64_t leaf_count = number_count >> leaf_shift;
    struct slab_map *map = calloc(1, sizeof(*map) + leaf_count * sizeof(struct leaf *));
    if (map == NULL) {
        return -ENOMEM;
    }
    map->shift = (uint32_t)__builtin_ctzll(slab_bytes);
    map->leaf_shift = leaf_shift;
    map->leaf_count = leaf_count;
    map->number_count = number_count;
    *ret = map;
    return 0;
}

struct slab_map *slab_map_close(struct slab_map *map)
{
    if (map != NULL) {
        for (uint64_t i = 0; i < map->leaf_count; i++) {
            free(map->leaves[i]);
        }
        free(map);
    }
    return NULL;
}

uint32_t slab_map_shift(const struct slab_map *map)
{
    return map->shift;
}

uint64_t slab_map_count(const struct slab_map *map)
{
    return map->count;
}

static uint64_t leaf_slots(const struct slab_map *map)
{
    return UINT64_C(1) << map->leaf_shift;
}

struct slab *slab_map_get(const struct slab_map *map, uint64_t number)
{
    CHECK(number < map->number_count);
    const struct leaf *leaf = map->leaves[number >> map->leaf_shift];
    return leaf == NULL ? NULL : leaf->slabs[number & (leaf_slots(map) - 1)];
}

int slab_map_put(struct slab_map *map, uint64_t number, struct slab *slab)
{
    CHECK(slab_map_get(map, number) == NULL);
    CHECK(slab->number == SLAB_NUMBER_NONE);
    struct leaf **leaf = &map->leaves[number >> map->leaf_shift];
    if (*leaf == NULL) {
        *leaf = calloc(1, sizeof(**leaf) + leaf_slots(map) * sizeof(struct slab *));
        if (*leaf == NULL) {
            return -ENOMEM;
        }
    }
    (*leaf)->slabs[number & (leaf_slots(map) - 1)] = slab;
    (*leaf)->count++;
    slab->number = number;
    map->count++;
    return 0;
}

void slab_map_remove(struct slab_map *map, struct slab *slab)
{
    CHECK(slab_map_get(map, slab->number) == slab);
    struct leaf **leaf = &map->leaves[slab->number >> map->leaf_shift];
    (*leaf)->slabs[slab->number & (leaf_slots(map) - 1)] = NULL;
    (*leaf)->count--;
    if ((*leaf)->count == 0) {
        free(*leaf);
        *leaf = NULL;
    }
    slab->number = SLAB_NUMBER_NONE;
    map->count--;
}

static struct slab *leaf_next(const struct leaf *leaf, uint64_t from, uint64_t slots)
{
    for (uint64_t i = from; i < slots; i++) {
        if (leaf->slabs[i] != NULL) {
            return leaf->slabs[i];
        }
    }
    return NULL;
}

struct slab *slab_map_next(const struct slab_map *map, uint64_t number)
{
    uint64_t from = number & (leaf_slots(map) - 1);
    for (uint64_t i = number >> map->leaf_shift; i < map->leaf_count; i++) {
        struct slab *slab =
            map->leaves[i] == NULL ? NULL : leaf_next(map->leaves[i], from, leaf_slots(map));
        if (slab != NULL) {
            return slab;
        }
        from = 0;
    }
    return NULL;
}
