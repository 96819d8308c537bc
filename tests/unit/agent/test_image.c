/* SPDX-License-Identifier: Apache-2.0 */
/* Root images: what is planned, what mkfs.erofs made of it (extracted again by fsck.erofs). */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "computenode/agent/image.h"
#include "computenode/agent/image_stage.h"
#include "lib/base/check.h"
#include "lib/base/compiler.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"

static char folder[] = "/tmp/dilos-image-XXXXXX";
static struct image_result result;
static struct image_result other;

static const char *in(const char *name)
{
    static char path[4][256];
    static int next;
    next = (next + 1) % 4;
    (void)snprintf(path[next], sizeof(path[0]), "%s/%s", folder, name);
    return path[next];
}

static void make_inputs(void)
{
    CHECK(sys_make_folders(in("data/sub")) == 0);
    CHECK(sys_write_file(in("data/one"), "first", 5) == 0);
    CHECK(sys_write_file(in("data/sub/two"), "second", 6) == 0);
    CHECK(symlink("sub/two", in("data/link")) == 0);
    CHECK(sys_write_file(in("program.awk"), "BEGIN{}", 7) == 0);
}

static bool extract(const char *image)
{
    char command[2048];
    image_stage_delete(in("out"));
    (void)snprintf(command, sizeof(command), "fsck.erofs --extract=%s %s >/dev/null 2>&1",
                   in("out"), image);
    return system(command) == 0;
}

static bool same_contents(const char *a, const char *b)
{
    char *x = NULL;
    char *y = NULL;
    size_t x_bytes = 0;
    size_t y_bytes = 1;
    bool same = sys_read_file(a, 64 << 20, &x, &x_bytes) == 0 &&
                sys_read_file(b, 64 << 20, &y, &y_bytes) == 0 && x_bytes == y_bytes &&
                memcmp(x, y, x_bytes) == 0;
    free(x);
    free(y);
    return same;
}

static void test_contents(void)
{
    const struct image_file files[] = {{in("data"), "/data"}, {in("program.awk"), ""}};
    const struct image_request request = {.folder = in("images"),
                                          .name = "",
                                          .program = "gawk",
                                          .files = files,
                                          .file_count = 2,
                                          .cache_bytes = GIB};
    EXPECT_EQ(image_prepare(&request, &result), 0);
    printf("# %s\n", result.error);
    EXPECT_STR(result.program, "/usr/bin/gawk");
    EXPECT(result.bytes > 0 && result.entry_count > 10);
    EXPECT(extract(result.path));
    char path[512];
    (void)snprintf(path, sizeof(path), "%s%s", in("out"), "/usr/bin/gawk");
    EXPECT(same_contents(path, "/usr/bin/gawk"));
    (void)snprintf(path, sizeof(path), "%s/data/one", in("out"));
    EXPECT(same_contents(path, in("data/one")));
    (void)snprintf(path, sizeof(path), "%s/data/link", in("out"));
    EXPECT(same_contents(path, in("data/sub/two"))); /* through the link */
    (void)snprintf(path, sizeof(path), "%s%s", in("out"), in("program.awk"));
    EXPECT(same_contents(path, in("program.awk")));
    /* libc by the path that the program's interpreter asks for. */
    (void)snprintf(path, sizeof(path), "%s/lib/x86_64-linux-gnu/libc.so.6", in("out"));
    EXPECT(same_contents(path, "/lib/x86_64-linux-gnu/libc.so.6"));
    (void)snprintf(path, sizeof(path), "%s/etc/passwd", in("out"));
    EXPECT_EQ(access(path, R_OK), 0);
    (void)snprintf(path, sizeof(path), "%s/tmp", in("out"));
    struct stat info;
    EXPECT_EQ(stat(path, &info), 0);
    EXPECT(S_ISDIR(info.st_mode));
}

static void test_cache(void)
{
    const struct image_request request = {
        .folder = in("images"), .name = "", .program = "/bin/true", .cache_bytes = GIB};
    struct stat before;
    struct stat after;
    EXPECT_EQ(image_prepare(&request, &result), 0);
    EXPECT_EQ(stat(result.path, &before), 0);
    EXPECT_EQ(image_prepare(&request, &other), 0);
    EXPECT_STR(result.path, other.path);
    EXPECT_EQ(stat(other.path, &after), 0);
    EXPECT_EQ(before.st_ino, after.st_ino);
    /* The same inputs give the same bytes. */
    CHECK(rename(result.path, in("first.erofs")) == 0);
    EXPECT_EQ(image_prepare(&request, &other), 0);
    EXPECT(same_contents(in("first.erofs"), other.path));
    /* Another input gives another image. */
    const struct image_file files[] = {{in("data/one"), "/x"}};
    const struct image_request more = {.folder = in("images"),
                                       .name = "",
                                       .program = "/bin/true",
                                       .files = files,
                                       .file_count = 1,
                                       .cache_bytes = GIB};
    EXPECT_EQ(image_prepare(&more, &result), 0);
    EXPECT(strcmp(result.path, other.path) != 0);
}

static uint32_t images_in_cache(void)
{
    char command[300];
    (void)snprintf(command, sizeof(command), "ls %s | grep -c erofs", in("images/cache"));
    FILE *from = popen(command, "r");
    unsigned count = 0;
    CHECK(from != NULL);
    CHECK(fscanf(from, "%u", &count) == 1);
    (void)pclose(from);
    return count;
}

