/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unikernel/standins.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/wait.h"

static const uint8_t *root_image;
static size_t root_bytes;
static int64_t root_reads_left = -1;
static uint64_t window_pages;
static int64_t allocation_count;
static uint64_t now_ns = UINT64_C(1700000000000000000);

void standins_root_set(const void *image, size_t bytes)
{
    root_image = image;
    root_bytes = bytes;
}

void standins_root_fail_after(int64_t reads_before_failure)
{
    root_reads_left = reads_before_failure;
}

uint64_t standins_window_pages(void)
{
    return window_pages;
}

int64_t standins_allocation_count(void)
{
    return allocation_count;
}

void *kmalloc(size_t bytes)
{
    allocation_count++;
    return malloc(bytes == 0 ? 1 : bytes);
}

void *kzalloc(size_t bytes)
{
    allocation_count++;
    return calloc(1, bytes == 0 ? 1 : bytes);
}

void *krealloc(void *p, size_t bytes)
{
    allocation_count += p == NULL ? 1 : 0;
    return realloc(p, bytes);
}

void kfree(void *p)
{
    allocation_count -= p == NULL ? 0 : 1;
    free(p);
}

int ksnprintf(char *to, size_t capacity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(to, capacity, format, args);
    va_end(args);
    return length;
}

int copy_from_user(void *to, uint64_t from, size_t bytes)
{
    memcpy(to, (const void *)(uintptr_t)from, bytes);
    return 0;
}

int copy_to_user(uint64_t to, const void *from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, from, bytes);
    return 0;
}

int clear_user(uint64_t to, size_t bytes)
{
    memset((void *)(uintptr_t)to, 0, bytes);
    return 0;
}

int copy_pageable(uint64_t to, uint64_t from, size_t bytes)
{
    memcpy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
    return 0;
}

int copy_to_window(uint64_t to, const void *from, size_t bytes)
{
    return copy_to_user(to, from, bytes);
}

int copy_from_window(void *to, uint64_t from, size_t bytes)
{
    return copy_from_user(to, from, bytes);
}

int kwin_alloc(uint64_t page_count, uint64_t *ret_va)
{
    void *p = mmap(NULL, page_count * PAGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return -ENOMEM;
    }
    window_pages += page_count;
    *ret_va = (uint64_t)(uintptr_t)p;
    return 0;
}

void kwin_free(uint64_t va, uint64_t page_count)
{
    window_pages -= page_count;
    (void)munmap((void *)(uintptr_t)va, page_count * PAGE_BYTES);
}

int rootdev_read(uint64_t offset, void *to, size_t bytes)
{
    if (root_reads_left == 0 || offset > root_bytes || bytes > root_bytes - offset) {
        return -EIO;
    }
    root_reads_left -= root_reads_left > 0 ? 1 : 0;
    memcpy(to, root_image + offset, bytes);
    return 0;
}

uint64_t clock_realtime_ns(void)
{
    return now_ns += 1000;
}

void random_fill(void *to, size_t bytes)
{
    memset(to, 0x5a, bytes);
}

const struct bootspec *boot_spec(void)
{
    static const struct bootspec spec;
    return &spec;
}

void control_output(int descriptor, const void *bytes, size_t length)
{
}

int64_t control_input(void *to, size_t capacity)
{
    return 0;
}

int control_input_wait(void)
{
    return 0;
}

/* One thread: nobody could ever wake it. */
void wait_init(struct wait_queue *q)
{
    list_init(&q->waiters);
}

int wait_on(struct wait_queue *q, uint64_t deadline_ns, enum thread_wait kind)
{
    return -EDEADLK;
}

void wait_wake(struct wait_queue *q)
{
}

void wait_changed(void)
{
}
