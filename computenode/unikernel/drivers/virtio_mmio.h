/* SPDX-License-Identifier: Apache-2.0 */
/* virtio over MMIO (virtio 1.1, 4.2), not legacy: slots, features, status, queues. */
#ifndef DILOS_UNIKERNEL_DRIVERS_VIRTIO_MMIO_H
#define DILOS_UNIKERNEL_DRIVERS_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/port.h"
#include "lib/wire/virtio.h"

#define VIRTIO_MMIO_SLOTS_MAX 24u

struct virtio_device {
    volatile uint8_t *registers;
    uint32_t id;       /* VIRTIO_ID_...; 0: an empty slot */
    uint64_t features; /* negotiated */
    bool failed;       /* it broke the rules, or asked for a reset: it is reset and stays so */
};

/*
 * Looks at one slot (below VIRTIO_MMIO_SLOTS_MAX). Errors: -ENODEV nothing there, -ENOTSUP a
 * legacy device (QEMU: add -global virtio-mmio.force-legacy=false).
 */
int virtio_mmio_open(uint32_t slot, const char *cmdline, struct virtio_device *ret) MUST_CHECK;

/*
 * Reset, then features: VERSION_1 and those of `wanted` that are offered. Errors: -ENOTSUP the
 * device refuses.
 */
int virtio_mmio_negotiate(struct virtio_device *device, uint64_t wanted) MUST_CHECK;

/* Tells the device that its queues are ready. */
void virtio_mmio_start(struct virtio_device *device);

/* Stops the device: it touches no memory afterwards. */
void virtio_mmio_fail(struct virtio_device *device);

/* Has the device given up (virtio 1.1, 2.1.1)? Reads a register: not in a hot path. */
bool virtio_mmio_needs_reset(const struct virtio_device *device);

/* 0 if there is no such queue. */
uint16_t virtio_mmio_queue_size_max(struct virtio_device *device, uint16_t index);
void virtio_mmio_queue_set(struct virtio_device *device, uint16_t index, uint16_t size,
                           phys_addr_t desc, phys_addr_t avail, phys_addr_t used);
void virtio_mmio_notify(const struct virtio_device *device, uint16_t index);

uint16_t virtio_mmio_config16(const struct virtio_device *device, uint32_t offset);
uint32_t virtio_mmio_config32(const struct virtio_device *device, uint32_t offset);
uint64_t virtio_mmio_config64(const struct virtio_device *device, uint32_t offset);

#endif
