/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes through the control channel (lib/wire/ctl.h): the program's input, signals, and what
 * the operator changes. control.c is the other direction. What the rest of the kernel calls is in
 * kernel.h (control_input and its like).
 */
#ifndef DILOS_UNIKERNEL_KERNEL_CONTROL_IN_H
#define DILOS_UNIKERNEL_KERNEL_CONTROL_IN_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/wire/ctl.h"

/* From now on what comes is taken in; nothing has come so far. Errors: -ENOMEM. */
int control_in_open(void) MUST_CHECK;

/* control.c: sends one record, whose body is `head` and then `body`; may wait. */
void control_send(enum ctl_type type, const void *head, uint32_t head_length, const void *body,
                  uint32_t body_length);

#endif
