/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parser of ELF executables (System V gABI chapters 4 and 5, x86-64 psABI): 64 bit, little endian,
 * ET_EXEC and ET_DYN. The file is a peer's bytes: nothing is cast, every offset, size and count is
 * checked. Pure: no I/O and no allocation.
 */
#ifndef DILOS_UNIKERNEL_LINUX_ELF_H
#define DILOS_UNIKERNEL_LINUX_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define ELF_HEADER_BYTES         64u
#define ELF_PROGRAM_HEADER_BYTES 56u
#define ELF_PROGRAM_HEADERS_MAX  64u
#define ELF_SEGMENTS_MAX         16u
#define ELF_INTERPRETER_MAX      255u /* bytes of its path */

enum elf_segment_flag { ELF_EXECUTE = 1, ELF_WRITE = 2, ELF_READ = 4 };

struct elf_header {
    bool relocatable; /* ET_DYN: may be placed anywhere */
    uint64_t entry;
    uint64_t program_headers_offset;
    uint32_t program_header_count;
};

struct elf_segment {
    uint64_t offset; /* in the file; congruent to va modulo the page size */
    uint64_t va;
    uint64_t file_bytes;
    uint64_t memory_bytes; /* >= file_bytes */
    unsigned flags;        /* enum elf_segment_flag */
};

struct elf_image {
    struct elf_header header;
    uint32_t segment_count; /* >= 1, in ascending order, pages do not overlap */
    struct elf_segment segments[ELF_SEGMENTS_MAX];
    uint64_t start;              /* page of the first segment */
    uint64_t end;                /* end of the last page of the last segment */
    uint64_t program_headers_va; /* where a segment holds them in memory; 0: nowhere */
    uint64_t interpreter_offset; /* of the path in the file */
    uint32_t interpreter_bytes;  /* with the NUL; 0: none */
    bool executable_stack;
    uint64_t writable_bytes; /* memory that the writable segments take */
};

/*
 * Parses the first ELF_HEADER_BYTES of a file. ret_why: a sentence for the user when it fails.
 * Errors: -ENOEXEC.
 */
int elf_header_parse(const void *data, size_t length, struct elf_header *ret,
                     const char **ret_why) MUST_CHECK;

/*
 * Parses the program headers: header->program_header_count * ELF_PROGRAM_HEADER_BYTES bytes from
 * header->program_headers_offset of a file of file_bytes bytes. Errors: -ENOEXEC.
 */
int elf_segments_parse(const struct elf_header *header, const void *data, size_t length,
                       uint64_t file_bytes, struct elf_image *ret, const char **ret_why) MUST_CHECK;

#endif
