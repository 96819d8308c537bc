/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file tree above an image, against a model: the folder that the image was made from. Every
 * operation is done to both, with the same outcome and the same contents afterwards.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "computenode/unikernel/fs/file.h"
#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/fs/rootcache.h"
#include "computenode/unikernel/fs/walk.h"
#include "lib/base/bytes.h"
#include "tests/tap.h"
#include "tests/unit/unikernel/image.h"
#include "tests/unit/unikernel/standins.h"

#define PATH_BYTES  512
#define WRITE_BYTES 50000
#define FILE_BYTES  300000
#define STEP_COUNT  20000

static struct test_image image;
static struct erofs fs;
static uint64_t random_state = 1;
static const struct walk_identity root = {0, 0};

static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % limit;
}

static void make_folder(void)
{
    test_image_folder(&image);
    test_image_shell(
        "cd %s && mkdir -p a/a a/b b/c c && for n in 5 4096 9000 70000; do for f in a/a "
        "a/c b/a b/b c/d d; do [ -d $f ] || head -c $n /dev/urandom >> $f; done; done && "
        "ln -s a e && ln -s ../a/c b/e",
        image.folder);
}

/* A random path of one to three short components. */
static void random_path(char *to)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    uint32_t depth = 1 + random_below(3);
    to[0] = 0;
    for (uint32_t i = 0; i < depth; i++) {
        (void)snprintf(to + strlen(to), PATH_BYTES - strlen(to), "/%s", names[random_below(6)]);
    }
}

static void host_path(char *to, const char *path)
{
    (void)snprintf(to, PATH_BYTES, "%s%.400s", image.folder, path);
}

static int host_result(int rc)
{
    return rc < 0 ? -errno : 0;
}

/* ---- each operation on both sides ---- */

static int tree_create(const char *path, uint32_t mode, const char *target)
{
    struct walk w;
    struct node *n;
    struct node_creation how = {.mode = mode, .target = target};
    int rc = walk_path(node_root(), path, WALK_PARENT | WALK_NOFOLLOW, root, &w);
    if (rc != 0) {
        return rc;
    }
    rc = w.node != NULL ? -EEXIST : node_create(w.parent, w.name, w.name_length, &how, &n);
    if (rc == 0) {
        node_unref(n);
    }
    walk_end(&w);
    return rc;
}

static int tree_remove(const char *path, bool directory)
{
    struct walk w;
    int rc = walk_path(node_root(), path, WALK_PARENT | WALK_NOFOLLOW, root, &w);
    if (rc != 0) {
        return rc;
    }
    rc = w.node == NULL ? -ENOENT : node_remove(w.node, directory);
    walk_end(&w);
    return rc;
}

static int tree_rename(const char *from, const char *to)
{
    struct walk a, b;
    int rc = walk_path(node_root(), from, WALK_PARENT | WALK_NOFOLLOW, root, &a);
    if (rc != 0) {
        return rc;
    }
    rc = walk_path(node_root(), to, WALK_PARENT | WALK_NOFOLLOW, root, &b);
    if (rc == 0) {
        rc = a.node == NULL ? -ENOENT : node_rename(a.node, b.parent, b.name, b.name_length, false);
        walk_end(&b);
    }
    walk_end(&a);
    return rc;
}

static int tree_open(const char *path, struct node **ret)
{
    int rc = walk_node(node_root(), path, 0, root, ret);
    if (rc == 0 && !node_is(*ret, LX_S_IFREG)) {
        node_unref(*ret);
        return -EISDIR;
    }
    return rc;
}

static int host_open(const char *path)
{
    char full[PATH_BYTES];
    host_path(full, path);
    int fd = open(full, O_RDWR);
    return fd < 0 ? -errno : fd;
}

static void step_write(const char *path)
{
    static uint8_t bytes[WRITE_BYTES];
    struct node *n;
    uint64_t offset = random_below(FILE_BYTES - WRITE_BYTES);
    size_t length = 1 + random_below(random_below(4) == 0 ? WRITE_BYTES : 500);
    memset(bytes, (int)(1 + random_below(255)), length);
    int fd = host_open(path), rc = tree_open(path, &n);
    EXPECT_EQ(rc, fd < 0 ? fd : 0);
    if (fd >= 0 && rc == 0) {
        struct iobuf b = {.address = (uint64_t)(uintptr_t)bytes, .left = length};
        EXPECT_EQ(pwrite(fd, bytes, length, (off_t)offset), length);
        EXPECT_EQ(node_write(n, offset, &b), length);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc == 0) {
        node_unref(n);
    }
}

