/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/drivers/virtio_mmio.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/irq.h"
#include "computenode/unikernel/arch/x86_64/paging.h"
#include "computenode/unikernel/kernel/kernel.h"

#define SLOT_ADDRESS UINT64_C(0xfeb00000) /* QEMU's microvm */
#define SLOT_BYTES   512u
#define RESET_TRIES  1000000u

/* Interrupt of slot 0 on QEMU's microvm; the others follow. */
#define IRQ_BASE_CMDLINE    5u  /* acpi=off: QEMU then describes the slots on the command line */
#define IRQ_BASE_ONE_IOAPIC 16u /* acpi=on, ioapic2=off */
#define IRQ_BASE_IOAPIC2    24u /* acpi=on */

static uint32_t reg_read(const struct virtio_device *device, uint32_t offset)
{
    return *(volatile uint32_t *)(device->registers + offset);
}

static void reg_write(const struct virtio_device *device, uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)(device->registers + offset) = value;
}

/* Devices are polled after every wake-up: all that an interrupt has to do is to wake, and stop. */
static void acknowledge(void *context)
{
    const struct virtio_device *device = context;
    reg_write(device, VIRTIO_MMIO_INTERRUPT_ACK, reg_read(device, VIRTIO_MMIO_INTERRUPT_STATUS));
}

static uint32_t irq_base(const char *cmdline)
{
    if (strstr(cmdline, "virtio_mmio.device=") != NULL) {
        return IRQ_BASE_CMDLINE;
    }
    return irq_count() > IRQ_BASE_IOAPIC2 ? IRQ_BASE_IOAPIC2 : IRQ_BASE_ONE_IOAPIC;
}

int virtio_mmio_open(uint32_t slot, const char *cmdline, struct virtio_device *ret)
{
    uint64_t address = SLOT_ADDRESS + (uint64_t)slot * SLOT_BYTES;
    ret->registers = paging_device(address);
    ret->features = 0;
    ret->failed = false;
    if (reg_read(ret, VIRTIO_MMIO_MAGIC_VALUE) != VIRTIO_MMIO_MAGIC) {
        return -ENODEV;
    }
    ret->id = reg_read(ret, VIRTIO_MMIO_DEVICE_ID);
    if (ret->id == 0) {
        return -ENODEV;
    }
    if (reg_read(ret, VIRTIO_MMIO_VERSION) != VIRTIO_MMIO_VERSION_1) {
        return -ENOTSUP;
    }
    return irq_register(irq_base(cmdline) + slot, acknowledge, ret);
}

static int reset(const struct virtio_device *device)
{
    reg_write(device, VIRTIO_MMIO_STATUS, 0);
    for (uint32_t i = 0; i < RESET_TRIES; i++) {
        if (reg_read(device, VIRTIO_MMIO_STATUS) == 0) {
            return 0;
        }
        cpu_relax();
    }
    return -EIO;
}

static void status_add(const struct virtio_device *device, uint32_t bits)
{
    reg_write(device, VIRTIO_MMIO_STATUS, reg_read(device, VIRTIO_MMIO_STATUS) | bits);
}

int virtio_mmio_negotiate(struct virtio_device *device, uint64_t wanted)
{
    if (reset(device) != 0) {
        return -ENOTSUP;
    }
    status_add(device, VIRTIO_STATUS_ACKNOWLEDGE);
    status_add(device, VIRTIO_STATUS_DRIVER);
    reg_write(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    uint64_t offered = reg_read(device, VIRTIO_MMIO_DEVICE_FEATURES);
    reg_write(device, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    offered |= (uint64_t)reg_read(device, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
    device->features = offered & (wanted | VIRTIO_F_VERSION_1);
    reg_write(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    reg_write(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)device->features);
    reg_write(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    reg_write(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(device->features >> 32));
    status_add(device, VIRTIO_STATUS_FEATURES_OK);
    bool accepted = (reg_read(device, VIRTIO_MMIO_STATUS) & VIRTIO_STATUS_FEATURES_OK) != 0;
    if (!accepted || (device->features & VIRTIO_F_VERSION_1) == 0) {
        status_add(device, VIRTIO_STATUS_FAILED);
        return -ENOTSUP;
    }
    return 0;
}

void virtio_mmio_start(struct virtio_device *device)
{
    status_add(device, VIRTIO_STATUS_DRIVER_OK);
}

void virtio_mmio_fail(struct virtio_device *device)
{
    device->failed = true;
    /* A device that does not even answer a reset gets the message and nothing else. */
    if (reset(device) == 0) {
        status_add(device, VIRTIO_STATUS_ACKNOWLEDGE);
    }
    status_add(device, VIRTIO_STATUS_FAILED);
}

bool virtio_mmio_needs_reset(const struct virtio_device *device)
{
    return (reg_read(device, VIRTIO_MMIO_STATUS) & VIRTIO_STATUS_NEEDS_RESET) != 0;
}

uint16_t virtio_mmio_queue_size_max(struct virtio_device *device, uint16_t index)
{
    reg_write(device, VIRTIO_MMIO_QUEUE_SEL, index);
    uint32_t size = reg_read(device, VIRTIO_MMIO_QUEUE_NUM_MAX);
    return size <= VIRTQ_SIZE_MAX ? (uint16_t)size : 0;
}

static void address_write(const struct virtio_device *device, uint32_t low, uint32_t high,
                          phys_addr_t pa)
{
    reg_write(device, low, (uint32_t)pa.v);
    reg_write(device, high, (uint32_t)(pa.v >> 32));
}

void virtio_mmio_queue_set(struct virtio_device *device, uint16_t index, uint16_t size,
                           phys_addr_t desc, phys_addr_t avail, phys_addr_t used)
{
    reg_write(device, VIRTIO_MMIO_QUEUE_SEL, index);
    reg_write(device, VIRTIO_MMIO_QUEUE_NUM, size);
    address_write(device, VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, desc);
    address_write(device, VIRTIO_MMIO_QUEUE_DRIVER_LOW, VIRTIO_MMIO_QUEUE_DRIVER_HIGH, avail);
    address_write(device, VIRTIO_MMIO_QUEUE_DEVICE_LOW, VIRTIO_MMIO_QUEUE_DEVICE_HIGH, used);
    reg_write(device, VIRTIO_MMIO_QUEUE_READY, 1);
}

void virtio_mmio_notify(const struct virtio_device *device, uint16_t index)
{
    reg_write(device, VIRTIO_MMIO_QUEUE_NOTIFY, index);
}

uint16_t virtio_mmio_config16(const struct virtio_device *device, uint32_t offset)
{
    return *(volatile uint16_t *)(device->registers + VIRTIO_MMIO_CONFIG + offset);
}

uint32_t virtio_mmio_config32(const struct virtio_device *device, uint32_t offset)
{
    return reg_read(device, VIRTIO_MMIO_CONFIG + offset);
}

/* virtio 1.1, 4.2.2.2: a field of 64 bits is read by halves, again if the generation changed. */
uint64_t virtio_mmio_config64(const struct virtio_device *device, uint32_t offset)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < 16; i++) {
        uint32_t generation = reg_read(device, VIRTIO_MMIO_CONFIG_GENERATION);
        value = virtio_mmio_config32(device, offset);
        value |= (uint64_t)virtio_mmio_config32(device, offset + 4) << 32;
        if (reg_read(device, VIRTIO_MMIO_CONFIG_GENERATION) == generation) {
            break;
        }
    }
    return value;
}
