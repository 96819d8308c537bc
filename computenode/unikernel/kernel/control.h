/* SPDX-License-Identifier: Apache-2.0 */
/* The rest of the control channel's interface, for the kernel proper; see kernel.h. */
#ifndef DILOS_UNIKERNEL_KERNEL_CONTROL_H
#define DILOS_UNIKERNEL_KERNEL_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/kernel/port.h"

/* The console is there: says hello and speaks through it from now on. Errors: -ENOMEM. */
int control_open(phys_addr_t stats) MUST_CHECK;

/* One line of log, without its newline. */
void control_log(int level, const char *text, size_t length);

/* After an interrupt of a device, in its handler. */
void control_interrupt(void);

/* From now on machine_exit() quiesces the pager first. */
void control_pager_started(void);

#endif
