/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/text.h"

#include <errno.h>

#include "tests/tap.h"

static void test_sizes(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"64M", 64 * MIB},
        {"64MiB", 64 * MIB},
        {"64MB", 64 * MIB},
        {"1G", GIB},
        {"512KiB", 512 * KIB},
        {"2t", 2 * TIB},
        {"1k", 1024},
        {"8388608T", 1ull << 63},
        {"9223372036854775808", 1ull << 63},
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t bytes = 1;
        EXPECT_EQ(text_parse_size(good[i].text, &bytes), 0);
        EXPECT_EQ(bytes, good[i].bytes);
    }
}

static void test_what_is_no_size(void)
{
    static const char *const bad[] = {"",    "M",     "-1", "+1",   " 1",  "1 ",  "1.5G", "1Mb",
                                      "1iB", "1KiBs", "1X", "0x10", "1e3", "1 M", "B",    "1MM"};
    static const char *const large[] = {"9223372036854775809", "8388609T", "18446744073709551616",
                                        "99999999999999999999999999999999", "8589934593G"};
    uint64_t bytes = 77;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT_EQ(text_parse_size(bad[i], &bytes), -EINVAL);
    }
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        EXPECT_EQ(text_parse_size(large[i], &bytes), -ERANGE);
    }
    EXPECT_EQ(bytes, 77);
}

static void test_numbers(void)
{
    uint64_t value = 5;
    EXPECT_EQ(text_parse_u64("18446744073709551615", UINT64_MAX, &value), 0);
    EXPECT_EQ(value, UINT64_MAX);
    EXPECT_EQ(text_parse_u64("18446744073709551616", UINT64_MAX, &value), -ERANGE);
    EXPECT_EQ(text_parse_u64("10", 10, &value), 0);
    EXPECT_EQ(value, 10);
    EXPECT_EQ(text_parse_u64("11", 10, &value), -ERANGE);
    EXPECT_EQ(text_parse_u64("9", 3, &value), -ERANGE);
    EXPECT_EQ(text_parse_u64("0", 0, &value), 0);
    EXPECT_EQ(value, 0);
    EXPECT_EQ(text_parse_u64("12a", 100, &value), -EINVAL);
    EXPECT_EQ(text_parse_u64("", 100, &value), -EINVAL);
    EXPECT_EQ(text_parse_u64("-1", 100, &value), -EINVAL);
}

static void test_formatting(void)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0"},          {1, "1"},
        {1023, "1023"},    {1024, "1K"},
        {1536, "1.5K"},    {64 * MIB, "64M"},
        {GIB + 1, "1.0G"}, {1536 * MIB, "1.5G"},
        {MIB - 1, "1.0M"}, {1025 * MIB, "1.0G"},
        {5 * TIB, "5T"},   {UINT64_MAX, "16777216.0T"},
    };
    char text[16];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        EXPECT_STR(text_format_size(rows[i].bytes, text), rows[i].text);
    }
}

static void test_names(void)
{
    char longest[65];
    memset(longest, 'a', sizeof(longest));
    longest[64] = '\0';
    EXPECT(!text_is_name(longest));
    longest[63] = '\0';
    EXPECT(text_is_name(longest));
    EXPECT(text_is_name("a"));
    EXPECT(text_is_name("0-b"));
    EXPECT(!text_is_name(""));
    EXPECT(!text_is_name("-a"));
    EXPECT(!text_is_name("A"));
    EXPECT(!text_is_name("a_b"));
    EXPECT(!text_is_name("a/b"));
    EXPECT(!text_is_name("a\n"));
}

int main(void)
{
    TAP_RUN(test_sizes);
    TAP_RUN(test_what_is_no_size);
    TAP_RUN(test_numbers);
    TAP_RUN(test_formatting);
    TAP_RUN(test_names);
    return tap_done();
}
