/* SPDX-License-Identifier: Apache-2.0 */
/* The EROFS reader against images that mkfs.erofs makes. */
#include "computenode/unikernel/fs/erofs.h"

#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"
#include "tests/unit/unikernel/image.h"

#define PATH_BYTES 2048

static struct test_image image;
static uint64_t read_count;

static int image_read(void *context, uint64_t offset, void *to, size_t bytes)
{
    struct test_image *t = context;
    read_count++;
    if (offset > t->length || bytes > t->length - offset) {
        tap_fail(__FILE__, __LINE__, "a read outside of the image");
        return -EIO;
    }
    memcpy(to, t->bytes + offset, bytes);
    return 0;
}

static int open_image(struct test_image *t, struct erofs *fs, const char **why)
{
    *fs = (struct erofs){.read = image_read, .context = t, .image_bytes = t->length};
    return erofs_open(fs, why);
}

/* Files around every border of blocks and inline tails, deep folders, long names, links. */
static void make_folder(void)
{
    test_image_folder(&image);
    test_image_shell("cd %s && mkdir -p a/b/c/d/e many && for n in 0 1 63 64 1000 3000 4031 4032 "
                     "4033 4095 4096 4097 8191 8192 8193 70000 1000000; do head -c $n /dev/urandom "
                     "> a/b/size-$n; done",
                     image.folder);
    test_image_shell(
        "cd %s/many && seq 1 700 | sed 's/^/a-name-that-is-fairly-long-/' | xargs touch",
        image.folder);
    test_image_shell("cd %s && ln -s a/b link && ln -s /very/long/$(printf '%%0900d' 0) far && "
                     "touch a/$(printf '%%0200d' 7) && chmod 4751 a/b/size-1000 && ln a/b/size-64 "
                     "hard",
                     image.folder);
}

static void compare_file(const struct erofs *fs, const struct erofs_inode *inode, const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *mine = malloc(inode->bytes + 1), *theirs = malloc(inode->bytes + 1);
    EXPECT(file != NULL);
    EXPECT_EQ(erofs_read(fs, inode, 0, mine, inode->bytes), 0);
    EXPECT_EQ(fread(theirs, 1, inode->bytes + 1, file), inode->bytes);
    EXPECT(memcmp(mine, theirs, inode->bytes) == 0);
    (void)fclose(file);
    free(mine);
    free(theirs);
}

static void compare_link(const struct erofs *fs, const struct erofs_inode *inode, const char *path)
{
    char mine[PATH_BYTES] = "", theirs[PATH_BYTES] = "";
    EXPECT(readlink(path, theirs, sizeof(theirs) - 1) > 0);
    EXPECT_EQ(erofs_read(fs, inode, 0, mine, inode->bytes), 0);
    EXPECT_STR(mine, theirs);
}

static int count_entry(void *context, const struct erofs_entry *entry)
{
    ++*(int *)context;
    return 0;
}

static void compare_tree(const struct erofs *fs, uint64_t nid, const char *path);

static void compare_folder(const struct erofs *fs, const struct erofs_inode *inode,
                           const char *path)
{
    int mine = 0, theirs = 0;
    char child[PATH_BYTES];
    DIR *dir = opendir(path);
    EXPECT(dir != NULL);
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        uint64_t nid = 0;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) {
            continue;
        }
        theirs++;
        EXPECT_EQ(erofs_lookup(fs, inode, d->d_name, strlen(d->d_name), &nid), 0);
        (void)snprintf(child, sizeof(child), "%.1000s/%s", path, d->d_name);
        compare_tree(fs, nid, child);
    }
    (void)closedir(dir);
    EXPECT_EQ(erofs_list(fs, inode, count_entry, &mine), 0);
    EXPECT_EQ(mine, theirs);
}

static void compare_tree(const struct erofs *fs, uint64_t nid, const char *path)
{
    struct erofs_inode inode;
    struct stat st;
    EXPECT_EQ(lstat(path, &st), 0);
    int rc = erofs_inode_read(fs, nid, &inode);
    EXPECT_EQ(rc, 0);
    if (rc != 0) {
        return;
    }
    EXPECT_EQ(inode.mode, st.st_mode);
    EXPECT_EQ(inode.uid, st.st_uid);
    EXPECT_EQ(inode.mtime_s, st.st_mtim.tv_sec);
    if (S_ISDIR(st.st_mode)) {
        compare_folder(fs, &inode, path);
        return;
    }
    EXPECT_EQ(inode.bytes, st.st_size);
    EXPECT_EQ(inode.link_count, st.st_nlink);
    if (S_ISREG(st.st_mode)) {
        compare_file(fs, &inode, path);
    } else {
        compare_link(fs, &inode, path);
    }
}

static void test_everything_reads_the_same(void)
{
    struct erofs fs;
    const char *why = "";
    EXPECT_EQ(open_image(&image, &fs, &why), 0);
    compare_tree(&fs, fs.root_nid, image.folder);
}

