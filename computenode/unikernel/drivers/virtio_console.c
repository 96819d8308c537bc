/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/drivers/virtio_console.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/drivers/virtq.h"
#include "computenode/unikernel/kernel/dma.h"
#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define BUFFER_COUNT    16u /* each way; a frame each */
#define CONTROL_WAIT_NS UINT64_C(5000000000)

/* A buffer that is with the device is found by the head of its chain. */
struct side {
    struct virtq ring;
    phys_addr_t frames[BUFFER_COUNT];
    uint8_t buffer_of[VIRTQ_DRIVER_SIZE_MAX];
};

static struct {
    struct side receive;
    struct side transmit;
    struct virtq control;       /* with multiport */
    uint8_t idle[BUFFER_COUNT]; /* transmit buffers that are free */
    uint32_t idle_count;
    uint32_t filled; /* bytes in the one being filled, which is idle[idle_count - 1] */
    bool stuck;      /* something was lost: nothing more is sent */
    bool has_current;
    uint8_t current; /* receive buffer being read */
    uint32_t current_length;
    uint32_t current_offset;
} console;

static int side_open(struct side *side, struct virtio_device *device, uint16_t index)
{
    int r = virtq_init(&side->ring, device, index);
    for (uint32_t i = 0; i < BUFFER_COUNT && r == 0; i++) {
        r = dma_frame_alloc(&side->frames[i]);
    }
    return r == 0 && side->ring.size < BUFFER_COUNT ? -ENOTSUP : r;
}

static void give(struct side *side, uint8_t buffer, uint32_t length, bool device_writes)
{
    struct virtq_piece piece = {side->frames[buffer], length, device_writes};
    uint16_t head = virtq_add(&side->ring, &piece, 1, NULL);
    side->buffer_of[head] = buffer;
}

static int queues_open(struct virtio_device *device)
{
    bool multiport = (device->features & VIRTIO_CONSOLE_F_MULTIPORT) != 0;
    int r = side_open(&console.receive, device,
                      multiport ? VIRTIO_CONSOLE_RECEIVE_1 : VIRTIO_CONSOLE_RECEIVE);
    if (r == 0) {
        r = side_open(&console.transmit, device,
                      multiport ? VIRTIO_CONSOLE_TRANSMIT_1 : VIRTIO_CONSOLE_TRANSMIT);
    }
    if (r == 0 && multiport) {
        r = virtq_init(&console.control, device, VIRTIO_CONSOLE_CONTROL_TRANSMIT);
    }
    return r;
}

/*
 * Tells the device that we are there and use port 1 (5.3.5). What it would tell us of its ports is
 * known, so its control messages get no buffers: it then drops them.
 */
static int port_open(void)
{
    static const uint16_t messages[][3] = {
        {0, VIRTIO_CONSOLE_DEVICE_READY, 1},
        {1, VIRTIO_CONSOLE_PORT_READY, 1},
        {1, VIRTIO_CONSOLE_PORT_OPEN, 1},
    };
    uint64_t deadline_ns = clock_ns() + CONTROL_WAIT_NS;
    uint32_t taken = 0, written;
    uint16_t head;
    phys_addr_t frame;
    int r = dma_frame_alloc(&frame);
    if (r != 0) {
        return r;
    }
    for (uint32_t i = 0; i < ARRAY_LEN(messages); i++) {
        uint32_t at = i * VIRTIO_CONSOLE_CONTROL_BYTES;
        uint8_t *to = (uint8_t *)phys_to_virt(frame) + at;
        le32_store(to, messages[i][0]);
        le16_store(to + 4, messages[i][1]);
        le16_store(to + 6, messages[i][2]);
        struct virtq_piece piece = {{frame.v + at}, VIRTIO_CONSOLE_CONTROL_BYTES, false};
        (void)virtq_add(&console.control, &piece, 1, NULL);
    }
    virtq_kick(&console.control);
    while (taken < ARRAY_LEN(messages) && !console.control.broken) {
        taken += virtq_take(&console.control, &head, &written) ? 1 : 0;
        if (clock_ns() >= deadline_ns) {
            return -ENODEV;
        }
    }
    return console.control.broken ? -ENODEV : 0;
}

