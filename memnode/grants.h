/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may use which slab: slab -> (instance, generation, key, rights). Thread safe: the control
 * plane's thread writes, the exports' threads check keys.
 *
 * A generation is never used twice, and the table remembers the highest that each slab has seen,
 * granted or revoked: a grant that was overtaken by its own revoke stays refused.
 */
#ifndef DILOS_MEMNODE_GRANTS_H
#define DILOS_MEMNODE_GRANTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/wire/pageop.h"

#define GRANTS_INSTANCE_BYTES 64u /* with the NUL */

struct grants;

enum grants_state {
    GRANT_FREE,     /* reads as zeros, nobody has it */
    GRANT_HELD,     /* an instance has it; its key opens it */
    GRANT_REVOKING, /* no key opens it, but its old contents are still there */
};

struct grants_item {
    enum grants_state state;
    char instance[GRANTS_INSTANCE_BYTES];
    uint64_t generation;
    uint8_t key[PAGEOP_KEY_BYTES];
    bool read_only;
};

/* Errors: -ENOMEM. */
int grants_open(uint32_t slab_count, struct grants **ret) MUST_CHECK;
struct grants *grants_close(struct grants *grants);

/*
 * Grants one slab, or finds the same grant again. ret_key gets PAGEOP_KEY_BYTES. Errors: -EINVAL no
 * such slab, instance name empty or too long, generation 0; -EBUSY held by another grant, or being
 * scrubbed; -ESTALE the slab has seen this or a later generation.
 */
int grants_add(struct grants *grants, uint32_t slab, const char *instance, uint64_t generation,
               bool read_only, uint8_t *ret_key) MUST_CHECK;
/* What grants_add would say, without doing it. */
int grants_may_add(const struct grants *grants, uint32_t slab, const char *instance,
                   uint64_t generation) MUST_CHECK;

/*
 * Makes the grant's key invalid from now on; grants_freed() follows when the slab is clean. True
 * again while that has not happened. False if there is nothing to revoke: not granted, or granted
 * under another generation.
 */
bool grants_revoke(struct grants *grants, uint32_t slab, uint64_t generation) MUST_CHECK;
void grants_freed(struct grants *grants, uint32_t slab);

/* Constant time in the key. False also for what was never granted. */
bool grants_check(const struct grants *grants, uint32_t slab, uint64_t generation,
                  const uint8_t *key, bool *ret_read_only) MUST_CHECK;

/*
 * Why grants_check() says no: true if the slab has no such grant any more, false if it has and the
 * key is another's. For whoever reports it.
 */
bool grants_is_old(const struct grants *grants, uint32_t slab, uint64_t generation) MUST_CHECK;

bool grants_has_slab(const struct grants *grants, uint32_t slab);
/* Whom the slab is granted to; `to` holds GRANTS_INSTANCE_BYTES. */
void grants_holder(const struct grants *grants, uint32_t slab, char *to);
/* A copy of one row. */
void grants_get(const struct grants *grants, uint32_t slab, struct grants_item *ret);
uint32_t grants_held_count(const struct grants *grants);

#endif