static void step_truncate(const char *path)
{
    struct node *n;
    uint64_t bytes = random_below(FILE_BYTES);
    int fd = host_open(path), rc = tree_open(path, &n);
    EXPECT_EQ(rc, fd < 0 ? fd : 0);
    if (fd >= 0 && rc == 0) {
        EXPECT_EQ(ftruncate(fd, (off_t)bytes), 0);
        EXPECT_EQ(node_truncate(n, bytes), 0);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc == 0) {
        node_unref(n);
    }
}

static void step_read(const char *path)
{
    static uint8_t mine[FILE_BYTES], theirs[FILE_BYTES];
    struct node *n;
    uint64_t offset = random_below(FILE_BYTES);
    size_t length = 1 + random_below(FILE_BYTES - 1);
    int fd = host_open(path), rc = tree_open(path, &n);
    EXPECT_EQ(rc, fd < 0 ? fd : 0);
    if (fd >= 0 && rc == 0) {
        struct iobuf b = {.address = (uint64_t)(uintptr_t)mine, .left = length};
        ssize_t want = pread(fd, theirs, length, (off_t)offset);
        EXPECT_EQ(node_read(n, offset, &b), want);
        EXPECT(want < 0 || memcmp(mine, theirs, (size_t)want) == 0);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc == 0) {
        node_unref(n);
    }
}

/* Every page of the file, as a mapping would read it. */
static void step_map(const char *path)
{
    static uint8_t page[PAGE_BYTES], theirs[PAGE_BYTES];
    struct node *n;
    int fd = host_open(path), rc = tree_open(path, &n);
    EXPECT_EQ(rc, fd < 0 ? fd : 0);
    for (uint64_t i = 0; fd >= 0 && rc == 0 && i * PAGE_BYTES < n->bytes; i++) {
        memset(theirs, 0, sizeof(theirs));
        EXPECT(pread(fd, theirs, sizeof(theirs), (off_t)(i * PAGE_BYTES)) > 0);
        EXPECT_EQ(n->backing.ops->read_page(&n->backing, i, page), 0);
        EXPECT(memcmp(page, theirs, sizeof(page)) == 0);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc == 0) {
        EXPECT_EQ(n->backing.ops->read_page(&n->backing, n->bytes / PAGE_BYTES + 1, page), -EFAULT);
        node_unref(n);
    }
}

struct names {
    uint32_t count;
    uint32_t hash; /* order does not matter */
};

static void names_add(struct names *names, const char *name, size_t length, unsigned type)
{
    uint32_t hash = type;
    for (size_t i = 0; i < length; i++) {
        hash = hash * 31 + (uint8_t)name[i];
    }
    names->count++;
    names->hash += hash * hash;
}

static int each_name(void *context, const struct node_entry *e)
{
    names_add(context, e->name, e->name_length, e->type);
    return 0;
}

static void step_list(const char *path)
{
    char full[PATH_BYTES];
    struct names mine = {0}, theirs = {0};
    struct node *n;
    host_path(full, path);
    DIR *dir = opendir(full);
    int error = dir == NULL ? -errno : 0;
    int rc = walk_node(node_root(), path, 0, root, &n);
    if (rc == 0) {
        rc = node_list(n, each_name, &mine);
        node_unref(n);
    }
    EXPECT_EQ(rc, error);
    for (struct dirent *d = dir == NULL ? NULL : readdir(dir); d != NULL; d = readdir(dir)) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0) {
            names_add(&theirs, d->d_name, strlen(d->d_name), d->d_type);
        }
    }
    if (dir != NULL) {
        (void)closedir(dir);
    }
    EXPECT_EQ(mine.count, theirs.count);
    EXPECT_EQ(mine.hash, theirs.hash);
}

