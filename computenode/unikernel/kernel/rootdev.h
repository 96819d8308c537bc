/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_KERNEL_ROOTDEV_H
#define DILOS_UNIKERNEL_KERNEL_ROOTDEV_H

#include "computenode/unikernel/kernel/blkq.h"

/* The queue that rootdev_read() uses. Errors: -ENOMEM. */
int rootdev_init(struct blkq *q) MUST_CHECK;

#endif
