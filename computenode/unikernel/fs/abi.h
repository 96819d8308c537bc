/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constants and structures of the Linux system call interface on x86-64, as the manual pages of
 * section 2 and the System V ABI describe them. With a prefix of their own, so that the tests of
 * fs/ can be compiled next to the host's headers.
 */
#ifndef DILOS_UNIKERNEL_FS_ABI_H
#define DILOS_UNIKERNEL_FS_ABI_H

#include <stdint.h>

/* inode(7): st_mode */
#define LX_S_IFMT   0170000u
#define LX_S_IFSOCK 0140000u
#define LX_S_IFLNK  0120000u
#define LX_S_IFREG  0100000u
#define LX_S_IFBLK  0060000u
#define LX_S_IFDIR  0040000u
#define LX_S_IFCHR  0020000u
#define LX_S_IFIFO  0010000u
#define LX_S_ISUID  04000u
#define LX_S_ISGID  02000u
#define LX_S_ISVTX  01000u
#define LX_S_PERM   07777u

/* getdents64(2): d_type is the file type of st_mode shifted right by 12 */
#define LX_DT_UNKNOWN 0
#define LX_DT_FIFO    1
#define LX_DT_CHR     2
#define LX_DT_DIR     4
#define LX_DT_BLK     6
#define LX_DT_REG     8
#define LX_DT_LNK     10
#define LX_DT_SOCK    12

/* open(2) */
#define LX_O_ACCMODE   03u
#define LX_O_RDONLY    00u
#define LX_O_WRONLY    01u
#define LX_O_RDWR      02u
#define LX_O_CREAT     0100u
#define LX_O_EXCL      0200u
#define LX_O_NOCTTY    0400u
#define LX_O_TRUNC     01000u
#define LX_O_APPEND    02000u
#define LX_O_NONBLOCK  04000u
#define LX_O_DSYNC     010000u
#define LX_O_ASYNC     020000u
#define LX_O_DIRECT    040000u
#define LX_O_LARGEFILE 0100000u
#define LX_O_DIRECTORY 0200000u
#define LX_O_NOFOLLOW  0400000u
#define LX_O_NOATIME   01000000u
#define LX_O_CLOEXEC   02000000u
#define LX_O_PATH      010000000u
#define LX_O_TMPFILE   020200000u

#define LX_AT_FDCWD            (-100)
#define LX_AT_SYMLINK_NOFOLLOW 0x100
#define LX_AT_EACCESS          0x200
#define LX_AT_REMOVEDIR        0x200
#define LX_AT_SYMLINK_FOLLOW   0x400
#define LX_AT_NO_AUTOMOUNT     0x800
#define LX_AT_EMPTY_PATH       0x1000

#define LX_R_OK 4u
#define LX_W_OK 2u
#define LX_X_OK 1u

#define LX_SEEK_SET  0
#define LX_SEEK_CUR  1
#define LX_SEEK_END  2
#define LX_SEEK_DATA 3
#define LX_SEEK_HOLE 4

#define LX_NAME_MAX 255u
#define LX_PATH_MAX 4096u /* with the NUL */

/* poll(2) */
#define LX_POLLIN     0x001u
#define LX_POLLPRI    0x002u
#define LX_POLLOUT    0x004u
#define LX_POLLERR    0x008u
#define LX_POLLHUP    0x010u
#define LX_POLLNVAL   0x020u
#define LX_POLLRDNORM 0x040u
#define LX_POLLWRNORM 0x100u
#define LX_POLLRDHUP  0x2000u

/* rename(2) */
#define LX_RENAME_NOREPLACE 1u
#define LX_RENAME_EXCHANGE  2u

struct lx_timespec {
    int64_t tv_sec;
    int64_t tv_nsec;
};

struct lx_timeval {
    int64_t tv_sec;
    int64_t tv_usec;
};

struct lx_iovec {
    uint64_t base;
    uint64_t length;
};

struct lx_stat {
    uint64_t st_dev;
    uint64_t st_ino;
    uint64_t st_nlink;
    uint32_t st_mode;
    uint32_t st_uid;
    uint32_t st_gid;
    uint32_t pad0;
    uint64_t st_rdev;
    int64_t st_size;
    int64_t st_blksize;
    int64_t st_blocks;
    struct lx_timespec st_atim;
    struct lx_timespec st_mtim;
    struct lx_timespec st_ctim;
    int64_t unused[3];
};
_Static_assert(sizeof(struct lx_stat) == 144, "stat(2) of x86-64");

struct lx_statx_time {
    int64_t tv_sec;
    uint32_t tv_nsec;
    int32_t pad;
};

struct lx_statx {
    uint32_t stx_mask;
    uint32_t stx_blksize;
    uint64_t stx_attributes;
    uint32_t stx_nlink;
    uint32_t stx_uid;
    uint32_t stx_gid;
    uint16_t stx_mode;
    uint16_t pad0;
    uint64_t stx_ino;
    uint64_t stx_size;
    uint64_t stx_blocks;
    uint64_t stx_attributes_mask;
    struct lx_statx_time stx_atime;
    struct lx_statx_time stx_btime;
    struct lx_statx_time stx_ctime;
    struct lx_statx_time stx_mtime;
    uint32_t stx_rdev_major;
    uint32_t stx_rdev_minor;
    uint32_t stx_dev_major;
    uint32_t stx_dev_minor;
    uint64_t spare[14];
};
_Static_assert(sizeof(struct lx_statx) == 256, "statx(2)");
#define LX_STATX_BASIC_STATS 0x7ffu

struct lx_statfs {
    int64_t f_type;
    int64_t f_bsize;
    uint64_t f_blocks;
    uint64_t f_bfree;
    uint64_t f_bavail;
    uint64_t f_files;
    uint64_t f_ffree;
    int32_t f_fsid[2];
    int64_t f_namelen;
    int64_t f_frsize;
    int64_t f_flags;
    int64_t f_spare[4];
};
_Static_assert(sizeof(struct lx_statfs) == 120, "statfs(2) of x86-64");
#define LX_OVERLAYFS_MAGIC 0x794c7630
#define LX_TMPFS_MAGIC     0x01021994
#define LX_PROC_MAGIC      0x9fa0
#define LX_SYSFS_MAGIC     0x62656572
#define LX_PIPEFS_MAGIC    0x50495045

/* Device numbers, as in makedev(3) with small majors and minors. */
#define LX_DEVICE(major, minor) ((uint64_t)(major) << 8 | (uint64_t)(minor))
#define LX_MAJOR(device)        ((uint32_t)((device) >> 8 & 0xfff))
#define LX_MINOR(device)        ((uint32_t)(((device)&0xff) | ((device) >> 12 & 0xfff00)))

#endif
