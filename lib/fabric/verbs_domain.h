/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An opened device with its protection domain and registered memory, shared by all peers of the
 * process that use the same device: guest memory is registered once, however many memory nodes an
 * instance uses. Thread safe.
 */
#ifndef DILOS_LIB_FABRIC_VERBS_DOMAIN_H
#define DILOS_LIB_FABRIC_VERBS_DOMAIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/list.h"
#include "lib/fabric/verbs_port.h"

#define VERBS_REGIONS_MAX 64u /* of one peer */

struct verbs_region {
    struct list node;
    struct ibv_mr *mr;
    const uint8_t *base;
    uint64_t bytes;
    uint32_t users;
};

struct verbs_domain {
    struct list node;
    uint32_t users;
    struct verbs_port port;
    struct ibv_pd *pd;
    atomic_bool lost;      /* the device is gone */
    pthread_mutex_t mutex; /* guards what follows */
    struct list regions;
};

/* Errors, in words in ret_reason (VERBS_REASON_BYTES): of verbs_port_open, -ENOMEM. */
int verbs_domain_open(const struct sockaddr *address, struct verbs_domain **ret,
                      char *ret_reason) MUST_CHECK;
struct verbs_domain *verbs_domain_close(struct verbs_domain *domain);

/* The same memory again is one more user of one region. Errors: -ENOMEM (locked-memory limit). */
int verbs_domain_register(struct verbs_domain *domain, void *base, uint64_t bytes,
                          struct verbs_region **ret) MUST_CHECK;
void verbs_domain_release(struct verbs_domain *domain, struct verbs_region *region);

/* Takes what the device has to say; sets `lost`. Never blocks. */
void verbs_domain_look(struct verbs_domain *domain);

#endif
