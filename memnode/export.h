/* SPDX-License-Identifier: Apache-2.0 */
/* What all exports share: where the slabs are, who may use them, and what is counted. */
#ifndef DILOS_MEMNODE_EXPORT_H
#define DILOS_MEMNODE_EXPORT_H

#include <stdatomic.h>
#include <stdint.h>

#include "memnode/arena.h"
#include "memnode/grants.h"
#include "memnode/incidents.h"

#define EXPORT_CONNECTIONS_MAX 1024u
/* Over TCP from one address: one host alone can't shut out the others. */
#define EXPORT_HOST_CONNECTIONS_MAX 512u
#define EXPORT_HELLO_TIMEOUT_MS     2000u
/* Over TCP: clients that attach no slab for so long are idle, and so many of those may stay: an
 * instance that needs nothing now may keep its connection, a crowd may not. */
#define EXPORT_IDLE_TIMEOUT_MS 5000u
#define EXPORT_IDLE_MAX        64u
#define EXPORT_ERROR_BYTES     256u

/* Written by the exports' threads, read by all. */
struct export_counters {
    atomic_uint_fast64_t bytes_read;
    atomic_uint_fast64_t bytes_written;
    atomic_uint_fast64_t requests;
    atomic_uint_fast64_t attaches;
    atomic_uint_fast64_t refused;     /* requests answered with another status than OK */
    atomic_uint_fast64_t connections; /* accepted so far */
    atomic_uint_fast64_t connections_open;
    atomic_uint_fast64_t closed_hello;    /* no or a foreign hello */
    atomic_uint_fast64_t closed_idle;     /* attached nothing in time */
    atomic_uint_fast64_t closed_protocol; /* broke a rule of lib/wire/pageop.h */
    atomic_uint_fast64_t closed_limit;    /* too many connections (of one host), no memory */
    atomic_uint_fast64_t closed_silent;   /* did not unmap in time */
    atomic_uint_fast64_t exhausted; /* RDMA clients that got no queue pair, window or region */
};

static inline void export_count(atomic_uint_fast64_t *counter, uint64_t by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

static inline uint64_t export_counter(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Outlives the exports. */
struct export_context {
    const struct arena *arena;
    const struct grants *grants;
    struct export_counters *counters;
    struct incidents *incidents;
    /*
     * A client attached a slab over TCP under this incarnation: whatever it opened over RDMA under
     * lower ones is closed when this returns. From an export's own thread. NULL: there is no RDMA.
     */
    void (*fence)(void *context, uint32_t slab, uint64_t generation, uint32_t incarnation);
    void *fence_context;
};

#endif
