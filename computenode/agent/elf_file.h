/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program or library says in its ELF headers about what it needs (System V ABI, gABI 4.1
 * chapters 4 and 5; x86-64 psABI). Reads through a source, so that no file is mapped or held in
 * memory; every offset and count of the file is checked and bounded.
 */
#ifndef DILOS_AGENT_ELF_FILE_H
#define DILOS_AGENT_ELF_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define ELF_NEEDED_MAX     128u
#define ELF_TEXT_BYTES     1024u
#define ELF_NAME_BYTES     256u
#define ELF_MACHINE_X86_64 62u

struct elf_source {
    /* Reads exactly `bytes` at `offset`. Errors: negative errno; -EINVAL beyond the end. */
    int (*read)(void *context, uint64_t offset, void *to, uint32_t bytes);
    void *context;
};

struct elf_file {
    uint16_t machine;
    bool is_dynamic; /* has a dynamic section */
    bool has_runpath;
    uint32_t needed_count;
    char interpreter[ELF_TEXT_BYTES]; /* "": none */
    char rpath[ELF_TEXT_BYTES];       /* "": none */
    char runpath[ELF_TEXT_BYTES];     /* "": none */
    char needed[ELF_NEEDED_MAX][ELF_NAME_BYTES];
};

/*
 * Errors: -ENOEXEC not an ELF; -EOPNOTSUPP another class, byte order or machine (ret->machine is
 * set, 0 for another class or order); -EBADMSG malformed; -EMSGSIZE above a limit; those of read.
 */
int elf_file_parse(const struct elf_source *source, struct elf_file *ret) MUST_CHECK;

/* "aarch64", "32-bit x86", ... or "machine N". `to` holds at least 32 bytes. */
const char *elf_machine_name(uint16_t machine, char *to);

#endif
