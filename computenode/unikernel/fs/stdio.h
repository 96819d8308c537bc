/* SPDX-License-Identifier: Apache-2.0 */
/* The program's standard streams, which end at the agent (control channel). */
#ifndef DILOS_UNIKERNEL_FS_STDIO_H
#define DILOS_UNIKERNEL_FS_STDIO_H

#include "computenode/unikernel/fs/file.h"

#define STDIO_DEVICE LX_DEVICE(5, 1)

/* Reading is stdin, writing is stdout; reads wait, or give -EINTR when a signal is pending. */
extern const struct file_ops stdio_ops;

/* A file for descriptor 0, 1 or 2: pipes, as far as the program can see. */
int stdio_open(int descriptor, struct file **ret) MUST_CHECK;

#endif
