/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/table.h"
#include "lib/base/check.h"

int cli_fail(enum cli_exit exit_code, const char *remedy, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    fprintf(stderr, "dilosctl: %s\n", table_tame(text));
    free(text);
    if (remedy != NULL && remedy[0] != '\0') {
        length = asprintf(&text, "%s", remedy);
        CHECK(length >= 0);
        fprintf(stderr, "  remedy: %s\n", table_tame(text));
        free(text);
    }
    return (int)exit_code;
}
