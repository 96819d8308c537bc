/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer (lib/fabric/fabric.h) that outlives its connections. It connects on a thread of its own,
 * so nothing blocks; when a connection breaks, or the memory node answers nothing for a while, it
 * connects again, presents its grants again and repeats what was in flight. Reads, and writes of
 * the same bytes, may be repeated. Only when that fails for a bounded time is the peer dead.
 *
 * A write that a broken connection still carries must not arrive after a later one of the same
 * place. Hence each new connection attaches under a higher incarnation (struct fabric_grant), which
 * makes the memory node forget the bindings under lower ones; and it goes over the same fabric as
 * the first, since only there can the old ones be. One exception: from verbs, whose device may
 * vanish, or have no window or region left, to TCP; the memory node closes the windows first. Back
 * it goes when RDMA works again (tried after 5 s, then less often, up to a minute, and up to ten if
 * it connects and is no use) and every request over TCP is answered.
 */
#ifndef DILOS_LIB_FABRIC_STEADY_H
#define DILOS_LIB_FABRIC_STEADY_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/fabric/fabric.h"

struct fabric_steady_times {
    uint32_t connect_ms;  /* one try to connect; the first one is the only one */
    uint32_t stall_ms;    /* a connection without an answer for so long is given up */
    uint32_t refused_ms;  /* nobody has listened for so long: the node's process is gone */
    uint32_t patience_ms; /* since what is in flight made progress, until the peer is dead */
};

/* What agents use. */
#define FABRIC_STEADY_TIMES                                                                        \
    (struct fabric_steady_times)                                                                   \
    {                                                                                              \
        .connect_ms = 2000, .stall_ms = 4000, .refused_ms = 1500, .patience_ms = 12000             \
    }

struct fabric_steady_config {
    struct fabric_endpoint endpoint; /* copied, as all texts here */
    struct fabric_choice choice;
    struct fabric_steady_times times;
    /*
     * Each connection before it is used, on the thread that polls: fabric_register. An error ends
     * the peer. NULL: nothing to do.
     */
    int (*prepare)(void *context, struct fabric_peer *connection);
    /* A sentence for an operator: broken, back, given up. NULL: nobody cares. */
    void (*note)(void *context, const char *text);
    void *context;
};

/*
 * Returns at once; posts and attaches wait inside until there is a connection. Errors: -ENOMEM,
 * -EMFILE, -EAGAIN no thread.
 */
int fabric_steady_open(const struct fabric_steady_config *config,
                       struct fabric_peer **ret) MUST_CHECK;

/* For peers of fabric_steady_open only. Why better fabrics were passed over, or given up; "" if
 * none was. */
const char *fabric_steady_reason(const struct fabric_peer *peer);
/* What that means for RDMA. */
enum fabric_fallback {
    FABRIC_FALLBACK_NONE,
    FABRIC_FALLBACK_NOT_OFFERED, /* what was passed over is not there at the node */
    FABRIC_FALLBACK_RDMA,        /* the node offers RDMA and it is no use now: tried again */
};
enum fabric_fallback fabric_steady_fallback(const struct fabric_peer *peer);
/* How often a connection broke. */
uint32_t fabric_steady_breaks(const struct fabric_peer *peer);
/* Whether `endpoint` is the one that it connects to. */
bool fabric_steady_is_at(const struct fabric_peer *peer, const struct fabric_endpoint *endpoint);

#endif
