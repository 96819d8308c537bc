/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/log.h"

#include <pthread.h>
#include <stdlib.h>

#include "tests/tap.h"
#include "tests/unit/sys/capture.h"

static struct capture output;

static void test_format(void)
{
    log_init("memnode", LOG_LEVEL_INFO);
    capture_begin(&output, STDERR_FILENO);
    log_info("registered", "name=%s epoch=%d", "mn1", 3);
    capture_end(&output);
    EXPECT_EQ(strspn(output.text, "0123456789-T:.Z"), 24);
    EXPECT_EQ(output.text[23], 'Z');
    EXPECT_STR(output.text + 24, " level=info part=memnode event=registered name=mn1 epoch=3\n");
}

static void test_levels(void)
{
    log_init("memnode", LOG_LEVEL_WARNING);
    capture_begin(&output, STDERR_FILENO);
    log_info("dropped", "%s", "");
    log_debug("dropped", "%s", "");
    log_error("kept", "%s", "");
    capture_end(&output);
    EXPECT(strstr(output.text, "dropped") == NULL);
    EXPECT(strstr(output.text, "level=error part=memnode event=kept\n") != NULL);
}

static void test_forged_lines(void)
{
    log_init("memnode", LOG_LEVEL_INFO);
    capture_begin(&output, STDERR_FILENO);
    log_info("peer", "name=\"%s\"", "a\n2026 level=error\x1b[31m\x7f");
    capture_end(&output);
    EXPECT(strstr(output.text, "name=\"a?2026 level=error?[31m?\"\n") != NULL);
    EXPECT(strchr(output.text, '\n') == output.text + strlen(output.text) - 1);
}

static void test_long_line(void)
{
    static char text[10000];
    memset(text, 'x', sizeof(text) - 1);
    log_init("memnode", LOG_LEVEL_INFO);
    capture_begin(&output, STDERR_FILENO);
    log_info("long", "%s", text);
    log_info("next", "%s", "");
    capture_end(&output);
    char *end = strchr(output.text, '\n');
    EXPECT(end != NULL);
    EXPECT(end - output.text < 4096);
    EXPECT(end - output.text > 4000);
    EXPECT(strstr(end, "event=next\n") != NULL);
}

static void *log_many(void *context)
{
    for (int i = 0; i < 20; i++) {
        log_info("thread", "id=%d", *(int *)context);
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[4];
    int ids[4];
    unsigned lines = 0;
    log_init("memnode", LOG_LEVEL_INFO);
    capture_begin(&output, STDERR_FILENO);
    for (int i = 0; i < 4; i++) {
        ids[i] = i;
        CHECK(pthread_create(&threads[i], NULL, log_many, &ids[i]) == 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    capture_end(&output);
    for (char *line = strtok(output.text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        EXPECT_EQ(strlen(line), strlen("2026-01-02T03:04:05.678Z level=info part=memnode "
                                       "event=thread id=0"));
        lines++;
    }
    EXPECT_EQ(lines, 80);
}

static void test_limit(void)
{
    struct log_limit limit = {0};
    uint64_t dropped = 99;
    uint64_t now_ns = 5;
    for (unsigned i = 0; i < LOG_LIMIT_LINES; i++) {
        EXPECT(log_limit_pass(&limit, now_ns, &dropped));
        EXPECT_EQ(dropped, 0);
    }
    for (unsigned i = 0; i < 1000; i++) {
        EXPECT(!log_limit_pass(&limit, now_ns + i, &dropped));
    }
    now_ns += LOG_LIMIT_WINDOW_MS * 1000000ull + 1;
    EXPECT(log_limit_pass(&limit, now_ns, &dropped));
    EXPECT_EQ(dropped, 1000);
    EXPECT(log_limit_pass(&limit, now_ns, &dropped));
    EXPECT_EQ(dropped, 0);
}

int main(void)
{
    TAP_RUN(test_limit);
    TAP_RUN(test_format);
    TAP_RUN(test_levels);
    TAP_RUN(test_forged_lines);
    TAP_RUN(test_long_line);
    TAP_RUN(test_threads);
    return tap_done();
}