/* An image of its own for each number, as a launch makes it; its size is about 2 MiB. */
static void launch_image(uint32_t number, const char *link, uint64_t cache_bytes)
{
    char text[32];
    (void)snprintf(text, sizeof(text), "%u", number);
    CHECK(sys_write_file(in("number"), text, strlen(text)) == 0);
    struct image_file file = {.host_path = in("number"), .guest_path = "/number"};
    struct image_request request = {.folder = in("images"),
                                    .name = "",
                                    .program = "/bin/true",
                                    .files = &file,
                                    .file_count = 1,
                                    .link = link,
                                    .cache_bytes = cache_bytes};
    EXPECT_EQ(image_prepare(&request, &result), 0);
}

/* The least recently used goes first; what is in use stays, and so does its name in the cache. */
static void test_cache_is_bounded(void)
{
    uint32_t before = images_in_cache();
    launch_image(1, in("root-1"), UINT64_MAX);
    EXPECT_STR(result.path, in("root-1"));
    uint64_t bytes = result.bytes;
    EXPECT(bytes > MIB);
    launch_image(2, NULL, UINT64_MAX);
    launch_image(3, NULL, UINT64_MAX);
    char third[IMAGE_PATH_BYTES];
    (void)strcpy(third, result.path);
    EXPECT_EQ(images_in_cache(), before + 3);
    launch_image(2, NULL, UINT64_MAX); /* used again: now 3 is older */
    char second[IMAGE_PATH_BYTES];
    (void)strcpy(second, result.path);
    launch_image(4, NULL, 3 * bytes + bytes / 2);
    EXPECT_EQ(images_in_cache(), 3);
    EXPECT(access(second, R_OK) == 0);
    EXPECT(access(third, R_OK) < 0);
    launch_image(5, in("root-5"), 0);
    EXPECT_EQ(images_in_cache(), 2); /* 1 and 5 are in use */
    EXPECT(extract(in("root-1")));
    CHECK(unlink(in("root-1")) == 0);
    CHECK(unlink(in("root-5")) == 0);
    launch_image(6, NULL, 0);
    EXPECT_EQ(images_in_cache(), 0);
}

static void test_named(void)
{
    struct image_request request = {.folder = in("named"), .name = "tool", .program = "true"};
    struct image_info *list;
    EXPECT_EQ(image_build(&request, &result), 0);
    EXPECT_EQ(image_list(request.folder, &list), 1);
    EXPECT_STR(list[0].name, "tool");
    EXPECT_EQ(list[0].bytes, result.bytes);
    free(list);
    EXPECT_EQ(image_prepare(&request, &other), 0);
    EXPECT_STR(other.program, "/usr/bin/true");
    EXPECT_EQ(other.bytes, result.bytes);
    request.program = "sort";
    EXPECT_EQ(image_prepare(&request, &other), -EINVAL);
    EXPECT(strstr(other.error, "/usr/bin/true") != NULL);
    request.name = "nothing";
    EXPECT_EQ(image_prepare(&request, &other), -ENOENT);
    request.name = "../x";
    EXPECT_EQ(image_build(&request, &other), -EINVAL);
}

static void expect_refused(const char *program, const char *file, const char *part)
{
    const struct image_file files[] = {{file, "/f"}};
    const struct image_request request = {.folder = in("images"),
                                          .name = "",
                                          .program = program,
                                          .files = files,
                                          .file_count = file == NULL ? 0 : 1};
    EXPECT(image_prepare(&request, &result) < 0);
    if (strstr(result.error, part) == NULL) {
        printf("# said: %s\n", result.error);
    }
    EXPECT(strstr(result.error, part) != NULL);
}

static void test_refusals(void)
{
    expect_refused("no-such-program", NULL, "no such program");
    expect_refused("./x", NULL, "absolute path");
    expect_refused("/etc/passwd", NULL, "neither an ELF program nor a script");
    expect_refused("true", "/nonexistent/file", "/nonexistent/file");
    expect_refused("true", "relative", "absolute");
    expect_refused("true", "/dev/null", "neither a file nor a folder");
}

static void test_mkfs_missing(void)
{
    const struct image_request request = {
        .folder = in("missing"), .name = "", .program = "/bin/true"};
    char *before = strdup(getenv("PATH"));
    CHECK(setenv("PATH", "/nonexistent", 1) == 0);
    EXPECT(image_prepare(&request, &result) < 0);
    EXPECT(strstr(result.error, "apt-get install erofs-utils") != NULL);
    CHECK(setenv("PATH", before, 1) == 0);
    free(before);
}

/* A file for a place that is behind a link goes to where the link leads. */
static void test_plan_through_links(void)
{
    struct image_plan *plan;
    CHECK(image_plan_open(&plan) == 0);
    EXPECT_EQ(image_plan_mirror(plan, in("data/link")), 0);
    EXPECT(image_plan_find(plan, in("data/link")) != NULL);
    EXPECT_EQ(image_plan_find(plan, in("data/link"))->kind, IMAGE_LINK);
    EXPECT_EQ(image_plan_find(plan, in("data/sub/two"))->kind, IMAGE_FILE);
    EXPECT_EQ(image_plan_put(plan, in("data/one"), in("data/link")), 0);
    EXPECT_STR(image_plan_find(plan, in("data/sub/two"))->source, in("data/one"));
    EXPECT(image_plan_put(plan, in("data/one"), in("data/sub")) < 0);
    EXPECT(image_plan_put(plan, in("data"), "/") < 0);
    plan = image_plan_close(plan);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    make_inputs();
    TAP_RUN(test_contents);
    TAP_RUN(test_cache);
    TAP_RUN(test_cache_is_bounded);
    TAP_RUN(test_named);
    TAP_RUN(test_refusals);
    TAP_RUN(test_mkfs_missing);
    TAP_RUN(test_plan_through_links);
    image_stage_delete(folder);
    return tap_done();
}