int console_open(struct virtio_device *device)
{
    int r = virtio_mmio_negotiate(device, VIRTIO_F_EVENT_IDX | VIRTIO_CONSOLE_F_MULTIPORT);
    if (r == 0) {
        r = queues_open(device);
    }
    if (r == 0) {
        virtio_mmio_start(device);
        r = (device->features & VIRTIO_CONSOLE_F_MULTIPORT) != 0 ? port_open() : 0;
    }
    if (r != 0) {
        virtio_mmio_fail(device);
        return r;
    }
    for (uint8_t i = 0; i < BUFFER_COUNT; i++) {
        give(&console.receive, i, PAGE_BYTES, true);
        console.idle[console.idle_count++] = i;
    }
    virtq_kick(&console.receive.ring);
    virtq_interrupt_on(&console.receive.ring);
    return 0;
}

static void collect(void)
{
    uint16_t head;
    uint32_t written;
    struct side *side = &console.transmit;
    while (virtq_take(&side->ring, &head, &written)) {
        /* Below the one being filled, which stays the last. */
        uint8_t filling = console.idle_count != 0 ? console.idle[console.idle_count - 1] : 0;
        CHECK(console.idle_count < BUFFER_COUNT);
        if (console.idle_count == 0) {
            console.idle[0] = side->buffer_of[head];
        } else {
            console.idle[console.idle_count - 1] = side->buffer_of[head];
            console.idle[console.idle_count] = filling;
        }
        console.idle_count++;
    }
}

static bool wait_idle(uint64_t deadline_ns)
{
    collect();
    while (console.idle_count == 0 && !console.transmit.ring.broken) {
        if (clock_ns() >= deadline_ns) {
            return false;
        }
        virtq_halt(&console.transmit.ring);
        collect();
    }
    return !console.transmit.ring.broken;
}

void console_flush(void)
{
    if (console.filled == 0) {
        return;
    }
    give(&console.transmit, console.idle[--console.idle_count], console.filled, false);
    console.filled = 0;
    virtq_kick(&console.transmit.ring);
}

bool console_write(const void *bytes, size_t length, uint64_t wait_ns)
{
    const uint8_t *from = bytes;
    uint64_t deadline_ns = clock_ns() + wait_ns;
    while (length != 0 && !console.stuck) {
        if (!wait_idle(deadline_ns)) {
            console.stuck = true;
            break;
        }
        phys_addr_t frame = console.transmit.frames[console.idle[console.idle_count - 1]];
        size_t part = MIN(length, (size_t)PAGE_BYTES - console.filled);
        memcpy((uint8_t *)phys_to_virt(frame) + console.filled, from, part);
        console.filled += (uint32_t)part;
        from += part;
        length -= part;
        if (console.filled == PAGE_BYTES) {
            console_flush();
        }
    }
    return !console.stuck;
}

void console_drain(uint64_t wait_ns)
{
    uint64_t deadline_ns = clock_ns() + wait_ns;
    console_flush();
    collect();
    while (console.idle_count < BUFFER_COUNT && !console.transmit.ring.broken &&
           clock_ns() < deadline_ns) {
        virtq_halt(&console.transmit.ring);
        collect();
    }
}

/* The next buffer that has come, with the length that the device says, as far as that can be. */
static bool next_buffer(void)
{
    uint16_t head;
    uint32_t written;
    if (console.has_current) {
        give(&console.receive, console.current, PAGE_BYTES, true);
        virtq_kick(&console.receive.ring);
        console.has_current = false;
    }
    if (!virtq_take(&console.receive.ring, &head, &written)) {
        return false;
    }
    console.has_current = true;
    console.current = console.receive.buffer_of[head];
    console.current_length = MIN(written, (uint32_t)PAGE_BYTES);
    console.current_offset = 0;
    return true;
}

size_t console_read(void *to, size_t capacity)
{
    size_t length = 0;
    while (length < capacity) {
        uint32_t left = console.has_current ? console.current_length - console.current_offset : 0;
        if (left == 0) {
            if (!next_buffer()) {
                break;
            }
            continue;
        }
        size_t part = MIN(capacity - length, (size_t)left);
        const uint8_t *from = phys_to_virt(console.receive.frames[console.current]);
        memcpy((uint8_t *)to + length, from + console.current_offset, part);
        console.current_offset += (uint32_t)part;
        length += part;
    }
    virtq_interrupt_on(&console.receive.ring);
    return length;
}

bool console_readable(void)
{
    bool more = console.has_current && console.current_offset < console.current_length;
    return more || (virtq_has_used(&console.receive.ring) && !console.receive.ring.broken);
}
