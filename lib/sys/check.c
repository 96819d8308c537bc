/* SPDX-License-Identifier: Apache-2.0 */
/* The hosted end of CHECK (lib/base/check.h): says which condition failed, then aborts. */
#include "lib/base/check.h"

#include <stdio.h>
#include <stdlib.h>

NORETURN void check_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
    abort();
}
