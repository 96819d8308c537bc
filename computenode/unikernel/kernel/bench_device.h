/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_KERNEL_BENCH_DEVICE_H
#define DILOS_UNIKERNEL_KERNEL_BENCH_DEVICE_H

#include "computenode/unikernel/kernel/kernel.h"

/*
 * BOOTSPEC_BENCH_DEVICE: writes pages at random places of the far device, reads them back one at a
 * time, polling, in another order, checks every byte, and prints one line of JSON with the
 * nanoseconds that a read takes: {"reads":N,"median_ns":..,"min_ns":..,"max_ns":..}. No pager.
 */
NORETURN void bench_device(struct blkq *q);

#endif
