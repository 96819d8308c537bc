/* SPDX-License-Identifier: Apache-2.0 */
/* What programs of this machine need, compared with what the dynamic linker would load (ldd). */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "computenode/agent/elf_deps.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"

static char folder[] = "/tmp/dilos-elf-XXXXXX";
static char error[ELF_DEPS_ERROR_BYTES];

static bool same_file(const char *a, const char *b)
{
    struct stat x;
    struct stat y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static bool has(const struct elf_deps *deps, const char *path)
{
    for (uint32_t i = 0; i < deps->count; i++) {
        if (same_file(deps->paths[i], path)) {
            return true;
        }
    }
    return false;
}

/* One file may be there by two paths: the interpreter's, and the one that libc.so.6 asks for. */
static uint32_t count_files(const struct elf_deps *deps)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < deps->count; i++) {
        bool seen = false;
        for (uint32_t k = 0; k < i; k++) {
            seen = seen || same_file(deps->paths[i], deps->paths[k]);
        }
        count += seen ? 0 : 1;
    }
    return count;
}

/* Each file that ldd names is in the list, and nothing else is but the program and libgcc_s. */
static void compare(const char *program)
{
    char command[2048];
    char line[1024];
    uint32_t named = 0;
    bool threads = false; /* ldd names libgcc_s, which comes along in any case */
    struct elf_deps *deps = elf_deps_collect(program, error);
    EXPECT(deps != NULL);
    if (deps == NULL) {
        printf("# %s\n", error);
        return;
    }
    (void)snprintf(command, sizeof(command), "LC_ALL=C ldd %s 2>/dev/null", program);
    FILE *ldd = popen(command, "r");
    CHECK(ldd != NULL);
    while (fgets(line, sizeof(line), ldd) != NULL) {
        const char *path = strchr(line, '/');
        if (path != NULL) {
            line[strcspn(line, "\n")] = '\0';
            line[(size_t)(path - line) + strcspn(path, " ")] = '\0';
            named++;
            threads = threads || strstr(path, "libgcc_s.so.1") != NULL;
            EXPECT(has(deps, path));
        }
    }
    (void)pclose(ldd);
    EXPECT_EQ(count_files(deps), named + (threads ? 1 : 2));
    EXPECT_STR(deps->paths[0], program);
    free(deps);
}

static void test_programs(void)
{
    static const char *const names[] = {"gawk", "python3", "sort", "sqlite3", "perl", "lua5.4"};
    char path[ELF_DEPS_PATH_BYTES];
    uint32_t found = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (elf_deps_find_program(names[i], "/usr/bin:/bin", path) == 0) {
            compare(path);
            found++;
        }
    }
    EXPECT(found >= 2);
}

static const char *make(const char *name, const void *data, size_t bytes)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    CHECK(sys_write_file(path, data, bytes) == 0);
    CHECK(chmod(path, 0755) == 0);
    return path;
}

static void expect_error(const char *path, const char *part)
{
    error[0] = '\0';
    struct elf_deps *deps = elf_deps_collect(path, error);
    EXPECT(deps == NULL);
    if (strstr(error, part) == NULL) {
        printf("# said: %s\n", error);
    }
    EXPECT(strstr(error, part) != NULL);
    free(deps);
}

static void test_not_a_program(void)
{
    expect_error(make("text", "hello\n", 6), "neither an ELF program nor a script");
    expect_error("/nonexistent/x", "does not exist");
    expect_error(make("script", "#!/nonexistent/sh\n", 18), "the interpreter /nonexistent/sh");
    expect_error("/tmp", "neither an ELF");
}

static void test_other_machine(void)
{
    char *data;
    size_t bytes;
    EXPECT_EQ(sys_read_file("/bin/sh", 16 << 20, &data, &bytes), 0);
    le16_store(data + 18, 183);
    expect_error(make("arm", data, bytes), "is a program for aarch64");
    data[18] = 62;
    data[4] = 1;
    expect_error(make("small", data, bytes), "is a program for");
    expect_error(make("cut", data, 100), "is a");
    free(data);
}

/* A program whose library has another name in its strings than any that exists. */
static void test_missing_library(void)
{
    char *data;
    size_t bytes;
    EXPECT_EQ(sys_read_file("/bin/sh", 16 << 20, &data, &bytes), 0);
    char *name = memmem(data, bytes, "libc.so.6", 9);
    EXPECT(name != NULL);
    if (name != NULL) {
        memcpy(name, "libq.so.6", 9);
        expect_error(make("lacking", data, bytes), "library libq.so.6 of ");
        EXPECT(strstr(error, "/lib/x86_64-linux-gnu") != NULL);
    }
    free(data);
}

static void test_scripts(void)
{
    struct elf_deps *deps = elf_deps_collect(make("s", "#!/bin/sh -e\necho\n", 18), error);
    EXPECT(deps != NULL);
    if (deps != NULL) {
        EXPECT(has(deps, "/bin/sh"));
        EXPECT(deps->count >= 4); /* script, sh, ld.so, libc */
        free(deps);
    }
    deps = elf_deps_collect(make("e", "#!/usr/bin/env perl\n", 20), error);
    EXPECT(deps != NULL);
    if (deps != NULL) {
        EXPECT(has(deps, "/usr/bin/env"));
        EXPECT(has(deps, "/usr/bin/perl"));
        free(deps);
    }
    const char *self = make("self", "#!", 2);
    char text[300];
    int length = snprintf(text, sizeof(text), "#!%s\n", self);
    expect_error(make("self", text, (size_t)length), "too deeply");
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    TAP_RUN(test_programs);
    TAP_RUN(test_not_a_program);
    TAP_RUN(test_other_machine);
    TAP_RUN(test_missing_library);
    TAP_RUN(test_scripts);
    char command[64];
    (void)snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) == 0 ? tap_done() : 1;
}
