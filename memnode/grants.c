/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/grants.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/base/state.h"
#include "lib/sys/sys.h"

struct row {
    struct grants_item item;
    uint64_t generation_seen;
};

struct grants {
    pthread_mutex_t *mutex; /* apart, so that checks may take a const table */
    uint32_t slab_count;
    uint32_t held_count;
    struct row rows[];
};

static const uint32_t moves[] = {
    [GRANT_FREE] = STATE_TO(GRANT_HELD),
    [GRANT_HELD] = STATE_TO(GRANT_REVOKING),
    [GRANT_REVOKING] = STATE_TO(GRANT_FREE),
};

static void move(struct grants *grants, uint32_t slab, enum grants_state to)
{
    struct grants_item *item = &grants->rows[slab].item;
    CHECK(state_may_move(moves, item->state, to));
    grants->held_count -= item->state == GRANT_HELD ? 1 : 0;
    grants->held_count += to == GRANT_HELD ? 1 : 0;
    item->state = to;
}

int grants_open(uint32_t slab_count, struct grants **ret)
{
    struct grants *grants = calloc(1, sizeof(*grants) + slab_count * sizeof(struct row));
    pthread_mutex_t *mutex = malloc(sizeof(*mutex));
    if (grants == NULL || mutex == NULL) {
        free(grants);
        free(mutex);
        return -ENOMEM;
    }
    CHECK(pthread_mutex_init(mutex, NULL) == 0);
    grants->mutex = mutex;
    grants->slab_count = slab_count;
    *ret = grants;
    return 0;
}

struct grants *grants_close(struct grants *grants)
{
    if (grants != NULL) {
        CHECK(pthread_mutex_destroy(grants->mutex) == 0);
        free(grants->mutex);
        free(grants);
    }
    return NULL;
}

static void lock(const struct grants *grants)
{
    CHECK(pthread_mutex_lock(grants->mutex) == 0);
}

static void unlock(const struct grants *grants)
{
    CHECK(pthread_mutex_unlock(grants->mutex) == 0);
}

static bool same_grant(const struct grants_item *item, const char *instance, uint64_t generation)
{
    return item->state == GRANT_HELD && item->generation == generation &&
           strcmp(item->instance, instance) == 0;
}

static int may_add(const struct grants *grants, uint32_t slab, const char *instance,
                   uint64_t generation)
{
    size_t length = strlen(instance);
    if (slab >= grants->slab_count || length == 0 || length >= GRANTS_INSTANCE_BYTES ||
        generation == 0) {
        return -EINVAL;
    }
    const struct row *row = &grants->rows[slab];
    if (same_grant(&row->item, instance, generation)) {
        return 0;
    }
    if (row->item.state != GRANT_FREE) {
        return -EBUSY;
    }
    return generation <= row->generation_seen ? -ESTALE : 0;
}

int grants_may_add(const struct grants *grants, uint32_t slab, const char *instance,
                   uint64_t generation)
{
    lock(grants);
    int error = may_add(grants, slab, instance, generation);
    unlock(grants);
    return error;
}

int grants_add(struct grants *grants, uint32_t slab, const char *instance, uint64_t generation,
               bool read_only, uint8_t *ret_key)
{
    lock(grants);
    int error = may_add(grants, slab, instance, generation);
    if (error == 0) {
        struct row *row = &grants->rows[slab];
        struct grants_item *item = &row->item;
        if (item->state == GRANT_FREE) {
            move(grants, slab, GRANT_HELD);
            memcpy(item->instance, instance, strlen(instance) + 1);
            item->generation = generation;
            item->read_only = read_only;
            sys_random(item->key, sizeof(item->key));
            row->generation_seen = generation;
        }
        memcpy(ret_key, item->key, sizeof(item->key));
    }
    unlock(grants);
    return error;
}

bool grants_revoke(struct grants *grants, uint32_t slab, uint64_t generation)
{
    bool revoked = false;
    if (slab >= grants->slab_count) {
        return false;
    }
    lock(grants);
    struct row *row = &grants->rows[slab];
    if (row->item.state == GRANT_HELD && row->item.generation == generation) {
        move(grants, slab, GRANT_REVOKING);
        memset(row->item.key, 0, sizeof(row->item.key));
        revoked = true;
    } else if (row->item.state == GRANT_REVOKING && row->item.generation == generation) {
        revoked = true;
    }
    row->generation_seen = MAX(row->generation_seen, generation);
    unlock(grants);
    return revoked;
}

void grants_freed(struct grants *grants, uint32_t slab)
{
    lock(grants);
    move(grants, slab, GRANT_FREE);
    unlock(grants);
}

static bool keys_equal(const uint8_t *a, const uint8_t *b)
{
    uint8_t difference = 0;
    for (unsigned i = 0; i < PAGEOP_KEY_BYTES; i++) {
        difference |= a[i] ^ b[i];
    }
    return difference == 0;
}

bool grants_check(const struct grants *grants, uint32_t slab, uint64_t generation,
                  const uint8_t *key, bool *ret_read_only)
{
    if (slab >= grants->slab_count) {
        return false;
    }
    lock(grants);
    const struct grants_item *item = &grants->rows[slab].item;
    bool good =
        keys_equal(item->key, key) && item->state == GRANT_HELD && item->generation == generation;
    if (good) {
        *ret_read_only = item->read_only;
    }
    unlock(grants);
    return good;
}

bool grants_is_old(const struct grants *grants, uint32_t slab, uint64_t generation)
{
    if (slab >= grants->slab_count) {
        return false;
    }
    lock(grants);
    const struct row *row = &grants->rows[slab];
    bool held = row->item.state == GRANT_HELD && row->item.generation == generation;
    bool old = !held && generation != 0 && generation <= row->generation_seen;
    unlock(grants);
    return old;
}

bool grants_has_slab(const struct grants *grants, uint32_t slab)
{
    return slab < grants->slab_count;
}

void grants_holder(const struct grants *grants, uint32_t slab, char *to)
{
    CHECK(slab < grants->slab_count);
    lock(grants);
    memcpy(to, grants->rows[slab].item.instance, GRANTS_INSTANCE_BYTES);
    unlock(grants);
}

void grants_get(const struct grants *grants, uint32_t slab, struct grants_item *ret)
{
    CHECK(slab < grants->slab_count);
    lock(grants);
    *ret = grants->rows[slab].item;
    unlock(grants);
}

uint32_t grants_held_count(const struct grants *grants)
{
    lock(grants);
    uint32_t count = grants->held_count;
    unlock(grants);
    return count;
}
