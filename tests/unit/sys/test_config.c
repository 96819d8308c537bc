/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/config.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/sys/sys.h"
#include "tests/tap.h"
#include "tests/unit/sys/capture.h"

struct values {
    const char *name;
    uint64_t size;
    uint64_t count;
    bool check;
    struct config_list labels;
};

struct fixture {
    struct values values;
    struct config_option options[5];
    struct config config;
    struct capture errors;
};

static void set_up(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->values.name = "mn0";
    f->values.size = 64 * MIB;
    const struct config_option options[] = {
        {"name", CONFIG_TEXT, &f->values.name, "NAME", "Its name."},
        {"slab-size", CONFIG_SIZE, &f->values.size, "SIZE", "Bytes of a slab (64M)."},
        {"count", CONFIG_NUMBER, &f->values.count, "N", "How many."},
        {"check", CONFIG_FLAG, &f->values.check, NULL, "Only check."},
        {"label", CONFIG_LIST, &f->values.labels, "KEY=VALUE", "A label."},
    };
    memcpy(f->options, options, sizeof(options));
    f->config = (struct config){.program = "dilos-test",
                                .summary = "Tests.",
                                .options = f->options,
                                .option_count = ARRAY_LEN(f->options)};
}

/* Loads with these arguments; messages are in f->errors.text. */
static int load(struct fixture *f, const char *default_path, int count,
                const char *const *arguments)
{
    char program[] = "dilos-test";
    char *argv[16] = {program};
    for (int i = 0; i < count; i++) {
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    }
    capture_begin(&f->errors, STDERR_FILENO);
    int error = config_load(&f->config, default_path, count + 1, argv);
    capture_end(&f->errors);
    return error;
}

#define LOAD(f, path, ...)                                                                         \
    load(f, path, (int)ARRAY_LEN(((const char *const[]){__VA_ARGS__})),                            \
         (const char *const[]){__VA_ARGS__})

static int apply(struct fixture *f, const char *text)
{
    capture_begin(&f->errors, STDERR_FILENO);
    int error = config_apply_text(&f->config, "f.conf", text, strlen(text));
    capture_end(&f->errors);
    return error;
}

static void test_flags(void)
{
    struct fixture f;
    set_up(&f);
    EXPECT_EQ(LOAD(&f, NULL, "--name", "mn1", "--slab-size=1M", "--check", "--label", "rack=a",
                   "--label=zone=b", "--count", "7"),
              0);
    EXPECT_STR(f.values.name, "mn1");
    EXPECT_EQ(f.values.size, MIB);
    EXPECT_EQ(f.values.count, 7);
    EXPECT(f.values.check);
    EXPECT_EQ(f.values.labels.count, 2);
    EXPECT_STR(f.values.labels.items[0], "rack=a");
    EXPECT_STR(f.values.labels.items[1], "zone=b");
    EXPECT_STR(f.errors.text, "");
    config_fini(&f.config);
}

static void test_file(void)
{
    struct fixture f;
    set_up(&f);
    EXPECT_EQ(apply(&f, "# a comment\n\n  name =  mn2  # behind\r\nslab-size=2M\n"
                        "check = yes\nlabel = a=b#c\nlabel = d\ncount=3"),
              0);
    EXPECT_STR(f.values.name, "mn2");
    EXPECT_EQ(f.values.size, 2 * MIB);
    EXPECT(f.values.check);
    EXPECT_EQ(f.values.count, 3);
    EXPECT_EQ(f.values.labels.count, 2);
    EXPECT_STR(f.values.labels.items[0], "a=b#c");
    config_fini(&f.config);
}

