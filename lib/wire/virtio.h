/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structures and constants of virtio 1.1 (OASIS committee specification 01) that both sides of a
 * device share: the unikernel drives, the agent's far device serves. All fields little endian.
 *
 * Freestanding, declarations only. Structures are what lies in shared memory: each side must copy
 * a field out once and then check it, because the other side may change it at any time.
 */
#ifndef DILOS_LIB_WIRE_VIRTIO_H
#define DILOS_LIB_WIRE_VIRTIO_H

#include <stddef.h>
#include <stdint.h>

/* ---- 5 device types ---- */
#define VIRTIO_ID_BLOCK   2u
#define VIRTIO_ID_CONSOLE 3u

/* ---- 2.1 device status ---- */
#define VIRTIO_STATUS_ACKNOWLEDGE 1u
#define VIRTIO_STATUS_DRIVER      2u
#define VIRTIO_STATUS_DRIVER_OK   4u
#define VIRTIO_STATUS_FEATURES_OK 8u
#define VIRTIO_STATUS_NEEDS_RESET 64u
#define VIRTIO_STATUS_FAILED      128u

/* ---- 6 feature bits of every device ---- */
#define VIRTIO_F_INDIRECT_DESC   (UINT64_C(1) << 28)
#define VIRTIO_F_EVENT_IDX       (UINT64_C(1) << 29)
#define VIRTIO_F_VERSION_1       (UINT64_C(1) << 32)
#define VIRTIO_F_ACCESS_PLATFORM (UINT64_C(1) << 33)
#define VIRTIO_F_RING_PACKED     (UINT64_C(1) << 34)

/* ---- 2.6 split virtqueues ---- */
#define VIRTQ_DESC_F_NEXT          1u
#define VIRTQ_DESC_F_WRITE         2u /* the device writes it */
#define VIRTQ_DESC_F_INDIRECT      4u
#define VIRTQ_AVAIL_F_NO_INTERRUPT 1u
#define VIRTQ_USED_F_NO_NOTIFY     1u
#define VIRTQ_SIZE_MAX             32768u

