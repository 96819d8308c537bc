/* SPDX-License-Identifier: Apache-2.0 */
/* What fs/ needs of the kernel, on a host: for its tests and fuzz targets. */
#ifndef DILOS_TESTS_STANDINS_H
#define DILOS_TESTS_STANDINS_H

#include <stddef.h>
#include <stdint.h>

/* The root device: bytes of the caller. reads_before_failure < 0: never fails. */
void standins_root_set(const void *image, size_t bytes);
void standins_root_fail_after(int64_t reads_before_failure);

/* Pages of the kernel window in use. */
uint64_t standins_window_pages(void);
/* Allocations that are alive. */
int64_t standins_allocation_count(void);

#endif
