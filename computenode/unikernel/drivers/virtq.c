/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/drivers/virtq.h"

#include <errno.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/kernel/dma.h"
#include "lib/base/check.h"

/*
 * x86 keeps stores in order and loads in order, so towards a device that is another thread of the
 * host the compiler only has to be held back; a store before a load needs a fence.
 */
static void barrier_write(void)
{
    __asm__ volatile("" : : : "memory");
}

static void barrier_read(void)
{
    __asm__ volatile("" : : : "memory");
}

static void barrier_full(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

static bool has_event_idx(const struct virtq *q)
{
    return (q->device->features & VIRTIO_F_EVENT_IDX) != 0;
}

static volatile uint16_t *used_event(struct virtq *q)
{
    return &q->avail->ring[q->size];
}

static uint16_t avail_event(const struct virtq *q)
{
    return *(const volatile uint16_t *)&q->used->ring[q->size];
}

int virtq_init(struct virtq *q, struct virtio_device *device, uint16_t index)
{
    uint16_t size = MIN(virtio_mmio_queue_size_max(device, index), VIRTQ_DRIVER_SIZE_MAX);
    if (size == 0) {
        return -ENODEV;
    }
    phys_addr_t pa;
    int r = dma_frame_alloc(&pa);
    if (r != 0) {
        return r;
    }
    while (!IS_POWER_OF_TWO(size)) {
        size &= (uint16_t)(size - 1);
    }
    *q = (struct virtq){.device = device, .index = index, .size = size, .free_count = size};
    phys_addr_t avail = {pa.v + virtq_desc_bytes(size)};
    phys_addr_t used = {ALIGN_UP(avail.v + virtq_avail_bytes(size), VIRTQ_USED_ALIGN)};
    CHECK(used.v + virtq_used_bytes(size) <= pa.v + PAGE_BYTES);
    q->desc = phys_to_virt(pa);
    q->avail = phys_to_virt(avail);
    q->used = phys_to_virt(used);
    for (uint16_t i = 0; i < size; i++) {
        q->next[i] = (uint16_t)(i + 1);
    }
    virtq_interrupt_off(q);
    virtio_mmio_queue_set(device, index, size, pa, avail, used);
    return 0;
}

static uint16_t desc_take(struct virtq *q)
{
    CHECK(q->free_count != 0);
    uint16_t i = q->free_head;
    q->free_head = q->next[i];
    q->free_count--;
    return i;
}

static struct virtq_desc desc_of(const struct virtq_piece *piece, bool last, uint16_t next)
{
    return (struct virtq_desc){
        .addr = piece->pa.v,
        .len = piece->length,
        .flags = (uint16_t)((piece->device_writes ? VIRTQ_DESC_F_WRITE : 0) |
                            (last ? 0 : VIRTQ_DESC_F_NEXT)),
        .next = next,
    };
}

static void desc_store(volatile struct virtq_desc *to, struct virtq_desc from)
{
    to->addr = from.addr;
    to->len = from.len;
    to->flags = from.flags;
    to->next = from.next;
}

/* The chain's head is one descriptor, which points to the table. */
static uint16_t head_add(struct virtq *q, phys_addr_t table, uint16_t piece_count)
{
    uint16_t head = desc_take(q);
    struct virtq_desc desc = {.addr = table.v,
                              .len = piece_count * (uint32_t)sizeof(struct virtq_desc),
                              .flags = VIRTQ_DESC_F_INDIRECT};
    desc_store(&q->desc[head], desc);
    q->length[head] = 1;
    return head;
}

static uint16_t add_indirect(struct virtq *q, const struct virtq_piece *pieces,
                             uint16_t piece_count, const struct virtq_indirect *indirect)
{
    for (uint16_t i = 0; i < piece_count; i++) {
        indirect->table[i] = desc_of(&pieces[i], i + 1 == piece_count, (uint16_t)(i + 1));
    }
    return head_add(q, indirect->pa, piece_count);
}

static uint16_t add_direct(struct virtq *q, const struct virtq_piece *pieces, uint16_t piece_count)
{
    uint16_t head = q->free_head;
    for (uint16_t i = 0; i < piece_count; i++) {
        uint16_t at = desc_take(q);
        desc_store(&q->desc[at], desc_of(&pieces[i], i + 1 == piece_count, q->free_head));
    }
    q->length[head] = (uint8_t)piece_count;
    return head;
}

static void make_available(struct virtq *q, uint16_t head)
{
    q->avail->ring[q->avail_next & (q->size - 1)] = head;
    q->avail_next++;
    q->chain_count++;
}

uint16_t virtq_add(struct virtq *q, const struct virtq_piece *pieces, uint16_t piece_count,
                   const struct virtq_indirect *indirect)
{
    CHECK(piece_count != 0);
    uint16_t head = indirect != NULL ? add_indirect(q, pieces, piece_count, indirect)
                                     : add_direct(q, pieces, piece_count);
    make_available(q, head);
    return head;
}

HOT uint16_t virtq_add_table(struct virtq *q, phys_addr_t table, uint16_t piece_count)
{
    uint16_t head = head_add(q, table, piece_count);
    make_available(q, head);
    return head;
}

HOT void virtq_kick(struct virtq *q)
{
    uint16_t before = q->avail_published;
    if (UNLIKELY(before == q->avail_next || q->broken)) {
        return;
    }
    barrier_write();
    q->avail->idx = q->avail_next;
    q->avail_published = q->avail_next;
    barrier_full();
    bool wanted = LIKELY(has_event_idx(q))
                      ? virtq_need_event(avail_event(q), q->avail_next, before) != 0
                      : (q->used->flags & VIRTQ_USED_F_NO_NOTIFY) == 0;
    if (UNLIKELY(wanted)) {
        virtio_mmio_notify(q->device, q->index);
    }
}

static void chain_free(struct virtq *q, uint16_t head)
{
    uint16_t last = head;
    for (uint8_t i = 1; i < q->length[head]; i++) {
        last = q->next[last];
    }
    q->free_count = (uint16_t)(q->free_count + q->length[head]);
    q->length[head] = 0;
    q->next[last] = q->free_head;
    q->free_head = head;
    q->chain_count--;
}

HOT bool virtq_take(struct virtq *q, uint16_t *ret_head, uint32_t *ret_written)
{
    uint16_t ahead = (uint16_t)(q->used->idx - q->used_next);
    if (ahead == 0 || q->broken) {
        return false;
    }
    barrier_read();
    volatile struct virtq_used_elem *elem = &q->used->ring[q->used_next & (q->size - 1)];
    uint32_t head = elem->id;
    uint32_t written = elem->len;
    if (ahead > q->chain_count || head >= q->size || q->length[head] == 0) {
        q->broken = true;
        return false;
    }
    q->used_next++;
    chain_free(q, (uint16_t)head);
    *ret_head = (uint16_t)head;
    *ret_written = written;
    return true;
}

void virtq_forget(struct virtq *q, uint16_t head)
{
    CHECK(q->length[head] != 0);
    chain_free(q, head);
}

void virtq_interrupt_on(struct virtq *q)
{
    if (has_event_idx(q)) {
        *used_event(q) = q->used_next;
    } else {
        q->avail->flags = 0;
    }
    barrier_full();
}

/* With EVENT_IDX: an index that was passed already, so the next comes after 65535 entries. */
void virtq_interrupt_off(struct virtq *q)
{
    if (has_event_idx(q)) {
        *used_event(q) = (uint16_t)(q->used_next - 1);
    } else {
        q->avail->flags = VIRTQ_AVAIL_F_NO_INTERRUPT;
    }
}

void virtq_halt(struct virtq *q)
{
    cpu_halt_prepare();
    virtq_interrupt_on(q);
    if (!virtq_has_used(q)) {
        cpu_halt();
    } else {
        cpu_halt_cancel();
    }
    virtq_interrupt_off(q);
}
