/* SPDX-License-Identifier: Apache-2.0 */
/* pipe(7) and eventfd(2) within the one process. */
#ifndef DILOS_UNIKERNEL_FS_PIPE_H
#define DILOS_UNIKERNEL_FS_PIPE_H

#include "computenode/unikernel/fs/file.h"

#define PIPE_BYTES 65536u

/*
 * flags: LX_O_NONBLOCK or 0. Reads and writes wait for other threads; if all threads wait for each
 * other they give -EDEADLK, and the caller stops the program with that reason.
 * Errors: -ENOMEM, -ENFILE.
 */
int pipe_open(uint32_t flags, struct file **ret_reader, struct file **ret_writer) MUST_CHECK;

/* Errors: -ENOMEM, -ENFILE. */
int eventfd_open(uint64_t initial, bool semaphore, uint32_t flags, struct file **ret) MUST_CHECK;

#endif
