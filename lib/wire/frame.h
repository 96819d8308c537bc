/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header of a control-plane frame, 24 bytes, little endian:
 *   magic u32 "DLPF", version u16, type u16, flags u16, zero u16, length u32, request id u64
 * followed by `length` bytes of protobuf. Freestanding, no I/O.
 */
#ifndef DILOS_LIB_WIRE_FRAME_H
#define DILOS_LIB_WIRE_FRAME_H

#include <stdint.h>

#include "lib/base/compiler.h"

#define FRAME_MAGIC          0x46504c44u
#define FRAME_VERSION        1u
#define FRAME_HEADER_BYTES   24u
#define FRAME_BODY_BYTES_MAX (1u << 20)

enum frame_flags {
    FRAME_REPLY = 1,  /* answers the request with the same id and type */
    FRAME_ERROR = 2,  /* only with FRAME_REPLY: the body is an Error */
    FRAME_NOTICE = 4, /* a request that gets no reply; request id 0 */
};

struct frame_header {
    uint16_t type; /* MessageType of proto/dilos.proto; not 0 */
    uint16_t flags;
    uint32_t length; /* of the body */
    uint64_t request_id;
};

/* Writes FRAME_HEADER_BYTES. The header must obey the rules that frame_decode() checks. */
void frame_encode(const struct frame_header *header, uint8_t *data);

/*
 * Reads FRAME_HEADER_BYTES. Errors: -EPROTO magic, type 0, unknown or contradicting flags, a notice
 * with a request id or another frame without one, nonzero padding; -EPROTONOSUPPORT
 * another FRAME_VERSION; -EMSGSIZE length above the limit.
 */
int frame_decode(const uint8_t *data, struct frame_header *ret) MUST_CHECK;

#endif
