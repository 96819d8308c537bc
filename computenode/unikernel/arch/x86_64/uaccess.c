/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/trap.h"
#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"

int uaccess_copy(void *to, const void *from, size_t bytes);
int uaccess_zero(void *to, size_t bytes);
int64_t uaccess_string(char *to, const char *from, size_t capacity);
int uaccess_exchange(uint32_t *at, uint32_t expected, uint32_t next, uint32_t *found);

struct uaccess_entry {
    uint64_t at;
    uint64_t then;
};

extern const struct uaccess_entry uaccess_table_start[], uaccess_table_end[];

uint64_t uaccess_fixup(uint64_t rip)
{
    for (const struct uaccess_entry *e = uaccess_table_start; e < uaccess_table_end; e++) {
        if (e->at == rip) {
            return e->then;
        }
    }
    return 0;
}

static bool within(uint64_t va, size_t bytes, uint64_t start, uint64_t end)
{
    return va >= start && va <= end && bytes <= end - va;
}

static bool user_range(uint64_t va, size_t bytes)
{
    return within(va, bytes, 0, MM_USER_END);
}

static bool window_range(uint64_t va, size_t bytes)
{
    return within(va, bytes, MM_KERNEL_WINDOW, MM_KERNEL_WINDOW + MM_KERNEL_WINDOW_BYTES);
}

static bool pageable_range(uint64_t va, size_t bytes)
{
    return user_range(va, bytes) || window_range(va, bytes);
}

static int copy(void *to, const void *from, size_t bytes)
{
    thread_current()->uaccess_failure = 0;
    cpu_user_access_begin();
    int r = uaccess_copy(to, from, bytes);
    cpu_user_access_end();
    return r;
}

int copy_from_user(void *to, uint64_t from, size_t bytes)
{
    if (!user_range(from, bytes)) {
        thread_current()->uaccess_failure = 0;
        return -EFAULT;
    }
    return copy(to, (const void *)(uintptr_t)from, bytes);
}

int copy_to_user(uint64_t to, const void *from, size_t bytes)
{
    if (!user_range(to, bytes)) {
        thread_current()->uaccess_failure = 0;
        return -EFAULT;
    }
    return copy((void *)(uintptr_t)to, from, bytes);
}

int copy_pageable(uint64_t to, uint64_t from, size_t bytes)
{
    if (!pageable_range(to, bytes) || !pageable_range(from, bytes)) {
        thread_current()->uaccess_failure = 0;
        return -EFAULT;
    }
    return copy((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
}

int copy_to_window(uint64_t to, const void *from, size_t bytes)
{
    thread_current()->uaccess_failure = 0;
    return window_range(to, bytes) ? uaccess_copy((void *)(uintptr_t)to, from, bytes) : -EFAULT;
}

int copy_from_window(void *to, uint64_t from, size_t bytes)
{
    thread_current()->uaccess_failure = 0;
    return window_range(from, bytes) ? uaccess_copy(to, (const void *)(uintptr_t)from, bytes)
                                     : -EFAULT;
}

int clear_user(uint64_t to, size_t bytes)
{
    thread_current()->uaccess_failure = 0;
    if (!pageable_range(to, bytes)) {
        return -EFAULT;
    }
    cpu_user_access_begin();
    int r = uaccess_zero((void *)(uintptr_t)to, bytes);
    cpu_user_access_end();
    return r;
}

int64_t string_from_user(char *to, uint64_t from, size_t capacity)
{
    thread_current()->uaccess_failure = 0;
    if (!user_range(from, 1)) {
        return -EFAULT;
    }
    size_t bytes = (size_t)MIN((uint64_t)capacity, MM_USER_END - from);
    cpu_user_access_begin();
    int64_t length = uaccess_string(to, (const char *)(uintptr_t)from, bytes);
    cpu_user_access_end();
    if (length == (int64_t)bytes) {
        return bytes == capacity ? -ENAMETOOLONG : -EFAULT;
    }
    return length;
}

int user_compare_exchange(uint64_t at, uint32_t expected, uint32_t next, uint32_t *ret_found)
{
    thread_current()->uaccess_failure = 0;
    if (!user_range(at, sizeof(uint32_t)) || !IS_ALIGNED(at, sizeof(uint32_t))) {
        return -EFAULT;
    }
    cpu_user_access_begin();
    int r = uaccess_exchange((uint32_t *)(uintptr_t)at, expected, next, ret_found);
    cpu_user_access_end();
    return r;
}

int uaccess_failure(void)
{
    return thread_current()->uaccess_failure;
}
