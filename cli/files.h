/* SPDX-License-Identifier: Apache-2.0 */
/* --file HOST[:GUEST]: what it means, in one place for launch and image build. */
#ifndef DILOS_CLI_FILES_H
#define DILOS_CLI_FILES_H

#include <stddef.h>

#include "cli/args.h"
#include "proto/dilos.pb-c.h"

/*
 * HOST is made absolute against our working directory (it is looked up on the agent's host).
 * Without GUEST an absolute HOST has the same path in the guest, and a relative one its last part
 * in `directory`, the program's working directory. A relative GUEST is taken from `directory` too.
 * Returns an exit code; what was made is freed with files_free() in any case.
 */
int files_parse(const struct args_list *list, const char *directory, Dilos__FileSpec ***ret_files,
                size_t *ret_count) MUST_CHECK;
void files_free(Dilos__FileSpec **files, size_t count);

/*
 * A path without ".", "..", or double and final slashes; a relative one is taken from `base`
 * (absolute). Links are not followed. The result is malloc'ed.
 */
char *files_absolute(const char *base, const char *path);

#endif