struct virtq_desc {
    uint64_t addr; /* guest-physical */
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

struct virtq_avail {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[]; /* queue size entries, then used_event u16 with VIRTIO_F_EVENT_IDX */
};

struct virtq_used_elem {
    uint32_t id;  /* head of the chain */
    uint32_t len; /* bytes that the device wrote */
};

struct virtq_used {
    uint16_t flags;
    uint16_t idx;
    struct virtq_used_elem ring[]; /* queue size entries, then avail_event u16 */
};

_Static_assert(sizeof(struct virtq_desc) == 16, "virtio 1.1, 2.6.5");
_Static_assert(sizeof(struct virtq_used_elem) == 8, "virtio 1.1, 2.6.8");

#define VIRTQ_DESC_ALIGN  16u
#define VIRTQ_AVAIL_ALIGN 2u
#define VIRTQ_USED_ALIGN  4u

static inline size_t virtq_desc_bytes(uint16_t size)
{
    return sizeof(struct virtq_desc) * size;
}

static inline size_t virtq_avail_bytes(uint16_t size)
{
    return sizeof(struct virtq_avail) + sizeof(uint16_t) * ((size_t)size + 1);
}

static inline size_t virtq_used_bytes(uint16_t size)
{
    return sizeof(struct virtq_used) + sizeof(struct virtq_used_elem) * size + sizeof(uint16_t);
}

/*
 * 2.6.7.2: with VIRTIO_F_EVENT_IDX the other side wants to be told when the index passes `event`:
 * did it, when it moved from `before` to `now`?
 */
static inline int virtq_need_event(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

/* ---- 5.2 block device ---- */
#define VIRTIO_BLK_F_SIZE_MAX     (UINT64_C(1) << 1)
#define VIRTIO_BLK_F_SEG_MAX      (UINT64_C(1) << 2)
#define VIRTIO_BLK_F_RO           (UINT64_C(1) << 5)
#define VIRTIO_BLK_F_BLK_SIZE     (UINT64_C(1) << 6)
#define VIRTIO_BLK_F_FLUSH        (UINT64_C(1) << 9)
#define VIRTIO_BLK_F_TOPOLOGY     (UINT64_C(1) << 10)
#define VIRTIO_BLK_F_CONFIG_WCE   (UINT64_C(1) << 11)
#define VIRTIO_BLK_F_MQ           (UINT64_C(1) << 12)
#define VIRTIO_BLK_F_DISCARD      (UINT64_C(1) << 13)
#define VIRTIO_BLK_F_WRITE_ZEROES (UINT64_C(1) << 14)

#define VIRTIO_BLK_T_IN           0u
#define VIRTIO_BLK_T_OUT          1u
#define VIRTIO_BLK_T_FLUSH        4u
#define VIRTIO_BLK_T_GET_ID       8u
#define VIRTIO_BLK_T_DISCARD      11u
#define VIRTIO_BLK_T_WRITE_ZEROES 13u

#define VIRTIO_BLK_S_OK     0u
#define VIRTIO_BLK_S_IOERR  1u
#define VIRTIO_BLK_S_UNSUPP 2u
/*
 * Ours, of the far device only: no far memory is left for this write. The specification gives 0 to
 * 2 and a driver treats every other value as an error, so any other driver sees an I/O error.
 */
#define VIRTIO_BLK_S_NOSPC 3u

#define VIRTIO_BLK_ID_BYTES     20u
#define VIRTIO_BLK_SECTOR_BYTES 512u

/* 5.2.6: the part of a request that the device reads; data and one status byte follow. */
struct virtio_blk_header {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

/* 5.2.6: body of DISCARD and WRITE_ZEROES, one or more. */
struct virtio_blk_range {
    uint64_t sector;
    uint32_t sector_count;
    uint32_t flags;
};

#define VIRTIO_BLK_RANGE_F_UNMAP 1u

/* 5.2.4 */
struct virtio_blk_config {
    uint64_t capacity; /* sectors */
    uint32_t size_max;
    uint32_t seg_max;
    uint16_t cylinders;
    uint8_t heads;
    uint8_t sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp;
    uint8_t alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback;
    uint8_t unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors;
    uint32_t max_discard_seg;
    uint32_t discard_sector_alignment;
    uint32_t max_write_zeroes_sectors;
    uint32_t max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap;
    uint8_t unused1[3];
};

_Static_assert(sizeof(struct virtio_blk_header) == 16, "virtio 1.1, 5.2.6");
_Static_assert(sizeof(struct virtio_blk_range) == 16, "virtio 1.1, 5.2.6");
_Static_assert(sizeof(struct virtio_blk_config) == 64, "virtio 1.1, 5.2.4, with padding to 8");
_Static_assert(offsetof(struct virtio_blk_config, num_queues) == 34, "virtio 1.1, 5.2.4");
_Static_assert(offsetof(struct virtio_blk_config, max_discard_sectors) == 36, "5.2.4");
_Static_assert(offsetof(struct virtio_blk_config, write_zeroes_may_unmap) == 56, "5.2.4");

/* ---- 5.3 console device ---- */
#define VIRTIO_CONSOLE_F_SIZE      (UINT64_C(1) << 0)
#define VIRTIO_CONSOLE_F_MULTIPORT (UINT64_C(1) << 1)
#define VIRTIO_CONSOLE_RECEIVE     0u /* queue numbers of port 0 */
#define VIRTIO_CONSOLE_TRANSMIT    1u
/* 5.3.2: only with multiport. */
#define VIRTIO_CONSOLE_CONTROL_TRANSMIT 3u
#define VIRTIO_CONSOLE_RECEIVE_1        4u /* queue numbers of port 1 */
#define VIRTIO_CONSOLE_TRANSMIT_1       5u
/* 5.3.6.2: id of the port u32, event u16, value u16 */
#define VIRTIO_CONSOLE_CONTROL_BYTES 8u
#define VIRTIO_CONSOLE_DEVICE_READY  0u
#define VIRTIO_CONSOLE_PORT_READY    3u
#define VIRTIO_CONSOLE_PORT_OPEN     6u

/* ---- 4.2.2 virtio over MMIO: registers, byte offsets, 32 bits each ---- */
#define VIRTIO_MMIO_MAGIC               0x74726976u
#define VIRTIO_MMIO_VERSION_1           2u /* value of the version register: not legacy */
#define VIRTIO_MMIO_MAGIC_VALUE         0x000u
#define VIRTIO_MMIO_VERSION             0x004u
#define VIRTIO_MMIO_DEVICE_ID           0x008u
#define VIRTIO_MMIO_DEVICE_FEATURES     0x010u
#define VIRTIO_MMIO_DEVICE_FEATURES_SEL 0x014u
#define VIRTIO_MMIO_DRIVER_FEATURES     0x020u
#define VIRTIO_MMIO_DRIVER_FEATURES_SEL 0x024u
#define VIRTIO_MMIO_QUEUE_SEL           0x030u
#define VIRTIO_MMIO_QUEUE_NUM_MAX       0x034u
#define VIRTIO_MMIO_QUEUE_NUM           0x038u
#define VIRTIO_MMIO_QUEUE_READY         0x044u
#define VIRTIO_MMIO_QUEUE_NOTIFY        0x050u
#define VIRTIO_MMIO_INTERRUPT_STATUS    0x060u
#define VIRTIO_MMIO_INTERRUPT_ACK       0x064u
#define VIRTIO_MMIO_STATUS              0x070u
#define VIRTIO_MMIO_QUEUE_DESC_LOW      0x080u
#define VIRTIO_MMIO_QUEUE_DESC_HIGH     0x084u
#define VIRTIO_MMIO_QUEUE_DRIVER_LOW    0x090u
#define VIRTIO_MMIO_QUEUE_DRIVER_HIGH   0x094u
#define VIRTIO_MMIO_QUEUE_DEVICE_LOW    0x0a0u
#define VIRTIO_MMIO_QUEUE_DEVICE_HIGH   0x0a4u
#define VIRTIO_MMIO_CONFIG_GENERATION   0x0fcu
#define VIRTIO_MMIO_CONFIG              0x100u

#define VIRTIO_INTERRUPT_USED   1u
#define VIRTIO_INTERRUPT_CONFIG 2u

#endif
