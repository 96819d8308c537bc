/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of frames: protobuf under limits (limits.h), generically by protobuf-c's descriptors, so
 * that a handler never sees a message that breaks one.
 */
#ifndef DILOS_LIB_RPC_BODY_H
#define DILOS_LIB_RPC_BODY_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define RPC_WHY_BYTES 192

/*
 * Checks lengths, counts, enumerators (an unknown one is refused: handlers index tables by them)
 * and depth. Errors: -EMSGSIZE a limit, -EPROTO an enumerator; `why` then names the field.
 */
int rpc_body_check(const ProtobufCMessage *message, char why[RPC_WHY_BYTES]) MUST_CHECK;

/*
 * Unpacks and checks. *ret is freed with protobuf_c_message_free_unpacked(message, NULL).
 * Errors: -EPROTO what can't be parsed (or takes too much memory), and those of rpc_body_check.
 */
int rpc_body_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t length,
                    ProtobufCMessage **ret, char why[RPC_WHY_BYTES]) MUST_CHECK;

#endif