static void step_readlink(const char *path)
{
    char full[PATH_BYTES], mine[PATH_BYTES] = "", theirs[PATH_BYTES] = "";
    struct node *n;
    host_path(full, path);
    ssize_t length = readlink(full, theirs, sizeof(theirs) - 1);
    int64_t want = length < 0 ? -errno : length;
    int64_t got = walk_node(node_root(), path, WALK_NOFOLLOW, root, &n);
    if (got == 0) {
        got = node_readlink(n, mine, sizeof(mine) - 1);
        node_unref(n);
    }
    EXPECT_EQ(got, want);
    EXPECT_STR(mine, theirs);
}

static void step_create(const char *path)
{
    char full[PATH_BYTES];
    host_path(full, path);
    int fd = open(full, O_CREAT | O_EXCL | O_RDWR, 0644);
    int want = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    EXPECT_EQ(tree_create(path, LX_S_IFREG | 0644, NULL), want);
}

static void step(void)
{
    char path[PATH_BYTES], other[PATH_BYTES], full[PATH_BYTES], full_other[PATH_BYTES];
    random_path(path);
    random_path(other);
    host_path(full, path);
    host_path(full_other, other);
    switch (random_below(14)) {
    case 0:
    case 1:
        step_create(path);
        break;
    case 2: {
        int want = host_result(mkdir(full, 0755));
        EXPECT_EQ(tree_create(path, LX_S_IFDIR | 0755, NULL), want);
        break;
    }
    case 3: {
        int want = host_result(symlink(other + 1, full));
        EXPECT_EQ(tree_create(path, LX_S_IFLNK | 0777, other + 1), want);
        break;
    }
    case 4: {
        int want = host_result(unlink(full));
        EXPECT_EQ(tree_remove(path, false), want);
        break;
    }
    case 5: {
        int want = host_result(rmdir(full));
        EXPECT_EQ(tree_remove(path, true), want);
        break;
    }
    case 6:
    case 7: {
        int want = host_result(rename(full, full_other));
        int got = tree_rename(path, other);
        /* Both name a cause; which comes first when several apply differs between systems. */
        EXPECT_EQ(got == 0, want == 0);
        break;
    }
    case 8:
    case 9:
        step_write(path);
        break;
    case 10:
        step_truncate(path);
        break;
    case 11:
        step_read(path);
        break;
    case 12:
        step_map(path);
        break;
    default:
        step_list(path);
        step_readlink(path);
        break;
    }
}

static void tree_start(void)
{
    const char *why = "";
    standins_root_set(image.bytes, image.length);
    fs = (struct erofs){.read = rootcache_read, .image_bytes = image.length};
    EXPECT_EQ(erofs_open(&fs, &why), 0);
    EXPECT_EQ(node_tree_init(&fs), 0);
}

static void test_model(void)
{
    tree_start();
    for (int i = 0; i < STEP_COUNT && tap_case_ok; i++) {
        step();
        if (!tap_case_ok) {
            printf("# step %d\n", i);
        }
    }
    node_tree_fini();
    EXPECT_EQ(standins_window_pages(), 0);
    EXPECT_EQ(content_used_pages(), 0);
}

static int create_file(const char *path, struct node **ret)
{
    int rc = tree_create(path, LX_S_IFREG | 0644, NULL);
    return rc != 0 ? rc : walk_node(node_root(), path, 0, root, ret);
}

static void test_removed_file_lives_while_open(void)
{
    struct node *n;
    char text[8] = "";
    tree_start();
    EXPECT_EQ(create_file("/new", &n), 0);
    struct iobuf b = {.address = (uint64_t)(uintptr_t) "abc", .left = 3};
    EXPECT_EQ(node_write(n, 0, &b), 3);
    EXPECT_EQ(tree_remove("/new", false), 0);
    b = (struct iobuf){.address = (uint64_t)(uintptr_t)text, .left = 8};
    EXPECT_EQ(node_read(n, 0, &b), 3);
    EXPECT_STR(text, "abc");
    EXPECT(standins_window_pages() > 0);
    node_unref(n);
    EXPECT_EQ(standins_window_pages(), 0);
    node_tree_fini();
}

