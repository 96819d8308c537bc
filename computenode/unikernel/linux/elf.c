/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/elf.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "lib/base/check.h"

#define ELF_MAGIC      0x464c457fu
#define CLASS_64       2
#define DATA_LITTLE    1
#define TYPE_EXEC      2
#define TYPE_DYN       3
#define MACHINE_X86_64 62
#define PT_LOAD        1
#define PT_INTERP      3
#define PT_GNU_STACK   0x6474e551u
#define USER_END       0x00007ffffffff000ull
#define ADDRESS_MIN    0x10000ull

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -ENOEXEC;
}

/* Which sentence says that it is for another machine: literals, since nothing is allocated. */
static const char *wrong_machine(uint16_t machine)
{
    switch (machine) {
    case 3:
        return "it is built for x86 (32 bit); this machine runs x86-64 programs";
    case 40:
        return "it is built for ARM (32 bit); this machine runs x86-64 programs";
    case 183:
        return "it is built for AArch64; this machine runs x86-64 programs";
    case 243:
        return "it is built for RISC-V; this machine runs x86-64 programs";
    case 21:
        return "it is built for PowerPC64; this machine runs x86-64 programs";
    case 22:
        return "it is built for S390; this machine runs x86-64 programs";
    default:
        return "it is built for another architecture; this machine runs x86-64 programs";
    }
}

int elf_header_parse(const void *data, size_t length, struct elf_header *ret, const char **ret_why)
{
    struct bytes_reader r;
    bytes_reader_init(&r, data, length);
    if (length < ELF_HEADER_BYTES || bytes_get_u32(&r) != ELF_MAGIC) {
        return refuse(ret_why, "it is neither an ELF program nor a script that starts with #!");
    }
    uint8_t class = bytes_get_u8(&r);
    uint8_t order = bytes_get_u8(&r);
    (void)bytes_get(&r, 10);
    uint16_t type = bytes_get_u16(&r);
    uint16_t machine = bytes_get_u16(&r);
    if (order != DATA_LITTLE || machine != MACHINE_X86_64) {
        return refuse(ret_why, wrong_machine(order == DATA_LITTLE ? machine : 0));
    }
    if (class != CLASS_64) {
        return refuse(ret_why, "it uses the x32 ABI, which is not supported");
    }
    if (type != TYPE_EXEC && type != TYPE_DYN) {
        return refuse(ret_why, "it is an ELF file, but not an executable");
    }
    struct elf_header h = {.relocatable = type == TYPE_DYN};
    (void)bytes_get_u32(&r);
    h.entry = bytes_get_u64(&r);
    h.program_headers_offset = bytes_get_u64(&r);
    (void)bytes_get(&r, 8 + 4 + 2);
    uint16_t entry_bytes = bytes_get_u16(&r);
    h.program_header_count = bytes_get_u16(&r);
    CHECK(r.ok);
    if (entry_bytes != ELF_PROGRAM_HEADER_BYTES || h.program_header_count == 0 ||
        h.program_header_count > ELF_PROGRAM_HEADERS_MAX) {
        return refuse(ret_why, "its ELF header is corrupt (program headers)");
    }
    *ret = h;
    return 0;
}

struct program_header {
    uint32_t type;
    uint32_t flags;
    uint64_t offset;
    uint64_t va;
    uint64_t file_bytes;
    uint64_t memory_bytes;
};

static void program_header_decode(struct bytes_reader *r, struct program_header *ret)
{
    ret->type = bytes_get_u32(r);
    ret->flags = bytes_get_u32(r);
    ret->offset = bytes_get_u64(r);
    ret->va = bytes_get_u64(r);
    (void)bytes_get_u64(r); /* physical address */
    ret->file_bytes = bytes_get_u64(r);
    ret->memory_bytes = bytes_get_u64(r);
    (void)bytes_get_u64(r); /* alignment: the page size decides */
}

static bool in_file(const struct program_header *p, uint64_t file_bytes)
{
    return p->offset <= file_bytes && p->file_bytes <= file_bytes - p->offset;
}

