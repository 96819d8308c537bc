/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/vdso.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

/* vdso_blob.S */
extern const uint8_t vdso_image[], vdso_image_end[];

static struct vclock_page clock_page;

/* One thing that is mapped: bytes of the kernel that never change. */
struct blob {
    struct mm_backing backing;
    const char *name;
    const uint8_t *bytes;
    uint64_t length;
};

static void blob_ref(struct mm_backing *b)
{
}

static int blob_read_page(struct mm_backing *b, uint64_t page_index, void *page)
{
    const struct blob *blob = container_of(b, struct blob, backing);
    uint64_t offset = page_index * PAGE_BYTES;
    if (page_index > blob->length / PAGE_BYTES || offset >= blob->length) {
        return -EFAULT;
    }
    uint64_t part = MIN(blob->length - offset, PAGE_BYTES);
    memcpy(page, blob->bytes + offset, part);
    memset((uint8_t *)page + part, 0, PAGE_BYTES - part);
    return 0;
}

static const char *blob_name(struct mm_backing *b, uint64_t *ret_inode)
{
    *ret_inode = 0;
    return container_of(b, struct blob, backing)->name;
}

static const struct mm_backing_ops blob_ops = {
    .ref = blob_ref, .unref = blob_ref, .read_page = blob_read_page, .name = blob_name};

static struct blob clock_blob = {.backing = {&blob_ops}, .name = "[vvar]"};
static struct blob image_blob = {.backing = {&blob_ops}, .name = "[vdso]"};

void vdso_init(void)
{
    clock_page.mult = ((uint64_t)1000000000 << 32) / clock_tsc_hz();
    clock_page.tsc_base = vclock_tsc();
    clock_page.ns_base = clock_ns();
    clock_page.realtime_ns = clock_realtime_ns() - clock_ns();
    clock_blob.bytes = (const uint8_t *)&clock_page;
    clock_blob.length = sizeof(clock_page);
    image_blob.bytes = vdso_image;
    image_blob.length = (uint64_t)(vdso_image_end - vdso_image);
}

int vdso_map(uint64_t *ret_va)
{
    struct mm *mm = mm_current();
    uint64_t image_bytes = ALIGN_UP(image_blob.length, PAGE_BYTES);
    uint64_t start, va;
    int rc = mm_map(mm, 0, PAGE_BYTES + image_bytes, 0, 0, NULL, 0, &start);
    if (rc == 0) {
        rc = mm_map(mm, start, PAGE_BYTES, MM_READ, MM_FIXED, &clock_blob.backing, 0, &va);
    }
    if (rc == 0) {
        rc = mm_map(mm, start + PAGE_BYTES, image_bytes, MM_READ | MM_EXEC, MM_FIXED,
                    &image_blob.backing, 0, &va);
    }
    if (rc == 0) {
        *ret_va = start + PAGE_BYTES;
    }
    return rc;
}

const struct vclock_page *vdso_clock_page(void)
{
    return &clock_page;
}

uint64_t program_monotonic_ns(void)
{
    return vclock_monotonic(&clock_page);
}

uint64_t program_realtime_ns(void)
{
    return vclock_monotonic(&clock_page) + clock_page.realtime_ns;
}
