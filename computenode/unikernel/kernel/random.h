/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_KERNEL_RANDOM_H
#define DILOS_UNIKERNEL_KERNEL_RANDOM_H

#include <stdint.h>

/*
 * Seeds random_fill() with BOOTSPEC_SEED_BYTES bytes. `extra` (the time stamp counter) tells two
 * starts with one seed apart. Once, before the first use.
 */
void random_init(const uint8_t *seed, uint64_t extra);

#endif
