/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client of the verbs fabric and a memory node say to each other over TCP to set their queue
 * pair up and to open slabs on it; pages then move by RDMA alone. Little endian, freestanding
 * codecs, no I/O.
 *
 * First the hellos of lib/wire/pageop.h, the client's first. Then messages of 64 bytes:
 *   kind u8, status u8, zero u16, handle u32, sequence u32, then by kind, zeros to the end:
 *   QUEUE (both): queue pair number u32, packet sequence number u32, gid (16), nonce (16), lid u16,
 *     mtu u8 (1..5: 256..4096), link u8, gid type u8, reads served at once u8, reads asked at once
 *     u8. The client sends it first and again to begin a new queue pair after an error; the node
 *     answers with its own. Every slab of the old queue pair is closed by that.
 *   ATTACH: slab u32, incarnation u32 (as in pageop.h), generation u64, proof (16). The answer:
 *     sealed window (16).
 *   DETACH (client): nothing more, and no answer.
 *   REVOKE (node): nothing more. The slab of that handle and sequence was taken back.
 * The key of a grant never crosses the wire: the proof is a keyed hash of this attach and of both
 * nonces, and the window (remote key, rights, address) is sealed by another.
 */
#ifndef DILOS_LIB_WIRE_VERBSOP_H
#define DILOS_LIB_WIRE_VERBSOP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define VERBSOP_BYTES        64u
#define VERBSOP_GID_BYTES    16u
#define VERBSOP_NONCE_BYTES  16u
#define VERBSOP_PROOF_BYTES  16u
#define VERBSOP_WINDOW_BYTES 16u
#define VERBSOP_KEY_BYTES    16u
#define VERBSOP_HANDLES_MAX  65536u
#define VERBSOP_NUMBER_MAX   0xffffffu /* of queue pairs and packets: 24 bits */
#define VERBSOP_MTU_MIN      1u
#define VERBSOP_MTU_MAX      5u

enum verbsop_kind {
    VERBSOP_QUEUE = 16, /* apart from the kinds of pageop.h: no message fits both */
    VERBSOP_ATTACH = 17,
    VERBSOP_DETACH = 18,
    VERBSOP_REVOKE = 19,
};

enum verbsop_status {
    VERBSOP_OK = 0,
    VERBSOP_DENIED = 1,    /* no such grant, or the proof is wrong */
    VERBSOP_EXHAUSTED = 2, /* the device has no queue, window or region left */
    VERBSOP_MISMATCH = 3,  /* QUEUE: the two ports can't talk to each other */
};

enum verbsop_link { VERBSOP_LINK_INFINIBAND = 1, VERBSOP_LINK_ETHERNET = 2 };
enum verbsop_gid_type { VERBSOP_GID_IB = 0, VERBSOP_GID_ROCE_V1 = 1, VERBSOP_GID_ROCE_V2 = 2 };

struct verbsop_queue {
    uint32_t number; /* of the queue pair */
    uint32_t packet; /* first packet sequence number */
    uint8_t gid[VERBSOP_GID_BYTES];
    uint8_t nonce[VERBSOP_NONCE_BYTES];
    uint16_t lid;
    uint8_t mtu;
    uint8_t link;      /* enum verbsop_link */
    uint8_t gid_type;  /* enum verbsop_gid_type */
    uint8_t reads_in;  /* outstanding reads that this side serves */
    uint8_t reads_out; /* that it may ask for */
};

struct verbsop_attach {
    uint32_t slab_index;
    uint32_t incarnation;
    uint64_t generation;
    uint8_t proof[VERBSOP_PROOF_BYTES];
};

struct verbsop_message {
    uint8_t kind;
    uint8_t status;
    uint32_t handle;
    uint32_t sequence; /* the client's; names one binding of a handle */
    struct verbsop_queue queue;
    struct verbsop_attach attach;
    uint8_t window[VERBSOP_WINDOW_BYTES]; /* sealed */
};

/* Writes VERBSOP_BYTES. `to_node`: an ATTACH is the client's question, else the node's answer. */
void verbsop_encode(const struct verbsop_message *message, bool to_node, uint8_t *data);
/*
 * Reads VERBSOP_BYTES. Errors: -EPROTO unknown kind or status for this direction, nonzero padding,
 * a field of QUEUE out of its range; -ERANGE handle above the limit.
 */
int verbsop_decode(const uint8_t *data, bool to_node, struct verbsop_message *ret) MUST_CHECK;

/* Both sides' nonces, of the queue pair that they set up last. */
struct verbsop_nonces {
    uint8_t client[VERBSOP_NONCE_BYTES];
    uint8_t node[VERBSOP_NONCE_BYTES];
};

/* What shows that whoever sends `message` (an ATTACH) has the grant's key. */
void verbsop_prove(const uint8_t *key, const struct verbsop_nonces *nonces,
                   const struct verbsop_message *message, uint8_t *ret_proof);
/* Constant time. */
bool verbsop_proof_ok(const uint8_t *key, const struct verbsop_nonces *nonces,
                      const struct verbsop_message *message) MUST_CHECK;

struct verbsop_window {
    uint32_t remote_key;
    bool writable;
    uint64_t address;
};
/* Into and out of message->window, for that message's handle and sequence. */
void verbsop_seal(const uint8_t *key, const struct verbsop_nonces *nonces,
                  const struct verbsop_window *window, struct verbsop_message *message);
void verbsop_unseal(const uint8_t *key, const struct verbsop_nonces *nonces,
                    const struct verbsop_message *message, struct verbsop_window *ret);

#endif