static void test_names_that_are_not_there(void)
{
    struct erofs fs;
    struct erofs_inode root, many;
    uint64_t nid;
    const char *why;
    EXPECT_EQ(open_image(&image, &fs, &why), 0);
    EXPECT_EQ(erofs_inode_read(&fs, fs.root_nid, &root), 0);
    EXPECT_EQ(erofs_lookup(&fs, &root, "b", 1, &nid), -ENOENT);
    EXPECT_EQ(erofs_lookup(&fs, &root, "", 0, &nid), -ENOENT);
    EXPECT_EQ(erofs_lookup(&fs, &root, "zzz", 3, &nid), -ENOENT);
    EXPECT_EQ(erofs_lookup(&fs, &root, "many", 4, &nid), 0);
    EXPECT_EQ(erofs_inode_read(&fs, nid, &many), 0);
    EXPECT_EQ(erofs_lookup(&fs, &many, "a-name-that-is-fairly-long-", 27, &nid), -ENOENT);
    EXPECT_EQ(erofs_lookup(&fs, &many, "a-name-that-is-fairly-long-3501", 31, &nid), -ENOENT);
    EXPECT_EQ(erofs_lookup(&fs, &many, "0", 1, &nid), -ENOENT);
    EXPECT_EQ(erofs_lookup(&fs, &root, "hard", 4, &nid), 0);
    EXPECT_EQ(erofs_inode_read(&fs, nid, &root), 0);
    EXPECT_EQ(erofs_lookup(&fs, &root, "x", 1, &nid), -ENOTDIR);
}

static void expect_open_error(size_t at, uint8_t change, int error, const char *part)
{
    struct erofs fs;
    const char *why = "";
    image.bytes[at] ^= change;
    EXPECT_EQ(open_image(&image, &fs, &why), error);
    EXPECT(strstr(why, part) != NULL);
    image.bytes[at] ^= change;
}

static void test_bad_superblocks(void)
{
    struct test_image cut = image;
    struct erofs fs;
    const char *why;
    expect_open_error(1024, 1, -EUCLEAN, "magic");
    expect_open_error(1024 + 12, 1, -ENOTSUP, "4 KiB");
    expect_open_error(1024 + 80, 2, -ENOTSUP, "compression");
    expect_open_error(1024 + 80, 4, -ENOTSUP, "chunks");
    expect_open_error(1024 + 14, 1, -EUCLEAN, "checksum");
    expect_open_error(1024 + 200, 1, -EUCLEAN, "checksum");
    cut.length = image.length - 4096;
    EXPECT_EQ(open_image(&cut, &fs, &why), -EUCLEAN);
    cut.length = 100;
    EXPECT_EQ(open_image(&cut, &fs, &why), -EUCLEAN);
}

static int walk_entry(void *context, const struct erofs_entry *entry);

struct walk_state {
    const struct erofs *fs;
    int budget;
};

static void walk_everything(const struct erofs *fs, uint64_t nid, int *budget)
{
    struct erofs_inode inode;
    uint8_t piece[512];
    struct walk_state state = {fs, *budget};
    if (--state.budget < 0 || erofs_inode_read(fs, nid, &inode) != 0) {
        *budget = state.budget;
        return;
    }
    for (uint64_t at = 0; at < inode.bytes && at < 65536; at += sizeof(piece)) {
        size_t part = inode.bytes - at < sizeof(piece) ? inode.bytes - at : sizeof(piece);
        (void)!erofs_read(fs, &inode, at, piece, part);
    }
    (void)!erofs_list(fs, &inode, walk_entry, &state);
    *budget = state.budget;
}

static int walk_entry(void *context, const struct erofs_entry *entry)
{
    struct walk_state *state = context;
    walk_everything(state->fs, entry->nid, &state->budget);
    return state->budget <= 0 ? 1 : 0;
}

/* Metadata with random bytes changed: errors or other contents, never a read outside (image_read
 * and the sanitizers watch). */
static void test_corrupt_metadata(void)
{
    uint8_t *original = malloc(image.length);
    uint64_t random = 12345;
    memcpy(original, image.bytes, image.length);
    for (int round = 0; round < 300; round++) {
        struct erofs fs = {.read = image_read, .context = &image, .image_bytes = image.length};
        const char *why;
        image.bytes[1024 + 8] &= 0xfe; /* no checksum, so that changes pass */
        for (int i = 0; i < 20; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            image.bytes[1152 + (random >> 20) % 60000] = (uint8_t)(random >> 56);
        }
        int budget = 300;
        if (erofs_open(&fs, &why) == 0) {
            walk_everything(&fs, fs.root_nid, &budget);
        }
        memcpy(image.bytes, original, image.length);
    }
    free(original);
    EXPECT(read_count > 1000);
}

int main(void)
{
    make_folder();
    test_image_make(&image);
    TAP_RUN(test_everything_reads_the_same);
    TAP_RUN(test_names_that_are_not_there);
    TAP_RUN(test_bad_superblocks);
    TAP_RUN(test_corrupt_metadata);
    test_image_end(&image);
    return tap_done();
}
