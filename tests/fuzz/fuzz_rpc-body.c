/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame's type (2 bytes) and its body, unpacked as what that type carries. What is accepted obeys
 * the limits, and is accepted again after packing.
 */
#include <stdlib.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "lib/rpc/body.h"
#include "proto/dilos.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &dilos__hello__descriptor,
    &dilos__hello_reply__descriptor,
    &dilos__error__descriptor,
    &dilos__node_register__descriptor,
    &dilos__node_heartbeat__descriptor,
    &dilos__slab_grant__descriptor,
    &dilos__slab_grant_reply__descriptor,
    &dilos__slab_revoke__descriptor,
    &dilos__agent_register__descriptor,
    &dilos__agent_heartbeat__descriptor,
    &dilos__instance_start__descriptor,
    &dilos__instance_event__descriptor,
    &dilos__slab_acquire__descriptor,
    &dilos__slab_acquire_reply__descriptor,
    &dilos__slab_release__descriptor,
    &dilos__instance_live__descriptor,
    &dilos__launch__descriptor,
    &dilos__instance_list__descriptor,
    &dilos__log_chunk__descriptor,
    &dilos__status__descriptor,
    &dilos__event_list__descriptor,
    &dilos__empty__descriptor,
    &dilos__access_refused__descriptor,
};

static void check_again(const ProtobufCMessage *message)
{
    char why[RPC_WHY_BYTES];
    ProtobufCMessage *second = NULL;
    size_t length = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(length == 0 ? 1 : length);
    CHECK(packed != NULL);
    CHECK(protobuf_c_message_pack(message, packed) == length);
    CHECK(rpc_body_unpack(message->descriptor, packed, length, &second, why) == 0);
    protobuf_c_message_free_unpacked(second, NULL);
    free(packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[RPC_WHY_BYTES];
    ProtobufCMessage *message = NULL;
    if (size < 2) {
        return 0;
    }
    const ProtobufCMessageDescriptor *type = types[le16_load(data) % ARRAY_LEN(types)];
    if (rpc_body_unpack(type, data + 2, size - 2, &message, why) != 0) {
        return 0;
    }
    check_again(message);
    protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}
