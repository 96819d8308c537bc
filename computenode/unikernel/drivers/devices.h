/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the devices of the machine and starts them. */
#ifndef DILOS_UNIKERNEL_DRIVERS_DEVICES_H
#define DILOS_UNIKERNEL_DRIVERS_DEVICES_H

#include <stdbool.h>

#include "computenode/unikernel/drivers/virtio_blk.h"

struct devices {
    bool has_console;
    struct blk_device *far;  /* NULL: none */
    struct blk_device *root; /* NULL: none */
};

/* Once, after frames_init(). Devices that can't be used are named in the log. */
void devices_init(const char *cmdline, struct devices *ret);

#endif
