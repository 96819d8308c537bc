/* SPDX-License-Identifier: Apache-2.0 */
/* Frames that drivers share with devices. Not in fault context. */
#ifndef DILOS_UNIKERNEL_KERNEL_DMA_H
#define DILOS_UNIKERNEL_KERNEL_DMA_H

#include "computenode/unikernel/kernel/port.h"

/* A zeroed frame that is never evicted. Errors: -ENOMEM. */
int dma_frame_alloc(phys_addr_t *ret) MUST_CHECK;
void dma_frame_free(phys_addr_t pa);

#endif
