/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel heap. Up to OBJECT_BYTES_MAX: pages of objects of one size, the page's header at its
 * start. Above: whole frames, mapped in a row in the vmap area; address space there is given out
 * in powers of two and reused, the frames are exactly as many as needed.
 */
#include <string.h>

#include "computenode/unikernel/arch/x86_64/layout.h"
#include "computenode/unikernel/far/frame.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/vmap.h"
#include "lib/base/check.h"
#include "lib/base/list.h"

#define PAGE_MAGIC       0x48454150u
#define LARGE_MAGIC      0x4c415247u
#define OBJECT_BYTES_MAX 1008u
#define ORDER_COUNT      28 /* of large areas: up to 2^27 pages */

struct heap_page {
    uint32_t magic;
    uint16_t class_index;
    uint16_t used_count;
    struct list link; /* in its class, while it has a free object */
    void *free;       /* first free object; each holds the address of the next */
};

/* At the start of a large area. */
struct large {
    uint32_t magic;
    uint32_t order;
    uint64_t page_count;
    uint64_t bytes; /* what was asked for */
    uint64_t unused;
};

/* An area of address space without frames. */
struct hole {
    struct hole *next;
    uint64_t va;
};

#define HEADER_BYTES 48u
_Static_assert(sizeof(struct heap_page) <= HEADER_BYTES, "objects start behind the header");
_Static_assert(sizeof(struct large) % 16 == 0, "alignment");

static const uint16_t class_bytes[] = {16, 32, 48, 64, 96, 128, 192, 256, 336, 448, 672, 1008};
static struct list classes[ARRAY_LEN(class_bytes)];
static struct hole *holes[ORDER_COUNT];
static uint64_t vmap_next = VMAP_BASE;
static bool ready;

static void heap_init(void)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        list_init(&classes[i]);
    }
    ready = true;
}

static unsigned class_of(size_t bytes)
{
    unsigned i = 0;
    while (class_bytes[i] < bytes) {
        i++;
    }
    return i;
}

static struct heap_page *page_new(unsigned class_index)
{
    phys_addr_t pa;
    if (frame_alloc_kernel(&pa) != 0) {
        return NULL;
    }
    struct heap_page *page = phys_to_virt(pa);
    page->magic = PAGE_MAGIC;
    page->class_index = (uint16_t)class_index;
    page->used_count = 0;
    page->free = NULL;
    size_t size = class_bytes[class_index];
    for (size_t at = HEADER_BYTES; at + size <= PAGE_BYTES; at += size) {
        void **object = (void **)((uint8_t *)page + at);
        *object = page->free;
        page->free = object;
    }
    list_init(&page->link);
    list_append(&classes[class_index], &page->link);
    return page;
}

static void *object_alloc(unsigned class_index)
{
    struct list *first = list_first(&classes[class_index]);
    struct heap_page *page =
        first != NULL ? list_entry(first, struct heap_page, link) : page_new(class_index);
    if (page == NULL) {
        return NULL;
    }
    void **object = page->free;
    page->free = *object;
    page->used_count++;
    if (page->free == NULL) {
        list_remove(&page->link);
    }
    return object;
}

static struct heap_page *page_of(void *object)
{
    struct heap_page *page = (void *)(uintptr_t)ALIGN_DOWN((uintptr_t)object, PAGE_BYTES);
    CHECK(page->magic == PAGE_MAGIC);
    return page;
}

/* An empty page goes back, unless it is the only one of its class with room. */
static void object_free(void *object)
{
    struct heap_page *page = page_of(object);
    CHECK(page->used_count != 0);
    if (page->free == NULL) {
        list_prepend(&classes[page->class_index], &page->link);
    }
    *(void **)object = page->free;
    page->free = object;
    page->used_count--;
    bool only = page->link.next == page->link.prev;
    if (page->used_count == 0 && !only) {
        list_remove(&page->link);
        page->magic = 0;
        frame_free_kernel(virt_to_phys(page));
    }
}

