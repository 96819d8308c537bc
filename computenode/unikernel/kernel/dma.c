/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/dma.h"

#include "computenode/unikernel/far/frame.h"

int dma_frame_alloc(phys_addr_t *ret)
{
    return frame_alloc_kernel(ret);
}

void dma_frame_free(phys_addr_t pa)
{
    frame_free_kernel(pa);
}
