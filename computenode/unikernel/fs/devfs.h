/* SPDX-License-Identifier: Apache-2.0 */
/* /dev: the devices every program expects. */
#ifndef DILOS_UNIKERNEL_FS_DEVFS_H
#define DILOS_UNIKERNEL_FS_DEVFS_H

#include "lib/base/compiler.h"

/* Makes /dev and /dev/shm in the tree. Errors: those of node_create(). */
int devfs_init(void) MUST_CHECK;

#endif
