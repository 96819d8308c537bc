/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/files.h"
#include "cli/histogram.h"
#include "cli/json.h"
#include "cli/table.h"
#include "cli/words.h"
#include "tests/tap.h"

static char text[4096];

static FILE *text_open(void)
{
    memset(text, 0, sizeof(text));
    return fmemopen(text, sizeof(text), "w");
}

static void test_distance(void)
{
    EXPECT_EQ(args_distance("", ""), 0);
    EXPECT_EQ(args_distance("abc", ""), 3);
    EXPECT_EQ(args_distance("status", "statsu"), 1);
    EXPECT_EQ(args_distance("kitten", "sitting"), 3);
    EXPECT_EQ(args_distance("ca", "abc"), 3);
    char word[65];
    memset(word, 'a', 64);
    word[64] = '\0';
    EXPECT_EQ(args_distance(word, "a"), 255);
    word[63] = '\0';
    EXPECT_EQ(args_distance(word, word), 0);
}

static void json_text_case(const char *value, const char *wanted)
{
    FILE *to = text_open();
    struct json j;
    json_init(&j, to, true);
    json_text(&j, NULL, value);
    fclose(to);
    EXPECT_STR(text, wanted);
}

static void test_json_text(void)
{
    json_text_case("a\"b\\c\n\x01", "\"a\\\"b\\\\c\\n\\u0001\"");
    json_text_case(NULL, "\"\"");
    json_text_case("\xc3\xa9 \xf0\x9f\x98\x80", "\"\xc3\xa9 \xf0\x9f\x98\x80\"");
    json_text_case("\xc0\xaf", "\"\\ufffd\\ufffd\"");            /* overlong */
    json_text_case("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
    json_text_case("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    json_text_case("\xe4\xb8", "\"\\ufffd\\ufffd\""); /* cut off */
}

static void test_json_nesting(void)
{
    FILE *to = text_open();
    struct json j;
    json_init(&j, to, true);
    json_object(&j, NULL);
    json_array(&j, "a");
    json_u64(&j, NULL, UINT64_MAX);
    json_i64(&j, NULL, -5);
    json_array_end(&j);
    json_object(&j, "o");
    json_object_end(&j);
    json_bool(&j, "b", true);
    json_null(&j, "n");
    json_object_end(&j);
    json_fini(&j);
    fclose(to);
    EXPECT_STR(text, "{\"a\":[18446744073709551615,-5],\"o\":{},\"b\":true,\"n\":null}\n");
}

static void test_table(void)
{
    static const struct table_column columns[] = {{"NAME", false}, {"SIZE", true}, {"X", false}};
    struct table *t = table_open(columns, 3);
    table_cell(t, "%s", "\xc3\xa9");
    table_cell(t, "%d", 12345);
    table_cell(t, "%s", "");
    table_cell(t, "%s", "longer");
    table_cell(t, "%d", 1);
    table_cell(t, "%s", "a\nb\x1b");
    FILE *to = text_open();
    table_print(t, to);
    fclose(to);
    EXPECT_EQ(table_row_count(t), 2);
    EXPECT_STR(text, "NAME     SIZE  X\n\xc3\xa9       12345  -\nlonger      1  a b?\n");
    EXPECT(table_close(t) == NULL);
}

static void test_times(void)
{
    char to[WORDS_TIME_BYTES];
    EXPECT_STR(words_duration(850, to), "850 ms");
    EXPECT_STR(words_duration(12340, to), "12.3 s");
    EXPECT_STR(words_duration(245000, to), "4 min 5 s");
    EXPECT_STR(words_duration(7380000, to), "2 h 3 min");
    EXPECT_STR(words_duration(435600000, to), "5 d 1 h");
    EXPECT_STR(words_latency(999, to), "999 ns");
    EXPECT_STR(words_latency(1000, to), "1.0 us");
    EXPECT_STR(words_latency(8191, to), "8.1 us");
    EXPECT_STR(words_latency(2500000000u, to), "2.5 s");
    EXPECT_STR(words_time(0, to), "-");
}

static void test_words(void)
{
    EXPECT_STR(words_instance_state(DILOS__INSTANCE_STATE__INSTANCE_STOPPING), "stopping");
    EXPECT_STR(words_slab_state((Dilos__SlabState)99), "unknown");
    EXPECT_STR(words_node_state((Dilos__NodeState)-1), "unknown");
    char a[] = "gawk", b[] = "a b", c[] = "";
    char *arguments[] = {a, b, c};
    char to[64];
    EXPECT_STR(words_command(arguments, 3, to, sizeof(to)), "gawk 'a b' ''");
    EXPECT_STR(words_command(arguments, 3, to, 8), "gawk...");
    EXPECT_STR(words_command(arguments, 0, to, 8), "");
}

static void path_case(const char *base, const char *path, const char *wanted)
{
    char *got = files_absolute(base, path);
    EXPECT_STR(got, wanted);
    free(got);
}

static void test_paths(void)
{
    path_case("/a/b", "c", "/a/b/c");
    path_case("/a/b", "/c//d/", "/c/d");
    path_case("/a/b", "./../c/.", "/a/c");
    path_case("/", "..", "/");
    path_case("/a", "../../..", "/");
    path_case("/a", "...", "/a/...");
    path_case("/", "", "/");
}

static void test_histogram(void)
{
    uint32_t bucket = 0;
    EXPECT(histogram_is_bucket("fault_remote_4096ns", "fault_remote", &bucket));
    EXPECT_EQ(bucket, 12);
    EXPECT(histogram_is_bucket("fault_remote_2147483648ns", "fault_remote", &bucket));
    EXPECT_EQ(bucket, 31);
    EXPECT(!histogram_is_bucket("fault_remote_4294967296ns", "fault_remote", &bucket));
    EXPECT(!histogram_is_bucket("fault_remote_3ns", "fault_remote", &bucket));
    EXPECT(!histogram_is_bucket("fault_remote_ns", "fault_remote", &bucket));
    EXPECT(!histogram_is_bucket("fault_remote", "fault_remote", &bucket));
    EXPECT(!histogram_is_bucket("faults_remote_1ns", "fault_remote", &bucket));
    struct histogram h = {.count = 0};
    EXPECT_EQ(histogram_percentile_ns(&h, 500), 0);
    h.buckets[0] = 1;
    h.buckets[3] = 1;
    h.count = 2;
    EXPECT_EQ(histogram_percentile_ns(&h, 500), 1);
    EXPECT_EQ(histogram_percentile_ns(&h, 1000), 15);
    h.buckets[31] = UINT64_MAX - 2;
    h.count = UINT64_MAX;
    EXPECT_EQ(histogram_percentile_ns(&h, 999), (2ull << 31) - 1);
}

int main(void)
{
    TAP_RUN(test_distance);
    TAP_RUN(test_json_text);
    TAP_RUN(test_json_nesting);
    TAP_RUN(test_table);
    TAP_RUN(test_times);
    TAP_RUN(test_words);
    TAP_RUN(test_paths);
    TAP_RUN(test_histogram);
    return tap_done();
}
