/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of a steady peer: fabric_steady.c keeps the connection, steady_back.c finds the way back
 * from TCP to RDMA. */
#ifndef DILOS_LIB_FABRIC_STEADY_PEER_H
#define DILOS_LIB_FABRIC_STEADY_PEER_H

#include "lib/fabric/attempt.h"
#include "lib/fabric/provider.h"
#include "lib/fabric/steady.h"

#define STEADY_SLOTS     512u
#define STEADY_NS_PER_MS 1000000ull
/* How long it stays on TCP before RDMA is tried again: doubled each time that it doesn't last. */
#define STEADY_BACK_MS_MIN         5000u
#define STEADY_BACK_MS_MAX         60000u
#define STEADY_BACK_REFUSED_MS_MAX 600000u

enum slot_state {
    SLOT_FREE,
    SLOT_WAITING, /* for a connection, for its slab there, or for room */
    SLOT_POSTED,  /* the connection works on it */
    SLOT_HELD,    /* its answer is known, the caller has not taken it */
};

struct slot {
    enum slot_state state;
    bool write;
    int status; /* HELD */
    uint32_t use;
    uint32_t slab;
    uint32_t next_free;
    uint32_t segment_count;
    uint64_t length;
    uint64_t offset;
    uint64_t token;
    struct iovec segments[FABRIC_SEGMENTS_MAX];
};

enum binding_state {
    BINDING_NONE,  /* the connection does not know the slab */
    BINDING_ASKED, /* attached there, no answer yet */
    BINDING_KNOWN, /* answered, well or not: has to be detached there */
};

/* A slab on the present connection. */
struct binding {
    enum binding_state state;
    uint32_t use;
    uint32_t inner; /* its name there */
    struct fabric_grant grant;
};

struct steady_peer {
    struct fabric_peer peer;
    struct fabric_provider provider; /* with the name of the fabric in use */
    struct fabric_steady_config config;
    struct fabric_texts texts;
    int wake_fd;              /* for the attempt */
    struct fabric_peer *link; /* NULL: no connection */
    struct attempt *attempt;  /* NULL: none is under way */
    uint32_t incarnation;
    uint32_t uses; /* of slots and bindings, so far */
    uint32_t breaks;
    uint64_t asked_ns;   /* since when the connection owes an answer; 0: to be looked up */
    uint64_t trouble_ns; /* since when nothing gets through; 0: all is well */
    char reason[FABRIC_REASON_BYTES];

    struct attempt *way_back; /* to RDMA, while TCP goes on; NULL: none is under way */
    struct fabric_peer *next; /* what it brought: taken when nothing is on its way over TCP */
    uint64_t back_ns;         /* when to try; 0: never */
    uint32_t back_pause_ms;
    uint64_t link_ns;   /* since when the connection is there */
    bool verbs_refused; /* it connects and is no use */

    struct binding *bindings; /* by slab */
    uint32_t binding_count;
    uint32_t unbound; /* slabs in use that the connection has to be told of */
    uint32_t asked;   /* attaches on their way */
    uint32_t waiting, posted, held;
    uint32_t free_slot;
    struct slot slots[STEADY_SLOTS];
};

/* A sentence for the operator: what the memory node does, and more. */
void steady_note(const struct steady_peer *steady, const char *what, const char *more);
/* fabric_steady_config.prepare. */
int steady_prepare(const struct steady_peer *steady, struct fabric_peer *link) MUST_CHECK;
/* The connection and all that it knew are gone: what it had is to be posted on the next. */
void steady_forget_link(struct steady_peer *steady);

/* Plans the next look for RDMA. */
void steady_back_later(struct steady_peer *steady);
/* Gives up what is under way. */
void steady_back_forget(struct steady_peer *steady);
/* On each poll over TCP, when back_ns is not 0. */
void steady_look_back(struct steady_peer *steady);

#endif
