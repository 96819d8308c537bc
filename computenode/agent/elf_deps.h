/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that a program needs to start, found as the dynamic linker would find them (ld.so(8)):
 * DT_RPATH, DT_RUNPATH with $ORIGIN, /etc/ld.so.cache, the standard folders. Nothing is run. A
 * script needs its interpreter.
 */
#ifndef DILOS_AGENT_ELF_DEPS_H
#define DILOS_AGENT_ELF_DEPS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define ELF_DEPS_MAX         512u
#define ELF_DEPS_PATH_BYTES  1024u
#define ELF_DEPS_ERROR_BYTES 1024u

struct elf_deps {
    uint32_t count;
    bool needs_cache; /* a library lies where only /etc/ld.so.cache leads to */
    char paths[ELF_DEPS_MAX][ELF_DEPS_PATH_BYTES]; /* absolute; [0] is the program */
};

/*
 * Collects what `program` (an absolute path) needs. NULL with a sentence in ret_error
 * (ELF_DEPS_ERROR_BYTES) that names the file, what is wrong and where was looked. To be freed with
 * free().
 */
struct elf_deps *elf_deps_collect(const char *program, char *ret_error);

/*
 * The absolute path of a program: itself if it has a slash (it must be absolute then), else found
 * in `search` (as $PATH). Errors: -ENOENT, -EINVAL relative, -ENAMETOOLONG.
 */
int elf_deps_find_program(const char *name, const char *search,
                          char ret_path[ELF_DEPS_PATH_BYTES]) MUST_CHECK;

#endif