/* One PT_LOAD. */
static int segment_add(struct elf_image *image, const struct program_header *p, uint64_t file_bytes,
                       const char **ret_why)
{
    if (p->memory_bytes == 0) {
        return 0;
    }
    if (image->segment_count == ELF_SEGMENTS_MAX) {
        return refuse(ret_why, "it has too many loadable segments");
    }
    if (!in_file(p, file_bytes) || p->file_bytes > p->memory_bytes) {
        return refuse(ret_why, "it is truncated or corrupt (a segment lies outside of the file)");
    }
    if (p->va >= USER_END || p->memory_bytes > USER_END - p->va ||
        (p->va - p->offset) % PAGE_BYTES != 0) {
        return refuse(ret_why, "it is corrupt (address of a segment)");
    }
    if (!image->header.relocatable && p->va < ADDRESS_MIN) {
        return refuse(ret_why, "it wants memory below 64 KiB, which is kept empty");
    }
    uint64_t start = ALIGN_DOWN(p->va, PAGE_BYTES);
    if (image->segment_count > 0 && start < image->end) {
        return refuse(ret_why, "its segments overlap or are out of order");
    }
    image->start = image->segment_count == 0 ? start : image->start;
    image->end = ALIGN_UP(p->va + p->memory_bytes, PAGE_BYTES);
    image->segments[image->segment_count++] = (struct elf_segment){
        .offset = p->offset,
        .va = p->va,
        .file_bytes = p->file_bytes,
        .memory_bytes = p->memory_bytes,
        .flags = p->flags & 7,
    };
    image->writable_bytes += (p->flags & ELF_WRITE) != 0 ? image->end - start : 0;
    return 0;
}

static int interpreter_set(struct elf_image *image, const struct program_header *p,
                           uint64_t file_bytes, const char **ret_why)
{
    if (!in_file(p, file_bytes) || p->file_bytes < 2 || p->file_bytes > ELF_INTERPRETER_MAX + 1) {
        return refuse(ret_why, "it is corrupt (path of its interpreter)");
    }
    image->interpreter_offset = p->offset;
    image->interpreter_bytes = (uint32_t)p->file_bytes;
    return 0;
}

/* The program headers themselves must be in memory for AT_PHDR: the segment that holds them. */
static uint64_t find_program_headers(const struct elf_image *image)
{
    uint64_t offset = image->header.program_headers_offset;
    uint64_t bytes = (uint64_t)image->header.program_header_count * ELF_PROGRAM_HEADER_BYTES;
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *s = &image->segments[i];
        if (offset >= s->offset && bytes <= s->file_bytes &&
            offset - s->offset <= s->file_bytes - bytes) {
            return s->va + (offset - s->offset);
        }
    }
    return 0;
}

int elf_segments_parse(const struct elf_header *header, const void *data, size_t length,
                       uint64_t file_bytes, struct elf_image *ret, const char **ret_why)
{
    struct elf_image image = {.header = *header};
    struct bytes_reader r;
    int rc = 0;
    bytes_reader_init(&r, data, length);
    for (uint32_t i = 0; i < header->program_header_count && rc == 0; i++) {
        struct program_header p;
        program_header_decode(&r, &p);
        if (!r.ok) {
            rc = refuse(ret_why, "it is truncated (program headers)");
        } else if (p.type == PT_LOAD) {
            rc = segment_add(&image, &p, file_bytes, ret_why);
        } else if (p.type == PT_INTERP) {
            rc = interpreter_set(&image, &p, file_bytes, ret_why);
        } else if (p.type == PT_GNU_STACK) {
            image.executable_stack = (p.flags & ELF_EXECUTE) != 0;
        }
    }
    if (rc != 0) {
        return rc;
    }
    if (image.segment_count == 0) {
        return refuse(ret_why, "it has no loadable segment");
    }
    if (header->entry < image.start || header->entry >= image.end) {
        return refuse(ret_why, "its entry point lies outside of its segments");
    }
    image.program_headers_va = find_program_headers(&image);
    *ret = image;
    return 0;
}