static void test_flags_win(void)
{
    struct fixture f;
    char path[] = "/tmp/dilos-config-XXXXXX";
    static const char text[] = "name = file\ncount = 1\nlabel = a\nlabel = b\n";
    int fd = mkstemp(path);
    CHECK(write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    (void)close(fd);
    set_up(&f);
    EXPECT_EQ(LOAD(&f, "/nonexistent", "--name", "flag", "--label", "c", "--config", path), 0);
    EXPECT_STR(f.values.name, "flag");
    EXPECT_EQ(f.values.count, 1);
    EXPECT_EQ(f.values.labels.count, 1);
    EXPECT_STR(f.values.labels.items[0], "c");
    config_fini(&f.config);
    set_up(&f);
    EXPECT_EQ(LOAD(&f, path, "--count=2"), 0); /* the default file, since there is one */
    EXPECT_STR(f.values.name, "file");
    EXPECT_EQ(f.values.count, 2);
    EXPECT_EQ(f.values.labels.count, 2);
    config_fini(&f.config);
    (void)unlink(path);
}

static void expect_bad_file(const char *text, const char *message)
{
    struct fixture f;
    set_up(&f);
    EXPECT_EQ(apply(&f, text), -EINVAL);
    if (strstr(f.errors.text, message) == NULL) {
        EXPECT_STR(f.errors.text, message);
    }
    EXPECT_EQ(f.values.size, 64 * MIB);
    config_fini(&f.config);
}

static void test_bad_files(void)
{
    expect_bad_file("\nslab-size = 12x\n", "f.conf:2: slab-size: \"12x\" is not a size");
    expect_bad_file("slab-size = 99999999T\n", "f.conf:1: slab-size: \"99999999T\" is too large");
    expect_bad_file("slabsize = 1\n", "f.conf:1: there is no setting \"slabsize\"");
    expect_bad_file("name\n", "f.conf:1: \"name\": expected \"name = value\"");
    expect_bad_file("check = maybe\n", "neither yes nor no");
    expect_bad_file("count = -1\n", "is not a number");
    expect_bad_file("= 1\n", "there is no setting \"\"");
}

static void test_bad_flags(void)
{
    struct fixture f;
    set_up(&f);
    EXPECT_EQ(LOAD(&f, NULL, "--nonsense"), -EINVAL);
    EXPECT(strstr(f.errors.text, "there is no flag --nonsense") != NULL);
    EXPECT_EQ(LOAD(&f, NULL, "positional"), -EINVAL);
    EXPECT(strstr(f.errors.text, "\"positional\" is not a flag") != NULL);
    EXPECT_EQ(LOAD(&f, NULL, "--slab-size"), -EINVAL);
    EXPECT(strstr(f.errors.text, "--slab-size needs a value (SIZE)") != NULL);
    EXPECT_EQ(LOAD(&f, NULL, "--config"), -EINVAL);
    EXPECT(strstr(f.errors.text, "--config needs a value (FILE)") != NULL);
    EXPECT_EQ(LOAD(&f, NULL, "--config", "/nonexistent"), -EINVAL);
    EXPECT(strstr(f.errors.text, "/nonexistent: No such file") != NULL);
    EXPECT_EQ(LOAD(&f, NULL, "--config", "/dev/zero"), -EINVAL);
    EXPECT(strstr(f.errors.text, "not a configuration file") != NULL);
    config_fini(&f.config);
}

static void test_zero_byte(void)
{
    struct fixture f;
    set_up(&f);
    capture_begin(&f.errors, STDERR_FILENO);
    EXPECT_EQ(config_apply_text(&f.config, "f.conf", "name\0= a\n", 9), -EINVAL);
    capture_end(&f.errors);
    EXPECT(strstr(f.errors.text, "zero byte") != NULL);
    config_fini(&f.config);
}

static void test_list_limit(void)
{
    struct fixture f;
    char text[CONFIG_LIST_MAX * 12 + 12] = "";
    set_up(&f);
    for (unsigned i = 0; i < CONFIG_LIST_MAX; i++) {
        strcat(text, "label = x\n");
    }
    EXPECT_EQ(apply(&f, text), 0);
    EXPECT_EQ(f.values.labels.count, CONFIG_LIST_MAX);
    EXPECT_EQ(apply(&f, "label = x\n"), -EINVAL);
    EXPECT(strstr(f.errors.text, "more than 64") != NULL);
    config_fini(&f.config);
}

static void test_help_and_version(void)
{
    struct fixture f;
    struct capture output;
    set_up(&f);
    capture_begin(&output, STDOUT_FILENO);
    EXPECT_EQ(LOAD(&f, NULL, "--count", "1", "--help"), 1);
    capture_end(&output);
    EXPECT(strstr(output.text, "--slab-size SIZE") != NULL);
    EXPECT(strstr(output.text, "Bytes of a slab (64M).") != NULL);
    capture_begin(&output, STDOUT_FILENO);
    EXPECT_EQ(LOAD(&f, NULL, "--version"), 1);
    capture_end(&output);
    EXPECT(strstr(output.text, "dilos-test 0.") != NULL);
    config_fini(&f.config);
}

int main(void)
{
    TAP_RUN(test_flags);
    TAP_RUN(test_file);
    TAP_RUN(test_flags_win);
    TAP_RUN(test_bad_files);
    TAP_RUN(test_bad_flags);
    TAP_RUN(test_zero_byte);
    TAP_RUN(test_list_limit);
    TAP_RUN(test_help_and_version);
    return tap_done();
}
