/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_KERNEL_FORMAT_H
#define DILOS_UNIKERNEL_KERNEL_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

#include "lib/base/compiler.h"

/*
 * printf's %c %s %d %i %u %x %X %o %p %%, with flags - 0 +, width, precision (also *), and the
 * lengths hh h l ll z t j. Returns the length that the whole text has; what fits is written and
 * ended by a NUL. Any context.
 */
int kvsnprintf(char *to, size_t capacity, const char *format, va_list args) PRINTF_LIKE(3, 0);

#endif
