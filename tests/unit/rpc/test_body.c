/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/rpc/body.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/base/check.h"
#include "lib/rpc/limits.h"
#include "proto/dilos.pb-c.h"
#include "tests/tap.h"

static uint8_t packed[2u << 20];

/* What rpc_body_unpack says to a packed message. */
static int unpack(const ProtobufCMessage *message, char *why)
{
    ProtobufCMessage *unpacked = NULL;
    size_t length = protobuf_c_message_get_packed_size(message);
    CHECK(length <= sizeof(packed));
    (void)protobuf_c_message_pack(message, packed);
    int error = rpc_body_unpack(message->descriptor, packed, length, &unpacked, why);
    if (error == 0) {
        protobuf_c_message_free_unpacked(unpacked, NULL);
    }
    return error;
}

static void test_field_lengths(void)
{
    static char text[RPC_ARGUMENT_BYTES_MAX + 2];
    char why[RPC_WHY_BYTES] = "";
    Dilos__NameRef ref = DILOS__NAME_REF__INIT;
    memset(text, 'a', RPC_FIELD_BYTES_MAX);
    ref.name = text;
    EXPECT_EQ(unpack(&ref.base, why), 0);
    text[RPC_FIELD_BYTES_MAX] = 'a';
    EXPECT_EQ(unpack(&ref.base, why), -EMSGSIZE);
    EXPECT_STR(why, "NameRef.name: 4097 bytes, the limit is 4096");
    /* Arguments may be longer, also deep inside another message. */
    Dilos__InstanceSpec spec = DILOS__INSTANCE_SPEC__INIT;
    Dilos__Launch launch = DILOS__LAUNCH__INIT;
    char *arguments[] = {text};
    spec.n_arguments = 1;
    spec.arguments = arguments;
    launch.spec = &spec;
    memset(text, 'a', RPC_ARGUMENT_BYTES_MAX);
    EXPECT_EQ(unpack(&launch.base, why), 0);
    text[RPC_ARGUMENT_BYTES_MAX] = 'a';
    EXPECT_EQ(unpack(&launch.base, why), -EMSGSIZE);
    EXPECT(strstr(why, "InstanceSpec.arguments") != NULL);
}

static void test_bytes_lengths(void)
{
    static uint8_t data[RPC_LOG_CHUNK_BYTES_MAX + 1];
    char why[RPC_WHY_BYTES] = "";
    Dilos__LogChunk chunk = DILOS__LOG_CHUNK__INIT;
    chunk.data = (ProtobufCBinaryData){RPC_LOG_CHUNK_BYTES_MAX, data};
    EXPECT_EQ(unpack(&chunk.base, why), 0);
    chunk.data.len++;
    EXPECT_EQ(unpack(&chunk.base, why), -EMSGSIZE);
    Dilos__Launch launch = DILOS__LAUNCH__INIT;
    launch.request_key = (ProtobufCBinaryData){RPC_FIELD_BYTES_MAX + 1, data};
    EXPECT_EQ(unpack(&launch.base, why), -EMSGSIZE);
}

static void test_repeated_counts(void)
{
    static uint32_t indexes[RPC_REPEATED_MAX + 1];
    static Dilos__Label label = DILOS__LABEL__INIT;
    static Dilos__Label *labels[RPC_LABELS_MAX + 1];
    char why[RPC_WHY_BYTES] = "";
    Dilos__SlabGrant grant = DILOS__SLAB_GRANT__INIT;
    grant.slab_indexes = indexes;
    grant.n_slab_indexes = RPC_REPEATED_MAX;
    EXPECT_EQ(unpack(&grant.base, why), 0);
    grant.n_slab_indexes++;
    EXPECT_EQ(unpack(&grant.base, why), -EMSGSIZE);
    EXPECT_STR(why, "SlabGrant.slab_indexes: 65537 entries, the limit is 65536");
    Dilos__NodeRegister node = DILOS__NODE_REGISTER__INIT;
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        labels[i] = &label;
    }
    node.labels = labels;
    node.n_labels = RPC_LABELS_MAX;
    EXPECT_EQ(unpack(&node.base, why), 0);
    node.n_labels++;
    EXPECT_EQ(unpack(&node.base, why), -EMSGSIZE);
}

static void test_unknown_enumerators(void)
{
    char why[RPC_WHY_BYTES] = "";
    Dilos__InstanceInfo info = DILOS__INSTANCE_INFO__INIT;
    Dilos__InstanceInfo *list[] = {&info};
    Dilos__InstanceList instances = DILOS__INSTANCE_LIST__INIT;
    instances.instances = list;
    instances.n_instances = 1;
    info.state = DILOS__INSTANCE_STATE__INSTANCE_FAILED;
    EXPECT_EQ(unpack(&instances.base, why), 0);
    info.state = (Dilos__InstanceState)1000;
    EXPECT_EQ(unpack(&instances.base, why), -EPROTO);
    EXPECT_STR(why, "InstanceInfo.state: unknown value 1000");
}

/* Two bytes of frame for each empty sub-message that takes some 100 bytes of memory. */
static void test_memory_is_bounded(void)
{
    char why[RPC_WHY_BYTES] = "";
    ProtobufCMessage *message = NULL;
    size_t length = 1u << 20;
    for (size_t i = 0; i < length; i += 2) {
        packed[i] = 0x0a; /* field 1, length-delimited */
        packed[i + 1] = 0;
    }
    EXPECT_EQ(rpc_body_unpack(&dilos__instance_list__descriptor, packed, length, &message, why),
              -EPROTO);
    EXPECT(message == NULL);
}

static void test_unknown_fields(void)
{
    char why[RPC_WHY_BYTES] = "";
    ProtobufCMessage *message = NULL;
    uint8_t *at = packed;
    for (unsigned i = 0; i < RPC_UNKNOWN_FIELDS_MAX + 1; i++) {
        *at++ = 0xf8; /* field 31, varint */
        *at++ = 0x01;
        *at++ = 0x07;
    }
    size_t length = 3u * RPC_UNKNOWN_FIELDS_MAX;
    EXPECT_EQ(rpc_body_unpack(&dilos__empty__descriptor, packed, length, &message, why), 0);
    protobuf_c_message_free_unpacked(message, NULL);
    EXPECT_EQ(rpc_body_unpack(&dilos__empty__descriptor, packed, length + 3, &message, why),
              -EMSGSIZE);
    static const uint8_t field_zero[] = {0x80, 0x00, 0x30};
    EXPECT_EQ(rpc_body_unpack(&dilos__empty__descriptor, field_zero, 3, &message, why), -EPROTO);
    EXPECT_STR(why, "Empty: a field with the number 0");
}

int main(void)
{
    TAP_RUN(test_field_lengths);
    TAP_RUN(test_bytes_lengths);
    TAP_RUN(test_repeated_counts);
    TAP_RUN(test_unknown_enumerators);
    TAP_RUN(test_memory_is_bounded);
    TAP_RUN(test_unknown_fields);
    return tap_done();
}
