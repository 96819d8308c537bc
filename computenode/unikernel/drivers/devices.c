/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/drivers/devices.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/drivers/virtio_console.h"
#include "computenode/unikernel/kernel/kernel.h"

#define BLOCK_DEVICES_MAX 4u

static struct virtio_device slots[VIRTIO_MMIO_SLOTS_MAX];
static struct blk_device blocks[BLOCK_DEVICES_MAX];

static void take_block(struct virtio_device *device, uint32_t slot, struct blk_device *block,
                       struct devices *ret)
{
    int r = blk_open(device, block);
    if (r != 0) {
        klog(CTL_LEVEL_ERROR, "block device unusable slot=%u error=%d", slot, -r);
    } else if (strcmp(block->id, "far") == 0 && ret->far == NULL) {
        ret->far = block;
    } else if (strcmp(block->id, "root") == 0 && ret->root == NULL) {
        ret->root = block;
    } else {
        virtio_mmio_fail(device);
        klog(CTL_LEVEL_WARNING,
             "block device ignored slot=%u id=%s: neither far nor root, or there "
             "are two of it",
             slot, block->id);
    }
}

static void take_console(struct virtio_device *device, uint32_t slot, struct devices *ret)
{
    if (ret->has_console) {
        klog(CTL_LEVEL_WARNING, "second console ignored slot=%u", slot);
        return;
    }
    int r = console_open(device);
    ret->has_console = r == 0;
    if (r != 0) {
        klog(CTL_LEVEL_ERROR, "console unusable slot=%u error=%d", slot, -r);
    }
}

void devices_init(const char *cmdline, struct devices *ret)
{
    uint32_t block_count = 0;
    memset(ret, 0, sizeof(*ret));
    for (uint32_t i = 0; i < VIRTIO_MMIO_SLOTS_MAX; i++) {
        int r = virtio_mmio_open(i, cmdline, &slots[i]);
        if (r == -ENODEV) {
            continue;
        }
        if (r != 0) {
            klog(CTL_LEVEL_ERROR,
                 "device unusable slot=%u error=%d: legacy virtio, or no interrupt "
                 "(QEMU: add -global virtio-mmio.force-legacy=false)",
                 i, -r);
        } else if (slots[i].id == VIRTIO_ID_CONSOLE) {
            take_console(&slots[i], i, ret);
        } else if (slots[i].id == VIRTIO_ID_BLOCK && block_count < BLOCK_DEVICES_MAX) {
            take_block(&slots[i], i, &blocks[block_count++], ret);
        } else {
            klog(CTL_LEVEL_WARNING, "device ignored slot=%u type=%u", i, slots[i].id);
        }
    }
}
