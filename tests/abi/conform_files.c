/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/abi/conform.h"

#include <dirent.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>

static char folder[] = "/tmp/dilos-conform-XXXXXX";

static int make(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_TRUNC | O_RDWR, 0644);
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, text, strlen(text)), (long)strlen(text));
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void expect_content(const char *name, const char *text)
{
    char got[200] = "";
    int fd = open(name, O_RDONLY);
    EXPECT(read(fd, got, sizeof(got) - 1) >= 0);
    EXPECT_STR(got, text);
    EXPECT_EQ(close(fd), 0);
}

static void test_open_flags(void)
{
    EXPECT_ERRNO(open("none", O_RDONLY), ENOENT);
    int fd = open("o", O_CREAT | O_EXCL | O_WRONLY, 0640);
    EXPECT(fd >= 0);
    EXPECT_ERRNO(open("o", O_CREAT | O_EXCL | O_WRONLY, 0640), EEXIST);
    EXPECT_ERRNO(read(fd, &fd, 1), EBADF);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    EXPECT_EQ(close(fd), 0);
    EXPECT_ERRNO(close(fd), EBADF);
    fd = open("o", O_RDONLY);
    EXPECT_ERRNO(write(fd, "x", 1), EBADF);
    EXPECT_EQ(close(fd), 0);
    fd = open("o", O_WRONLY | O_APPEND);
    EXPECT_EQ(pwrite(fd, "", 0, 0), 0);
    EXPECT_EQ(write(fd, "+", 1), 1);
    EXPECT_EQ(close(fd), 0);
    expect_content("o", "hello+");
    EXPECT_ERRNO(open("o", O_RDONLY | O_DIRECTORY), ENOTDIR);
    EXPECT_ERRNO(open(".", O_WRONLY), EISDIR);
    EXPECT_ERRNO(open("o/x", O_RDONLY), ENOTDIR);
    EXPECT_ERRNO(open("", O_RDONLY), ENOENT);
    EXPECT_EQ(close(open("o", O_RDWR | O_TRUNC)), 0);
    expect_content("o", "");
    EXPECT_EQ(unlink("o"), 0);
    EXPECT_ERRNO(unlink("o"), ENOENT);
}

