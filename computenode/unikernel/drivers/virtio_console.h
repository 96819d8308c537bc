/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One port of a console device (virtio 1.1, 5.3): two byte streams. One exists. Port 1 if the
 * device has several ports, else port 0. It should: on port 0 QEMU drops what a slow reader has no
 * room for, on the others it waits.
 */
#ifndef DILOS_UNIKERNEL_DRIVERS_VIRTIO_CONSOLE_H
#define DILOS_UNIKERNEL_DRIVERS_VIRTIO_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#include "computenode/unikernel/drivers/virtio_mmio.h"

/* `device` must outlive it. Errors: -ENOTSUP, -ENOMEM, -ENODEV a queue is missing. */
int console_open(struct virtio_device *device) MUST_CHECK;

/*
 * Copies into buffers of the device; what fills a buffer is sent, the rest by console_flush().
 * Waits while all buffers are with the device, at most `wait_ns` in all; what can't be sent
 * then is lost and false returned, and so is everything after it.
 */
bool console_write(const void *bytes, size_t length, uint64_t wait_ns);
void console_flush(void);

/* Waits until everything sent has been taken, or for `wait_ns`. */
void console_drain(uint64_t wait_ns);

/* Takes up to `capacity` bytes that have come. Never waits. */
size_t console_read(void *to, size_t capacity);

/* Has something come that console_read() would give? Two loads. */
bool console_readable(void);

#endif
