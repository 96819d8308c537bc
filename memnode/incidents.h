/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accesses that the node refused although somebody asked for them with intent or by mistake: who,
 * which slab, how often. The exports' threads add, the session tells the controller. Equal ones are
 * one entry, and few are told in a minute, so an attacker can't make noise. Thread safe.
 */
#ifndef DILOS_MEMNODE_INCIDENTS_H
#define DILOS_MEMNODE_INCIDENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "memnode/grants.h"

#define INCIDENTS_MAX        32u
#define INCIDENTS_AGAIN_MS   60000u /* the same one is told so often */
#define INCIDENTS_BURST      16u    /* told at once; then one each INCIDENTS_PAUSE_MS */
#define INCIDENTS_PAUSE_MS   4000u
#define INCIDENTS_PEER_BYTES 64u
#define INCIDENTS_ANY_SLAB   UINT32_MAX /* it isn't known, or there is no such slab */

/* The numbers of RefusedKind in proto/dilos.proto. */
enum incident_kind {
    INCIDENT_WRONG_KEY = 1,  /* a key that isn't the slab's */
    INCIDENT_OLD_KEY = 2,    /* a grant that isn't there any more */
    INCIDENT_READ_ONLY = 3,  /* a write with a grant to read */
    INCIDENT_BEYOND_END = 4, /* of the slab */
    INCIDENT_NOT_ATTACHED =
        5,               /* a request for a slab that the connection doesn't have (any more) */
    INCIDENT_DEVICE = 6, /* the RDMA device refused an access, and broke the queue pair */
};

struct incident {
    enum incident_kind kind;
    const char *fabric;                   /* a constant */
    char instance[GRANTS_INSTANCE_BYTES]; /* whose connection it is; empty: nobody's yet */
    uint32_t slab;                        /* or INCIDENTS_ANY_SLAB */
    char peer[INCIDENTS_PEER_BYTES];      /* the last one's address; may be empty */
    uint64_t count;                       /* not told before */
};

struct incidents;

/* Errors: -ENOMEM. */
int incidents_open(struct incidents **ret) MUST_CHECK;
struct incidents *incidents_close(struct incidents *incidents);

/* `instance` and `peer` may be empty. With no room left it is only counted. */
void incidents_add(struct incidents *incidents, enum incident_kind kind, const char *fabric,
                   const char *instance, uint32_t slab, const char *peer);
/* As incidents_add, with the other end of a socket as the peer. */
void incidents_add_from(struct incidents *incidents, enum incident_kind kind, const char *fabric,
                        const char *instance, uint32_t slab, int fd);
/* An attach whose key or generation does not open the slab. */
void incidents_attach(struct incidents *incidents, const struct grants *grants, const char *fabric,
                      const char *instance, int fd, uint32_t slab, uint64_t generation);

/*
 * The next one to tell, if any. It is not given again before incidents_told() says whether it
 * arrived: if not, it is due again.
 */
bool incidents_next(struct incidents *incidents, uint64_t now_ns, struct incident *ret,
                    uint32_t *ret_ticket);
void incidents_told(struct incidents *incidents, uint32_t ticket, uint64_t now_ns, bool arrived);

/* "wrong-key" */
const char *incident_name(enum incident_kind kind);

/* All that were ever added. */
uint64_t incidents_count(struct incidents *incidents);
/* Whether one like this was ever added and is remembered: for tests and reports. */
bool incidents_has(struct incidents *incidents, enum incident_kind kind, const char *instance,
                   uint32_t slab);

#endif