static unsigned order_of(uint64_t page_count)
{
    unsigned order = 0;
    while ((UINT64_C(1) << order) < page_count) {
        order++;
    }
    return order;
}

static uint64_t area_take(unsigned order)
{
    struct hole *hole = holes[order];
    if (hole != NULL) {
        uint64_t va = hole->va;
        holes[order] = hole->next;
        object_free(hole);
        return va;
    }
    uint64_t bytes = PAGE_BYTES << order;
    if (bytes > VMAP_END - vmap_next) {
        return 0;
    }
    uint64_t va = vmap_next;
    vmap_next += bytes;
    return va;
}

/* If there is no memory to note the hole the address space is lost, which does no harm. */
static void area_give(uint64_t va, unsigned order)
{
    struct hole *hole = object_alloc(class_of(sizeof(*hole)));
    if (hole != NULL) {
        *hole = (struct hole){.next = holes[order], .va = va};
        holes[order] = hole;
    }
}

static void pages_unmap(uint64_t va, uint64_t page_count)
{
    for (uint64_t i = 0; i < page_count; i++) {
        frame_free_kernel(vunmap_page(va + i * PAGE_BYTES));
    }
}

static int page_map(uint64_t va)
{
    phys_addr_t pa;
    int r = frame_alloc_kernel(&pa);
    if (r != 0) {
        return r;
    }
    r = vmap_page(va, pa);
    if (r != 0) {
        frame_free_kernel(pa);
    }
    return r;
}

static void *large_alloc(size_t bytes)
{
    if (bytes > (PAGE_BYTES << (ORDER_COUNT - 1)) - sizeof(struct large)) {
        return NULL;
    }
    uint64_t page_count = ALIGN_UP(bytes + sizeof(struct large), PAGE_BYTES) / PAGE_BYTES;
    unsigned order = order_of(page_count);
    uint64_t va = area_take(order);
    if (va == 0) {
        return NULL;
    }
    for (uint64_t i = 0; i < page_count; i++) {
        if (page_map(va + i * PAGE_BYTES) != 0) {
            pages_unmap(va, i);
            area_give(va, order);
            return NULL;
        }
    }
    struct large *large = (struct large *)(uintptr_t)va;
    *large = (struct large){
        .magic = LARGE_MAGIC, .order = order, .page_count = page_count, .bytes = bytes};
    return large + 1;
}

static bool is_large(const void *p)
{
    return (uint64_t)(uintptr_t)p >= VMAP_BASE;
}

static struct large *large_of(void *p)
{
    struct large *large = (struct large *)p - 1;
    CHECK(large->magic == LARGE_MAGIC);
    return large;
}

static void large_free(void *p)
{
    struct large *large = large_of(p);
    unsigned order = large->order;
    pages_unmap((uint64_t)(uintptr_t)large, large->page_count);
    area_give((uint64_t)(uintptr_t)large, order);
}

void *kmalloc(size_t bytes)
{
    if (!ready) {
        heap_init();
    }
    return bytes <= OBJECT_BYTES_MAX ? object_alloc(class_of(bytes)) : large_alloc(bytes);
}

void *kzalloc(size_t bytes)
{
    void *p = kmalloc(bytes);
    if (p != NULL) {
        memset(p, 0, bytes);
    }
    return p;
}

void kfree(void *p)
{
    if (p == NULL) {
        return;
    }
    if (is_large(p)) {
        large_free(p);
    } else {
        object_free(p);
    }
}

static size_t room_of(void *p)
{
    if (is_large(p)) {
        return large_of(p)->page_count * PAGE_BYTES - sizeof(struct large);
    }
    return class_bytes[page_of(p)->class_index];
}

void *krealloc(void *p, size_t bytes)
{
    if (p == NULL) {
        return kmalloc(bytes);
    }
    size_t room = room_of(p);
    if (bytes <= room && bytes > room / 4) {
        return p;
    }
    void *moved = kmalloc(bytes);
    if (moved != NULL) {
        memcpy(moved, p, MIN(bytes, room));
        kfree(p);
    }
    return moved;
}
