/* SPDX-License-Identifier: Apache-2.0 */
/* What a function writes to a descriptor of this process, for tests of messages. */
#ifndef DILOS_TESTS_UNIT_SYS_CAPTURE_H
#define DILOS_TESTS_UNIT_SYS_CAPTURE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"

#define CAPTURE_BYTES 16384

struct capture {
    int target;
    int saved;
    FILE *file;
    char text[CAPTURE_BYTES];
};

static inline void capture_begin(struct capture *c, int target)
{
    (void)fflush(NULL);
    c->target = target;
    c->saved = dup(target);
    c->file = tmpfile();
    CHECK(c->saved >= 0);
    CHECK(c->file != NULL);
    CHECK(dup2(fileno(c->file), target) == target);
}

/* The text is in c->text from then on. */
static inline void capture_end(struct capture *c)
{
    (void)fflush(NULL);
    ssize_t length = pread(fileno(c->file), c->text, sizeof(c->text) - 1, 0);
    CHECK(length >= 0);
    c->text[length] = '\0';
    CHECK(dup2(c->saved, c->target) == c->target);
    (void)close(c->saved);
    (void)fclose(c->file);
}

#endif