static void test_contents_have_a_limit(void)
{
    struct node *n;
    static uint8_t bytes[8 * CONTENT_CHUNK_BYTES];
    tree_start();
    content_limit_set(4 * CONTENT_CHUNK_PAGES);
    EXPECT_EQ(create_file("/big", &n), 0);
    struct iobuf b = {.address = (uint64_t)(uintptr_t)bytes, .left = sizeof(bytes)};
    EXPECT_EQ(node_write(n, 0, &b), 4 * CONTENT_CHUNK_BYTES);
    EXPECT_EQ(node_write(n, n->bytes, &b), -ENOSPC);
    EXPECT_EQ(node_truncate(n, 0), 0);
    EXPECT_EQ(content_used_pages(), 0);
    node_unref(n);
    content_limit_set(UINT64_MAX);
    node_tree_fini();
}

static void test_links_in_a_circle(void)
{
    struct node *n;
    tree_start();
    EXPECT_EQ(tree_create("/x", LX_S_IFLNK | 0777, "y"), 0);
    EXPECT_EQ(tree_create("/y", LX_S_IFLNK | 0777, "/x"), 0);
    EXPECT_EQ(walk_node(node_root(), "/x", 0, root, &n), -ELOOP);
    EXPECT_EQ(walk_node(node_root(), "/x/z", 0, root, &n), -ELOOP);
    EXPECT_EQ(walk_node(node_root(), "/x", WALK_NOFOLLOW, root, &n), 0);
    node_unref(n);
    node_tree_fini();
}

/* A listing that is being read while names go away shows each exactly once. */
static void test_listing_while_removing(void)
{
    char path[PATH_BYTES], records[200];
    struct node *n;
    struct file *f;
    int seen = 0;
    tree_start();
    EXPECT_EQ(tree_create("/list", LX_S_IFDIR | 0755, NULL), 0);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(path, sizeof(path), "/list/%03d", i);
        EXPECT_EQ(tree_create(path, LX_S_IFREG | 0644, NULL), 0);
    }
    EXPECT_EQ(walk_node(node_root(), "/list", 0, root, &n), 0);
    EXPECT_EQ(file_open(n, LX_O_RDONLY, &f), 0);
    for (;;) {
        struct iobuf b = {.address = (uint64_t)(uintptr_t)records, .left = sizeof(records)};
        int64_t got = file_list(f, &b);
        for (int64_t at = 0; at < got; at += le16_load(records + at + 16)) {
            const char *name = records + at + 19;
            if (name[0] != '.') {
                (void)snprintf(path, sizeof(path), "/list/%s", name);
                EXPECT_EQ(tree_remove(path, false), 0);
                seen++;
            }
        }
        if (got <= 0) {
            EXPECT_EQ(got, 0);
            break;
        }
    }
    EXPECT_EQ(seen, 100);
    EXPECT_EQ(tree_remove("/list", true), 0);
    f->offset = 13; /* not where a record starts */
    struct iobuf b = {.address = (uint64_t)(uintptr_t)records, .left = sizeof(records)};
    EXPECT(file_list(f, &b) >= 0);
    file_unref(f);
    node_unref(n);
    node_tree_fini();
}

static void test_root_device_fails(void)
{
    struct node *n;
    char bytes[16];
    tree_start();
    standins_root_fail_after(0);
    int rc = walk_node(node_root(), "/a/c", 0, root, &n);
    struct iobuf b = {.address = (uint64_t)(uintptr_t)bytes, .left = sizeof(bytes)};
    int64_t got = rc == 0 ? node_read(n, 0, &b) : rc;
    EXPECT(got == -EIO || got == (int64_t)sizeof(bytes)); /* what is cached may still be read */
    if (rc == 0) {
        node_unref(n);
    }
    standins_root_fail_after(-1);
    node_tree_fini();
}

int main(void)
{
    make_folder();
    test_image_make(&image);
    standins_root_set(image.bytes, image.length);
    if (rootcache_init(8, image.length) != 0) {
        return 1;
    }
    int64_t before = standins_allocation_count();
    TAP_RUN(test_model);
    TAP_RUN(test_removed_file_lives_while_open);
    TAP_RUN(test_contents_have_a_limit);
    TAP_RUN(test_links_in_a_circle);
    TAP_RUN(test_listing_while_removing);
    TAP_RUN(test_root_device_fails);
    tap_case_ok = standins_allocation_count() == before;
    printf("%s %d - nothing leaks\n", tap_case_ok ? "ok" : "not ok", ++tap_case_count);
    tap_failed_count += tap_case_ok ? 0 : 1;
    test_image_end(&image);
    return tap_done();
}
