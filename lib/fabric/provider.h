/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of lib/fabric: what a provider fills in. fabric.c checks every argument against the
 * contract of fabric.h first, so that providers see only requests that are in range.
 */
#ifndef DILOS_LIB_FABRIC_PROVIDER_H
#define DILOS_LIB_FABRIC_PROVIDER_H

#include "lib/fabric/fabric.h"
#include "lib/fabric/slabs.h"

#define FABRIC_REASON_BYTES 128u
#define FABRIC_DENIED_MAX   64u

/* Where completions go during one fabric_poll. */
struct fabric_sink {
    struct fabric_done *done;
    uint32_t max;
    uint32_t count;
};

static inline bool fabric_sink_full(const struct fabric_sink *sink)
{
    return sink->count == sink->max;
}

static inline void fabric_sink_put(struct fabric_sink *sink, uint64_t token, int status)
{
    sink->done[sink->count++] = (struct fabric_done){.token = token, .status = status};
}

/* One checked read or write. */
struct fabric_request {
    bool write;
    uint32_t slab; /* in state FABRIC_SLAB_READY */
    uint64_t offset;
    const struct iovec *segments;
    uint32_t segment_count;
    uint32_t length; /* of all segments, 1..FABRIC_REQUEST_BYTES_MAX */
    uint64_t token;
};

/*
 * When a poll without anything to do looks at its socket: a look is a system call, a poll without
 * one a few instructions. Once in FABRIC_LOOK_NS, and on the two polls after fabric_arm.
 */
#define FABRIC_LOOK_NS 5000u

struct fabric_look {
    uint32_t due; /* so many polls look whatever the clock says */
    uint64_t last_ns;
};

void fabric_look_arm(struct fabric_look *look);
/* Whether this poll has to look. It counts as done. */
bool fabric_look_due(struct fabric_look *look);

/*
 * Until when one of `left` tries to connect (it and those after it; at least 1) may take, so that
 * one that doesn't answer leaves the others their share of the time to `deadline_ns`
 * (sys_monotonic_ns).
 */
uint64_t fabric_connect_share(uint64_t deadline_ns, uint64_t left);

struct fabric_provider {
    const char *name;
    void (*close)(struct fabric_peer *peer);
    /* NULL: nothing to do. */
    int (*register_memory)(struct fabric_peer *peer, void *base, uint64_t bytes);
    void (*unregister_all)(struct fabric_peer *peer); /* NULL: nothing to do */
    /* `slab` is in state FABRIC_SLAB_ATTACHING; -EAGAIN leaves no trace. */
    int (*attach)(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t slab);
    /* `slab` is in state FABRIC_SLAB_DETACHING, on peer->slabs.detaching, until the provider is
     * done. */
    void (*detach)(struct fabric_peer *peer, uint32_t slab);
    int (*post)(struct fabric_peer *peer, const struct fabric_request *request);
    void (*poll)(struct fabric_peer *peer, struct fabric_sink *sink);
    int (*poll_fd)(const struct fabric_peer *peer);
    /*
     * Before a poll and a sleep. NULL: every completion wakes, and each poll looks at all that may
     * wake. A provider that saves system calls by not doing so must look on the next two polls: the
     * one before the sleep, or what came before would be slept over until epoll says so at once,
     * and the one after it, or the caller would turn around in vain.
     */
    void (*arm)(struct fabric_peer *peer);
};

/* First member of each provider's own structure. */
struct fabric_peer {
    const struct fabric_provider *provider;
    struct fabric_counters counters;
    struct fabric_slabs slabs;
    bool dead;
    /* Refusals that complete without reaching the provider (the slab was revoked). */
    uint64_t denied[FABRIC_DENIED_MAX];
    uint32_t denied_count;
};

void fabric_peer_init(struct fabric_peer *peer, const struct fabric_provider *provider);
void fabric_peer_fini(struct fabric_peer *peer);
/* A post that the next poll completes with -EACCES. Errors: -EAGAIN. */
int fabric_post_denied(struct fabric_peer *peer, uint64_t token) MUST_CHECK;

/*
 * Each gives the reason of a failure in words in ret_reason (FABRIC_REASON_BYTES).
 * Errors: -EHOSTUNREACH, -ETIMEDOUT, -ECONNREFUSED nobody listens, -ENOMEM.
 */
int fabric_shm_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                       struct fabric_peer **ret, char *ret_reason) MUST_CHECK;
int fabric_tcp_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                       struct fabric_peer **ret, char *ret_reason) MUST_CHECK;
int fabric_verbs_connect(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                         struct fabric_peer **ret, char *ret_reason) MUST_CHECK;

#endif
