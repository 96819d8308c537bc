/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_KERNEL_BENCH_DEVICE_H
#define DILOS_UNIKERNEL_KERNEL_BENCH_DEVICE_H

#include "computenode/unikernel/kernel/kernel.h"

/*
 * BOOTSPEC_BENCH_DEVICE: writes pages at random places of the far device, reads them back one at a
 * time, polling, in another order, and checks every byte; then once more with 16 in flight; then
 * discards them. Prints two lines of JSON with the nanoseconds that a read takes:
 *   {"system":"device","reads":N,"median":..,"min":..,"max":..,"unit":"ns/page"}
 *   {"system":"device-depth-16","reads":N,"mean":..,"unit":"ns/page"}
 * Before the pager starts: it uses the queue alone. far_bytes: what the instance may hold; half of
 * it (at most 64 MiB) is used. Ends the machine with a reason when anything fails.
 */
void bench_device(struct blkq *q, uint64_t far_bytes);

#endif
