/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data-plane protocol between a memory node and the agents that use its slabs, little endian.
 * Freestanding codecs, no I/O.
 *
 * Over TCP: both sides send a hello (16 bytes: magic u32, version u16, zero u16, zero u64), the
 * client first. Then the client sends requests and the node answers each but DETACH with a reply
 * that carries the request's token; replies come in any order.
 *   request (32): kind u8, zero u8, zero u16, handle u32, token u64, offset u64, length u32, zero
 *     u32. ATTACH is followed by `length` (32) bytes: slab index u32, incarnation u32, generation
 *     u64, key (16). WRITE is followed by `length` bytes of data.
 *   reply (24): kind u8, zero u8, status u16, handle u32, token u64, length u32, zero u32. A READ
 *     with status OK is followed by `length` bytes of data, no other reply has any.
 * A handle is a small number that the client chooses and binds to a slab by ATTACH; it is the
 * connection's own. The incarnation counts the connections of one client: an ATTACH under a higher
 * one voids the bindings of that slab under lower ones on all connections, and one under a lower is
 * denied. So a write that an earlier connection still carries can't arrive after a later one.
 *
 * Over the unix socket (SOCK_SEQPACKET, one message each): the same hello, ATTACH and DETACH. The
 * reply to a granted ATTACH carries the slab's memory as a file descriptor (SCM_RIGHTS). READ and
 * WRITE don't exist there. When a slab is taken back the node sends a reply of kind REVOKE with the
 * handle; the client unmaps and answers with a request UNMAPPED.
 *
 * Whoever breaks these rules loses the connection.
 */
#ifndef DILOS_LIB_WIRE_PAGEOP_H
#define DILOS_LIB_WIRE_PAGEOP_H

#include <stdint.h>

#include "lib/base/compiler.h"

#define PAGEOP_MAGIC         0x4f504c44u
#define PAGEOP_VERSION       1u
#define PAGEOP_HELLO_BYTES   16u
#define PAGEOP_REQUEST_BYTES 32u
#define PAGEOP_REPLY_BYTES   24u
#define PAGEOP_ATTACH_BYTES  32u
#define PAGEOP_KEY_BYTES     16u
#define PAGEOP_LENGTH_MAX    (1u << 20)
#define PAGEOP_HANDLES_MAX   65536u

enum pageop_kind {
    PAGEOP_ATTACH = 1,   /* bind a handle to a granted slab; the key is checked */
    PAGEOP_DETACH = 2,   /* free a handle; no reply */
    PAGEOP_READ = 3,     /* TCP only */
    PAGEOP_WRITE = 4,    /* TCP only */
    PAGEOP_REVOKE = 5,   /* unix socket, node to client: unmap this handle */
    PAGEOP_UNMAPPED = 6, /* unix socket, client to node: done, the handle is free; no reply */
};

enum pageop_status {
    PAGEOP_OK = 0,
    PAGEOP_DENIED = 1,    /* wrong key or generation, handle not bound, revoked, read-only */
    PAGEOP_RANGE = 2,     /* not all of [offset, offset + length) is in the slab */
    PAGEOP_EXHAUSTED = 3, /* a limit of the node; ATTACH only */
};

struct pageop_request {
    uint8_t kind; /* enum pageop_kind, not REVOKE */
    uint32_t handle;
    uint64_t token;
    uint64_t offset; /* READ and WRITE */
    uint32_t length; /* READ and WRITE: 1..PAGEOP_LENGTH_MAX; ATTACH: PAGEOP_ATTACH_BYTES; else 0 */
};

struct pageop_reply {
    uint8_t kind;
    uint16_t status; /* enum pageop_status */
    uint32_t handle;
    uint64_t token;
    uint32_t length; /* of the data that follows */
};

struct pageop_attach {
    uint32_t slab_index;
    uint32_t incarnation;
    uint64_t generation;
    uint8_t key[PAGEOP_KEY_BYTES];
};

/* Writes PAGEOP_HELLO_BYTES. */
void pageop_hello_encode(uint8_t *data);
/* Reads PAGEOP_HELLO_BYTES. Errors: -EPROTO not this protocol, -EPROTONOSUPPORT other version. */
int pageop_hello_decode(const uint8_t *data) MUST_CHECK;

/* Writes PAGEOP_REQUEST_BYTES. The request must obey the rules that the decoder checks. */
void pageop_request_encode(const struct pageop_request *request, uint8_t *data);
/*
 * Reads PAGEOP_REQUEST_BYTES. Errors: -EPROTO unknown kind or nonzero padding; -EMSGSIZE length
 * that the kind may not have; -ERANGE handle above the limit.
 */
int pageop_request_decode(const uint8_t *data, struct pageop_request *ret) MUST_CHECK;

/* Writes PAGEOP_REPLY_BYTES. The reply must obey the rules that the decoder checks. */
void pageop_reply_encode(const struct pageop_reply *reply, uint8_t *data);
/* Reads PAGEOP_REPLY_BYTES. Errors: as pageop_request_decode; -EPROTO unknown status too. */
int pageop_reply_decode(const uint8_t *data, struct pageop_reply *ret) MUST_CHECK;

/* Writes PAGEOP_ATTACH_BYTES. */
void pageop_attach_encode(const struct pageop_attach *attach, uint8_t *data);
/* Reads PAGEOP_ATTACH_BYTES; whatever is in them is legal. */
void pageop_attach_decode(const uint8_t *data, struct pageop_attach *ret);

#endif
