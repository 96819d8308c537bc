/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "tests/tap.h"

static char folder[] = "/tmp/dilos-sys-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void test_files(void)
{
    static char large[10000];
    char *text = NULL;
    size_t bytes = 0;
    memset(large, 'y', sizeof(large));
    EXPECT_EQ(sys_write_file(in_folder("f"), "abc", 3), 0);
    EXPECT_EQ(sys_write_file(in_folder("f"), large, sizeof(large)), 0);
    EXPECT_EQ(sys_read_file(in_folder("f"), sizeof(large), &text, &bytes), 0);
    EXPECT_EQ(bytes, sizeof(large));
    EXPECT_EQ(memcmp(text, large, sizeof(large)), 0);
    EXPECT_EQ(text[bytes], '\0');
    free(text);
    text = NULL;
    EXPECT_EQ(sys_read_file(in_folder("f"), sizeof(large) - 1, &text, &bytes), -EFBIG);
    EXPECT(text == NULL);
    EXPECT_EQ(sys_read_file(in_folder("none"), 10, &text, &bytes), -ENOENT);
    EXPECT_EQ(sys_read_file(folder, 10, &text, &bytes), -EISDIR);
    EXPECT_EQ(sys_write_file(in_folder("none/f"), "abc", 3), -ENOENT);
    EXPECT_EQ(sys_read_file("/proc/self/stat", 65536, &text, &bytes), 0);
    EXPECT(bytes > 20);
    free(text);
    (void)unlink(in_folder("f"));
}

static void test_folders(void)
{
    struct stat status;
    EXPECT_EQ(sys_make_folders(in_folder("a/b//c/")), 0);
    EXPECT_EQ(sys_make_folders(in_folder("a/b/c")), 0);
    EXPECT_EQ(stat(in_folder("a/b/c"), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700);
    EXPECT_EQ(sys_write_file(in_folder("a/file"), "", 0), 0);
    EXPECT_EQ(sys_make_folders(in_folder("a/file")), -ENOTDIR);
    EXPECT_EQ(sys_make_folders(in_folder("a/file/x")), -ENOTDIR);
    EXPECT_EQ(sys_make_folders(""), -ENOENT);
    (void)unlink(in_folder("a/file"));
    (void)rmdir(in_folder("a/b/c"));
    (void)rmdir(in_folder("a/b"));
    (void)rmdir(in_folder("a"));
}

static void test_lock(void)
{
    int fd = -1;
    int other = -1;
    int pid = 0;
    EXPECT_EQ(sys_write_file(in_folder("lock"), "999999999999\n", 13), 0); /* stale */
    EXPECT_EQ(sys_lock_file(in_folder("lock"), &fd, &pid), 0);
    EXPECT(fd >= 0);
    EXPECT_EQ(sys_lock_file(in_folder("lock"), &other, &pid), -EWOULDBLOCK);
    EXPECT_EQ(pid, getpid());
    EXPECT_EQ(other, -1);
    sys_close(&fd);
    EXPECT_EQ(fd, -1);
    EXPECT_EQ(sys_lock_file(in_folder("lock"), &fd, &pid), 0);
    sys_close(&fd);
    EXPECT_EQ(sys_lock_file(in_folder("none/lock"), &fd, &pid), -ENOENT);
    (void)unlink(in_folder("lock"));
}

static void test_lock_of_a_dead_process(void)
{
    int fd = -1;
    int pid = 0;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        _exit(sys_lock_file(in_folder("lock"), &fd, &pid) == 0 ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(sys_lock_file(in_folder("lock"), &fd, &pid), 0);
    sys_close(&fd);
    (void)unlink(in_folder("lock"));
}

static void test_ids(void)
{
    char a[SYS_ID_BYTES];
    char b[SYS_ID_BYTES];
    sys_random_id(a);
    sys_random_id(b);
    EXPECT_EQ(strlen(a), 32);
    EXPECT_EQ(strspn(a, "0123456789abcdef"), 32);
    EXPECT(strcmp(a, b) != 0);
    sys_host_id(a);
    sys_host_id(b);
    EXPECT_EQ(strlen(a), 32);
    EXPECT_STR(a, b);
    EXPECT(memcmp(a, a + 16, 16) != 0);
}

static void test_host_name(void)
{
    char name[SYS_NAME_BYTES];
    sys_host_name(name, "otherwise");
    EXPECT(text_is_name(name));
}

static void test_clocks(void)
{
    uint64_t before = sys_monotonic_ns();
    EXPECT(sys_monotonic_ns() >= before);
    EXPECT(sys_realtime_ns() > UINT64_C(1700000000) * 1000000000);
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    TAP_RUN(test_files);
    TAP_RUN(test_folders);
    TAP_RUN(test_lock);
    TAP_RUN(test_lock_of_a_dead_process);
    TAP_RUN(test_ids);
    TAP_RUN(test_host_name);
    TAP_RUN(test_clocks);
    (void)rmdir(folder);
    return tap_done();
}
