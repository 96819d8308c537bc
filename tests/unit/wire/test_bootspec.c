/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/wire/bootspec.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"

static struct bootspec spec, read_back;
static uint8_t data[BOOTSPEC_BYTES_MAX + 8];
static size_t length;

static struct bootspec_string text(const char *s)
{
    return (struct bootspec_string){s, (uint32_t)strlen(s)};
}

static bool same(struct bootspec_string a, const char *b)
{
    return a.length == strlen(b) && memcmp(a.data, b, a.length) == 0;
}

static void fill(void)
{
    memset(&spec, 0, sizeof(spec));
    spec.argument_count = 2;
    spec.arguments[0] = text("/bin/true");
    spec.arguments[1] = text("");
    spec.environment_count = 1;
    spec.environment[0] = text("PATH=/bin");
    spec.directory = text("/tmp");
    spec.hostname = text("box");
    spec.prefetch = text("readahead");
    spec.local_bytes = 64 * MIB;
    spec.far_bytes = 3;
    spec.slab_bytes = MIB;
    spec.realtime_ns = 1700000000000000000;
    spec.mode = BOOTSPEC_BENCH_DEVICE;
    spec.vcpus = 3;
    spec.uid = 7;
    spec.gid = UINT32_MAX;
    memset(spec.seed, 0xa5, sizeof(spec.seed));
}

static void encode(void)
{
    fill();
    EXPECT_EQ(bootspec_encode(&spec, data, sizeof(data), &length), 0);
}

static void test_round_trip(void)
{
    encode();
    EXPECT_EQ(bootspec_decode(data, length, &read_back), 0);
    EXPECT_EQ(read_back.argument_count, 2);
    EXPECT(same(read_back.arguments[0], "/bin/true"));
    EXPECT(same(read_back.arguments[1], ""));
    EXPECT_EQ(read_back.environment_count, 1);
    EXPECT(same(read_back.environment[0], "PATH=/bin"));
    EXPECT(same(read_back.directory, "/tmp"));
    EXPECT(same(read_back.hostname, "box"));
    EXPECT(same(read_back.prefetch, "readahead"));
    EXPECT_EQ(read_back.local_bytes, 64 * MIB);
    EXPECT_EQ(read_back.far_bytes, 3);
    EXPECT_EQ(read_back.slab_bytes, MIB);
    EXPECT_EQ(read_back.realtime_ns, 1700000000000000000);
    EXPECT_EQ(read_back.mode, BOOTSPEC_BENCH_DEVICE);
    EXPECT_EQ(read_back.vcpus, 3);
    EXPECT_EQ(read_back.uid, 7);
    EXPECT_EQ(read_back.gid, UINT32_MAX);
    EXPECT(memcmp(read_back.seed, spec.seed, sizeof(spec.seed)) == 0);
}

/* A short one decodes too only if its last item lost nothing but padding. */
static void test_every_truncation_is_refused(void)
{
    encode();
    for (size_t cut = 0; cut < length; cut++) {
        EXPECT(bootspec_decode(data, cut, &read_back) != 0);
    }
}

static void test_what_follows_is_refused(void)
{
    encode();
    memset(data + length, 0, 8);
    EXPECT_EQ(bootspec_decode(data, length + 8, &read_back), -EPROTO);
}

static void test_other_version(void)
{
    encode();
    le16_store(data + 4, BOOTSPEC_VERSION + 1);
    EXPECT_EQ(bootspec_decode(data, length, &read_back), -EPROTONOSUPPORT);
}

static void test_unknown_item(void)
{
    encode();
    le16_store(data + 8, 999);
    EXPECT_EQ(bootspec_decode(data, length, &read_back), -EPROTO);
}

static void test_nul_in_a_string(void)
{
    encode();
    data[16] = 0; /* first byte of the first argument */
    EXPECT_EQ(bootspec_decode(data, length, &read_back), -EPROTO);
    fill();
    spec.directory = (struct bootspec_string){"a\0b", 3};
    EXPECT_EQ(bootspec_encode(&spec, data, sizeof(data), &length), -EINVAL);
}

static void test_padding_must_be_zero(void)
{
    encode();
    EXPECT_EQ(data[25], 0); /* behind the nine bytes of the first argument */
    data[25] = 1;
    EXPECT_EQ(bootspec_decode(data, length, &read_back), -EPROTO);
}

static void test_slab_must_be_a_power_of_two(void)
{
    fill();
    spec.slab_bytes = 3 * MIB;
    EXPECT_EQ(bootspec_encode(&spec, data, sizeof(data), &length), -EINVAL);
}

static void test_limits(void)
{
    static char longest[BOOTSPEC_STRING_BYTES_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    fill();
    spec.argument_count = BOOTSPEC_ARGUMENTS_MAX + 1;
    EXPECT_EQ(bootspec_encode(&spec, data, sizeof(data), &length), -EMSGSIZE);
    fill();
    spec.arguments[0] = (struct bootspec_string){longest, sizeof(longest)};
    EXPECT_EQ(bootspec_encode(&spec, data, sizeof(data), &length), -EMSGSIZE);
    fill();
    EXPECT_EQ(bootspec_encode(&spec, data, 40, &length), -EMSGSIZE);
    encode();
    EXPECT_EQ(bootspec_decode(data, BOOTSPEC_BYTES_MAX + 1, &read_back), -EMSGSIZE);
}

static void test_too_many_arguments(void)
{
    struct bytes_writer w;
    bytes_writer_init(&w, data, sizeof(data));
    bytes_put_u32(&w, BOOTSPEC_MAGIC);
    bytes_put_u16(&w, BOOTSPEC_VERSION);
    bytes_put_u16(&w, BOOTSPEC_ARGUMENTS_MAX + 1);
    for (int i = 0; i < BOOTSPEC_ARGUMENTS_MAX + 1; i++) {
        bytes_put_u16(&w, BOOTSPEC_ARGUMENT);
        bytes_put_u16(&w, 0);
        bytes_put_u32(&w, 0);
    }
    EXPECT_EQ(bootspec_decode(data, w.offset, &read_back), -EMSGSIZE);
}

int main(void)
{
    TAP_RUN(test_round_trip);
    TAP_RUN(test_every_truncation_is_refused);
    TAP_RUN(test_what_follows_is_refused);
    TAP_RUN(test_other_version);
    TAP_RUN(test_unknown_item);
    TAP_RUN(test_nul_in_a_string);
    TAP_RUN(test_padding_must_be_zero);
    TAP_RUN(test_slab_must_be_a_power_of_two);
    TAP_RUN(test_limits);
    TAP_RUN(test_too_many_arguments);
    return tap_done();
}
