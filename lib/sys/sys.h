/* SPDX-License-Identifier: Apache-2.0 */
/* Small calls of the operating system with our error convention. Hosted. */
#ifndef DILOS_LIB_SYS_SYS_H
#define DILOS_LIB_SYS_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/compiler.h"

uint64_t sys_monotonic_ns(void);
uint64_t sys_realtime_ns(void);

/* Cryptographic randomness; never fails (aborts if the system has none). */
void sys_random(void *to, size_t bytes);
/* 32 hexadecimal digits and a NUL. */
#define SYS_ID_BYTES 33
void sys_random_id(char to[SYS_ID_BYTES]);

/*
 * An id that is the same for all processes of this machine and no other (from /etc/machine-id and
 * the boot id, hashed): shared memory works between two processes that have the same.
 */
void sys_host_id(char to[SYS_ID_BYTES]);

/* For programs that hold keys: no core dump of this process, and no debugger but root's. */
void sys_forbid_dumps(void);

#define SYS_NAME_BYTES 64u
/* The host's name as far as it is a name in the pool (lower case, up to the first dot), else
 * `otherwise`. `to` holds SYS_NAME_BYTES. */
void sys_host_name(char to[SYS_NAME_BYTES], const char *otherwise);

/* The sum of the lengths. */
size_t sys_iovec_bytes(const struct iovec *iovecs, uint32_t count);

/* For CLEANUP. */
void sys_close(int *fd);

/* Whole small files. read: *ret is malloc'ed and NUL terminated. write: atomic (rename). */
int sys_read_file(const char *path, size_t bytes_max, char **ret, size_t *ret_bytes) MUST_CHECK;
int sys_write_file(const char *path, const void *data, size_t bytes) MUST_CHECK;
/* mkdir -p with mode 0700 for what is made. */
int sys_make_folders(const char *path) MUST_CHECK;
/*
 * Takes the lock file `path` for the life of the process and writes the pid. Errors: -EWOULDBLOCK
 * and *ret_pid: a live process has it. A stale file is no obstacle.
 */
int sys_lock_file(const char *path, int *ret_fd, int *ret_pid) MUST_CHECK;

#endif