static void test_lowest_descriptor(void)
{
    int a = dup(0), b = dup(0);
    EXPECT_EQ(b, a + 1);
    EXPECT_EQ(close(a), 0);
    EXPECT_EQ(dup(0), a);
    EXPECT_EQ(fcntl(0, F_DUPFD, 50), 50);
    EXPECT_EQ(fcntl(0, F_DUPFD_CLOEXEC, 50), 51);
    EXPECT_EQ(fcntl(50, F_GETFD), 0);
    EXPECT_EQ(fcntl(51, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(dup2(50, 60), 60);
    EXPECT_EQ(dup2(60, 60), 60);
    EXPECT_ERRNO(dup3(60, 60, 0), EINVAL);
    EXPECT_ERRNO(dup2(99, 60), EBADF);
    EXPECT_ERRNO(dup2(50, -1), EBADF);
    int fds[] = {a, b, 50, 51, 60};
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(close(fds[i]), 0);
    }
}

static void test_shared_offset_of_dup(void)
{
    char c;
    int fd = make("dup", "abcdef"), other = dup(fd);
    EXPECT_EQ(read(fd, &c, 1), 1);
    EXPECT_EQ(read(other, &c, 1), 1);
    EXPECT_EQ(c, 'b');
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
    EXPECT_EQ(fcntl(fd, F_SETFL, O_APPEND), 0);
    EXPECT(fcntl(other, F_GETFL) & O_APPEND);
    EXPECT_EQ(fcntl(other, F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_EQ(close(fd) | close(other) | unlink("dup"), 0);
}

static void test_seek_and_holes(void)
{
    char bytes[8192];
    struct stat st;
    int fd = make("hole", "start");
    EXPECT_EQ(lseek(fd, 100000, SEEK_SET), 100000);
    EXPECT_EQ(write(fd, "end", 3), 3);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, 100003);
    memset(bytes, 'x', sizeof(bytes));
    EXPECT_EQ(pread(fd, bytes, sizeof(bytes), 2), (long)sizeof(bytes));
    EXPECT(memcmp(bytes, "art\0\0", 5) == 0);
    EXPECT_EQ(bytes[8191], 0);
    EXPECT_EQ(pread(fd, bytes, 10, 100000), 3);
    EXPECT_EQ(pread(fd, bytes, 10, 100003), 0);
    EXPECT_ERRNO(lseek(fd, -1, SEEK_SET), EINVAL);
    EXPECT_ERRNO(lseek(fd, 0, 77), EINVAL);
    EXPECT_EQ(lseek(fd, -3, SEEK_END), 100000);
    EXPECT_ERRNO(lseek(fd, 200000, SEEK_DATA), ENXIO);
    EXPECT_ERRNO(pread(fd, bytes, 1, -1), EINVAL);
    EXPECT_EQ(ftruncate(fd, 3), 0);
    EXPECT_EQ(ftruncate(fd, 6), 0);
    EXPECT_EQ(pread(fd, bytes, 10, 0), 6);
    EXPECT(memcmp(bytes, "sta\0\0\0", 6) == 0);
    EXPECT_ERRNO(ftruncate(fd, -1), EINVAL);
    EXPECT_EQ(close(fd) | unlink("hole"), 0);
}

static void test_vectors(void)
{
    char a[4] = "", b[4] = "";
    struct iovec out[3] = {
        {(void *)(uintptr_t) "ab", 2}, {NULL, 0}, {(void *)(uintptr_t) "cde", 3}};
    struct iovec in[2] = {{a, 3}, {b, 3}};
    int fd = make("vector", "");
    EXPECT_EQ(writev(fd, out, 3), 5);
    EXPECT_EQ(preadv(fd, in, 2, 0), 5);
    EXPECT_STR(a, "abc");
    EXPECT_STR(b, "de");
    EXPECT_EQ(pwritev(fd, out, 1, 3), 2);
    EXPECT_EQ(pread(fd, a, 3, 2), 3);
    EXPECT_STR(a, "cab");
    EXPECT_ERRNO(writev(fd, out, -1), EINVAL);
    EXPECT_ERRNO(readv(fd, in, 100000), EINVAL);
    EXPECT_EQ(close(fd) | unlink("vector"), 0);
}

static void test_bad_pointers(void)
{
    int fd = make("fault", "0123456789");
    EXPECT_ERRNO(read(fd, (void *)8, 4), EFAULT);
    EXPECT_ERRNO(write(fd, (void *)8, 4), EFAULT);
    EXPECT_ERRNO(open((char *)8, O_RDONLY), EFAULT);
    EXPECT_ERRNO(stat("fault", (struct stat *)8), EFAULT);
    EXPECT_ERRNO(read(fd, (void *)0xffff800000000000, 4), EFAULT);
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(munmap(two + PAGE, PAGE), 0);
    memset(two + PAGE - 3, 'x', 3);
    EXPECT_ERRNO(open(two + PAGE - 3, O_RDONLY), EFAULT);
    EXPECT_EQ(munmap(two, PAGE), 0);
    EXPECT_EQ(close(fd) | unlink("fault"), 0);
}

static void test_directories(void)
{
    char cwd[200], was[200];
    EXPECT_EQ(mkdir("dir", 0755), 0);
    EXPECT_ERRNO(mkdir("dir", 0755), EEXIST);
    EXPECT_ERRNO(mkdir("none/dir", 0755), ENOENT);
    EXPECT_EQ(mkdir("dir/sub/", 0700), 0);
    EXPECT_ERRNO(rmdir("dir"), ENOTEMPTY);
    EXPECT_ERRNO(unlink("dir"), EISDIR);
    EXPECT(getcwd(was, sizeof(was)) != NULL);
    EXPECT_EQ(chdir("dir/sub"), 0);
    EXPECT(getcwd(cwd, sizeof(cwd)) != NULL);
    EXPECT(strcmp(cwd + strlen(was), "/dir/sub") == 0);
    EXPECT_ERRNO(syscall(SYS_getcwd, cwd, 3), ERANGE);
    EXPECT_EQ(chdir("../.."), 0);
    int fd = open("dir", O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(mkdirat(fd, "other", 0755), 0);
    EXPECT_EQ(faccessat(fd, "other", R_OK, 0), 0);
    EXPECT_EQ(unlinkat(fd, "other", AT_REMOVEDIR), 0);
    EXPECT_EQ(fchdir(fd), 0);
    EXPECT_EQ(rmdir("sub"), 0);
    EXPECT_EQ(chdir(was), 0);
    EXPECT_ERRNO(read(fd, cwd, 1), EISDIR);
    EXPECT_EQ(close(fd) | rmdir("dir"), 0);
    EXPECT_ERRNO(rmdir("dir"), ENOENT);
    EXPECT_ERRNO(chdir("dir"), ENOENT);
}

static void test_list(void)
{
    char name[40];
    int seen = 0, dots = 0;
    EXPECT_EQ(mkdir("list", 0755), 0);
    for (int i = 0; i < 300; i++) {
        (void)snprintf(name, sizeof(name), "list/entry-%d", i);
        EXPECT_EQ(close(open(name, O_CREAT | O_WRONLY, 0600)), 0);
    }
    DIR *dir = opendir("list");
    for (struct dirent *d = readdir(dir); d != NULL; d = readdir(dir)) {
        if (d->d_name[0] == '.') {
            dots++;
            continue;
        }
        EXPECT_EQ(d->d_type, DT_REG);
        EXPECT_EQ(unlinkat(dirfd(dir), d->d_name, 0), 0);
        seen++;
    }
    EXPECT_EQ(seen, 300);
    EXPECT_EQ(dots, 2);
    rewinddir(dir);
    seen = 0;
    while (readdir(dir) != NULL) {
        seen++;
    }
    EXPECT_EQ(seen, 2);
    EXPECT_EQ(closedir(dir) | rmdir("list"), 0);
}

static void test_rename(void)
{
    EXPECT_EQ(close(make("from", "from")) | close(make("to", "to")), 0);
    EXPECT_EQ(rename("from", "to"), 0);
    expect_content("to", "from");
    EXPECT_ERRNO(access("from", F_OK), ENOENT);
    EXPECT_ERRNO(rename("from", "to"), ENOENT);
    EXPECT_EQ(mkdir("a", 0755) | mkdir("a/b", 0755) | mkdir("c", 0755), 0);
    EXPECT_ERRNO(rename("a", "a/b/d"), EINVAL);
    EXPECT_ERRNO(rename("to", "a"), EISDIR);
    EXPECT_ERRNO(rename("a", "to"), ENOTDIR);
    EXPECT_ERRNO(rename("c", "a"), ENOTEMPTY);
    EXPECT_EQ(rename("a", "c"), 0);
    EXPECT_EQ(rename("to", "c/b/to"), 0);
    EXPECT_ERRNO(syscall(SYS_renameat2, AT_FDCWD, "c/b/to", AT_FDCWD, "c", RENAME_NOREPLACE),
                 EEXIST);
    expect_content("c/b/to", "from");
    EXPECT_EQ(unlink("c/b/to") | rmdir("c/b") | rmdir("c"), 0);
}

static void test_symlinks(void)
{
    char target[100] = "";
    struct stat st;
    EXPECT_EQ(close(make("real", "text")), 0);
    EXPECT_EQ(symlink("real", "link"), 0);
    EXPECT_ERRNO(symlink("real", "link"), EEXIST);
    expect_content("link", "text");
    EXPECT_EQ(readlink("link", target, sizeof(target)), 4);
    EXPECT_STR(target, "real");
    EXPECT_EQ(readlink("link", target, 2), 2);
    EXPECT_ERRNO(readlink("real", target, 10), EINVAL);
    EXPECT_EQ(lstat("link", &st), 0);
    EXPECT(S_ISLNK(st.st_mode));
    EXPECT_EQ(st.st_size, 4);
    EXPECT_EQ(stat("link", &st), 0);
    EXPECT(S_ISREG(st.st_mode));
    EXPECT_ERRNO(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    EXPECT_EQ(symlink("loop", "loop"), 0);
    EXPECT_ERRNO(open("loop", O_RDONLY), ELOOP);
    EXPECT_EQ(symlink("made", "dangling"), 0);
    EXPECT_EQ(close(open("dangling", O_CREAT | O_WRONLY, 0644)), 0);
    EXPECT_EQ(access("made", F_OK), 0);
    EXPECT_EQ(
        unlink("link") | unlink("real") | unlink("loop") | unlink("dangling") | unlink("made"), 0);
}

static void test_stat(void)
{
    struct stat st, other;
    struct statx stx;
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    int fd = make("stat", "12345");
    EXPECT_EQ(fchmod(fd, 04751), 0);
    EXPECT_EQ(futimens(fd, times), 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_mode, S_IFREG | 04751);
    EXPECT_EQ(st.st_size, 5);
    EXPECT_EQ(st.st_nlink, 1);
    EXPECT_EQ(st.st_uid, getuid());
    EXPECT_EQ(st.st_atim.tv_sec, 1000);
    EXPECT_EQ(st.st_mtim.tv_nsec, 7);
    EXPECT_EQ(stat("stat", &other), 0);
    EXPECT_EQ(st.st_ino, other.st_ino);
    EXPECT_EQ(st.st_dev, other.st_dev);
    EXPECT_EQ(statx(AT_FDCWD, "stat", 0, STATX_BASIC_STATS, &stx), 0);
    EXPECT_EQ(stx.stx_mode, S_IFREG | 04751);
    EXPECT_EQ(stx.stx_ino, st.st_ino);
    EXPECT_EQ(stx.stx_mtime.tv_sec, 2000);
    EXPECT_EQ(fstatat(fd, "", &other, AT_EMPTY_PATH), 0);
    EXPECT_EQ(other.st_ino, st.st_ino);
    EXPECT_EQ(mkdir("statdir", 0755) | mkdir("statdir/sub", 0755) | stat("statdir", &st), 0);
    EXPECT(S_ISDIR(st.st_mode));
    EXPECT_EQ(st.st_nlink, 3);
    EXPECT_EQ(umask(077), 022);
    EXPECT_EQ(umask(022), 077);
    EXPECT_ERRNO(stat("statdir/none", &st), ENOENT);
    EXPECT_EQ(rmdir("statdir/sub") | rmdir("statdir") | close(fd) | unlink("stat"), 0);
}

static void test_removed_while_open(void)
{
    char c;
    struct stat st;
    int fd = make("gone", "still here");
    EXPECT_EQ(unlink("gone"), 0);
    EXPECT_EQ(pread(fd, &c, 1, 6), 1);
    EXPECT_EQ(c, 'h');
    EXPECT_EQ(write(fd, "S", 1), 1);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_EQ(close(fd), 0);
}

static void test_devices(void)
{
    char bytes[100];
    int zero = open("/dev/zero", O_RDONLY), null = open("/dev/null", O_RDWR);
    int full = open("/dev/full", O_WRONLY), random = open("/dev/urandom", O_RDONLY);
    memset(bytes, 'x', sizeof(bytes));
    EXPECT_EQ(read(zero, bytes, 100), 100);
    EXPECT_EQ(bytes[99], 0);
    EXPECT_EQ(read(null, bytes, 100), 0);
    EXPECT_EQ(write(null, bytes, 100), 100);
    EXPECT_ERRNO(write(full, bytes, 1), ENOSPC);
    EXPECT_EQ(read(random, bytes, 100), 100);
    int set = 0;
    for (int i = 0; i < 100; i++) {
        set += bytes[i] != 0;
    }
    EXPECT(set > 50);
    EXPECT_ERRNO(ioctl(null, TCGETS, bytes), ENOTTY);
    EXPECT_EQ(close(zero) | close(null) | close(full) | close(random), 0);
}

static void test_pipe(void)
{
    int fds[2];
    char bytes[10];
    struct pollfd p;
    EXPECT_EQ(pipe2(fds, O_CLOEXEC), 0);
    p = (struct pollfd){.fd = fds[0], .events = POLLIN};
    EXPECT_EQ(poll(&p, 1, 0), 0);
    EXPECT_EQ(write(fds[1], "hello", 5), 5);
    EXPECT_EQ(poll(&p, 1, -1), 1);
    EXPECT_EQ(p.revents, POLLIN);
    int available = 0;
    EXPECT_EQ(ioctl(fds[0], FIONREAD, &available), 0);
    EXPECT_EQ(available, 5);
    EXPECT_EQ(read(fds[0], bytes, 10), 5);
    EXPECT_ERRNO(lseek(fds[0], 0, SEEK_SET), ESPIPE);
    EXPECT_ERRNO(pread(fds[0], bytes, 1, 0), ESPIPE);
    EXPECT_EQ(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    EXPECT_ERRNO(read(fds[0], bytes, 10), EAGAIN);
    EXPECT_EQ(close(fds[1]), 0);
    EXPECT_EQ(read(fds[0], bytes, 10), 0);
    EXPECT_EQ(poll(&p, 1, 0), 1);
    EXPECT_EQ(p.revents, POLLHUP);
    EXPECT_EQ(close(fds[0]), 0);
}

static void test_select_and_epoll(void)
{
    int fds[2], event = eventfd(0, EFD_NONBLOCK), ep = epoll_create1(0);
    uint64_t count = 3;
    struct epoll_event in = {.events = EPOLLIN, .data.u64 = 77}, out[4];
    struct timeval zero = {0, 1000};
    fd_set set;
    EXPECT_EQ(pipe(fds), 0);
    FD_ZERO(&set);
    FD_SET(fds[0], &set);
    EXPECT_EQ(select(fds[1] + 1, &set, NULL, NULL, &zero), 0);
    FD_SET(fds[1], &set);
    EXPECT_EQ(select(fds[1] + 1, NULL, &set, NULL, NULL), 1);
    EXPECT_ERRNO(read(event, &count, 8), EAGAIN);
    EXPECT_EQ(epoll_ctl(ep, EPOLL_CTL_ADD, event, &in), 0);
    EXPECT_ERRNO(epoll_ctl(ep, EPOLL_CTL_ADD, event, &in), EEXIST);
    EXPECT_EQ(epoll_wait(ep, out, 4, 1), 0);
    count = 3;
    EXPECT_EQ(write(event, &count, 8), 8);
    EXPECT_EQ(epoll_wait(ep, out, 4, -1), 1);
    EXPECT_EQ(out[0].data.u64, 77);
    EXPECT_EQ(out[0].events, EPOLLIN);
    EXPECT_EQ(read(event, &count, 8), 8);
    EXPECT_EQ(count, 3);
    EXPECT_EQ(epoll_ctl(ep, EPOLL_CTL_DEL, event, NULL), 0);
    EXPECT_ERRNO(epoll_ctl(ep, EPOLL_CTL_DEL, event, NULL), ENOENT);
    EXPECT_EQ(close(fds[0]) | close(fds[1]) | close(event) | close(ep), 0);
}

static void test_locks_and_sync(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
    int fd = make("lock", "x");
    EXPECT_EQ(fcntl(fd, F_SETLK, &lock), 0);
    EXPECT_EQ(fcntl(fd, F_GETLK, &lock), 0);
    EXPECT_EQ(lock.l_type, F_UNLCK);
    EXPECT_EQ(flock(fd, LOCK_EX | LOCK_NB), 0);
    EXPECT_EQ(fsync(fd) | fdatasync(fd), 0);
    EXPECT_EQ(posix_fallocate(fd, 0, 50000), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 50000);
    EXPECT_EQ(close(fd) | unlink("lock"), 0);
}

static void test_sendfile(void)
{
    off_t offset = 2;
    int in = make("in", "0123456789"), out = make("out", "");
    EXPECT_EQ(sendfile(out, in, &offset, 5), 5);
    EXPECT_EQ(offset, 7);
    EXPECT_EQ(lseek(in, 0, SEEK_CUR), 0);
    EXPECT_EQ(sendfile(out, in, NULL, 3), 3);
    EXPECT_EQ(lseek(in, 0, SEEK_CUR), 3);
    expect_content("out", "23456012");
    EXPECT_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 7);
    expect_content("out", "234560123456789");
    EXPECT_EQ(close(in) | close(out) | unlink("in") | unlink("out"), 0);
}

static void test_proc(void)
{
    char path[300] = "", text[4096] = "";
    unsigned long from, to, here = (unsigned long)(uintptr_t)&test_proc;
    int found = 0;
    EXPECT(readlink("/proc/self/exe", path, sizeof(path) - 1) > 0);
    EXPECT(strstr(path, "conform") != NULL);
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(text, sizeof(text), maps) != NULL) {
        EXPECT_EQ(sscanf(text, "%lx-%lx", &from, &to), 2);
        found += here >= from && here < to && strstr(text, "conform") != NULL;
    }
    EXPECT_EQ(found, 1);
    EXPECT_EQ(fclose(maps), 0);
    int fd = open("/proc/self/stat", O_RDONLY), pid = 0;
    EXPECT(read(fd, text, sizeof(text) - 1) > 50);
    EXPECT_EQ(sscanf(text, "%d (", &pid), 1);
    EXPECT_EQ(pid, getpid());
    EXPECT_EQ(close(fd), 0);
    fd = open("/proc/meminfo", O_RDONLY);
    EXPECT(read(fd, text, sizeof(text) - 1) > 50);
    EXPECT(strncmp(text, "MemTotal:", 9) == 0);
    EXPECT_EQ(close(fd), 0);
}

static void test_write_over_the_image(void)
{
    char text[100] = "";
    struct statfs fs;
    int fd = open("/etc/passwd", O_RDONLY);
    EXPECT(read(fd, text, 4) == 4 && memcmp(text, "root", 4) == 0);
    EXPECT_EQ(close(fd), 0);
    EXPECT_EQ(statfs("/", &fs), 0);
    EXPECT(fs.f_blocks > 0);
    EXPECT_EQ(fs.f_namelen, 255);
}

int main(void)
{
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) {
        return 1;
    }
    TAP_RUN(test_open_flags);
    TAP_RUN(test_lowest_descriptor);
    TAP_RUN(test_shared_offset_of_dup);
    TAP_RUN(test_seek_and_holes);
    TAP_RUN(test_vectors);
    TAP_RUN(test_bad_pointers);
    TAP_RUN(test_directories);
    TAP_RUN(test_list);
    TAP_RUN(test_rename);
    TAP_RUN(test_symlinks);
    TAP_RUN(test_stat);
    TAP_RUN(test_removed_while_open);
    TAP_RUN(test_devices);
    TAP_RUN(test_pipe);
    TAP_RUN(test_select_and_epoll);
    TAP_RUN(test_locks_and_sync);
    TAP_RUN(test_sendfile);
    TAP_RUN(test_proc);
    TAP_RUN(test_write_over_the_image);
    (void)!chdir("/");
    (void)rmdir(folder);
    return tap_done();
}
