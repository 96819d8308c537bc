/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing of the values that people type: sizes, numbers, names. Hosted. */
#ifndef DILOS_LIB_SYS_TEXT_H
#define DILOS_LIB_SYS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

/*
 * "64M", "1G", "512KiB", "4096": binary units K M G T, each with an optional "iB" or "B".
 * Errors: -EINVAL not a size, -ERANGE above 2^63.
 */
int text_parse_size(const char *text, uint64_t *ret_bytes) MUST_CHECK;
/* The shortest exact or one-decimal form: "64M", "1.5G". `to` holds at least 16 bytes. */
char *text_format_size(uint64_t bytes, char *to);
/* Decimal, 0..max. Errors: -EINVAL, -ERANGE. */
int text_parse_u64(const char *text, uint64_t max, uint64_t *ret) MUST_CHECK;
/* A member or instance name: [a-z0-9][a-z0-9-]{0,62}. */
bool text_is_name(const char *text);

#endif
