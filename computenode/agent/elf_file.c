/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/bytes.h"

#define SEGMENTS_MAX      256u
#define DYNAMIC_MAX       2048u
#define STRINGS_BYTES_MAX (64u << 20)

struct load {
    uint64_t address, offset, bytes;
};

struct dynamic {
    uint64_t strings_address, strings_bytes;
    uint64_t rpath, runpath; /* offsets in the strings; UINT64_MAX: none */
    uint32_t needed_count;
    uint64_t needed[ELF_NEEDED_MAX];
};

struct parser {
    const struct elf_source *source;
    struct elf_file *file;
    uint64_t segments_offset;
    uint16_t segment_count;
    uint32_t load_count;
    struct load loads[SEGMENTS_MAX];
    uint64_t dynamic_offset, dynamic_bytes; /* bytes 0: none */
};

static int read_at(const struct parser *p, uint64_t offset, void *to, uint32_t bytes)
{
    if (offset > (uint64_t)INT64_MAX - bytes) {
        return -EBADMSG;
    }
    int r = p->source->read(p->source->context, offset, to, bytes);
    return r == -EINVAL ? -EBADMSG : r;
}

static int parse_header(struct parser *p)
{
    uint8_t h[sizeof(Elf64_Ehdr)];
    int r = read_at(p, 0, h, sizeof(h));
    if (r < 0 || memcmp(h, ELFMAG, SELFMAG) != 0) {
        return r < 0 && r != -EBADMSG ? r : -ENOEXEC;
    }
    if (h[EI_DATA] != ELFDATA2LSB) {
        return -EOPNOTSUPP;
    }
    p->file->machine = le16_load(h + offsetof(Elf64_Ehdr, e_machine));
    if (h[EI_CLASS] != ELFCLASS64 || p->file->machine != ELF_MACHINE_X86_64) {
        return -EOPNOTSUPP;
    }
    uint16_t type = le16_load(h + offsetof(Elf64_Ehdr, e_type));
    p->segments_offset = le64_load(h + offsetof(Elf64_Ehdr, e_phoff));
    p->segment_count = le16_load(h + offsetof(Elf64_Ehdr, e_phnum));
    if ((type != ET_EXEC && type != ET_DYN) ||
        le16_load(h + offsetof(Elf64_Ehdr, e_phentsize)) != sizeof(Elf64_Phdr)) {
        return -EBADMSG;
    }
    return p->segment_count > SEGMENTS_MAX ? -EMSGSIZE : 0;
}

/* Reads a string that ends within the destination. */
static int read_string(const struct parser *p, uint64_t offset, uint64_t bytes_left, char *to,
                       uint32_t capacity)
{
    for (uint32_t at = 0; at < capacity; at++) {
        if (at >= bytes_left) {
            return -EBADMSG;
        }
        int r = read_at(p, offset + at, &to[at], 1);
        if (r < 0) {
            return r;
        }
        if (to[at] == '\0') {
            return 0;
        }
    }
    return -EMSGSIZE;
}

static int parse_segment(struct parser *p, const uint8_t *h)
{
    uint64_t offset = le64_load(h + offsetof(Elf64_Phdr, p_offset));
    uint64_t bytes = le64_load(h + offsetof(Elf64_Phdr, p_filesz));
    switch (le32_load(h + offsetof(Elf64_Phdr, p_type))) {
    case PT_LOAD:
        p->loads[p->load_count++] =
            (struct load){.address = le64_load(h + offsetof(Elf64_Phdr, p_vaddr)),
                          .offset = offset,
                          .bytes = bytes};
        return 0;
    case PT_INTERP:
        return read_string(p, offset, bytes, p->file->interpreter, ELF_TEXT_BYTES);
    case PT_DYNAMIC:
        p->dynamic_offset = offset;
        p->dynamic_bytes = bytes;
        p->file->is_dynamic = true;
        return 0;
    default:
        return 0;
    }
}

static int parse_segments(struct parser *p)
{
    for (uint32_t i = 0; i < p->segment_count; i++) {
        uint8_t h[sizeof(Elf64_Phdr)];
        if (p->segments_offset > (uint64_t)INT64_MAX) {
            return -EBADMSG;
        }
        int r = read_at(p, p->segments_offset + i * sizeof(h), h, sizeof(h));
        r = r < 0 ? r : parse_segment(p, h);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int take_dynamic(struct dynamic *d, uint64_t tag, uint64_t value)
{
    switch (tag) {
    case DT_NEEDED:
        if (d->needed_count == ELF_NEEDED_MAX) {
            return -EMSGSIZE;
        }
        d->needed[d->needed_count++] = value;
        return 0;
    case DT_STRTAB:
        d->strings_address = value;
        return 0;
    case DT_STRSZ:
        d->strings_bytes = value;
        return 0;
    case DT_RPATH:
        d->rpath = value;
        return 0;
    case DT_RUNPATH:
        d->runpath = value;
        return 0;
    default:
        return 0;
    }
}

static int parse_dynamic(const struct parser *p, struct dynamic *d)
{
    uint64_t count = p->dynamic_bytes / sizeof(Elf64_Dyn);
    for (uint64_t i = 0; i < MIN(count, DYNAMIC_MAX); i++) {
        uint8_t entry[sizeof(Elf64_Dyn)];
        if (p->dynamic_offset > (uint64_t)INT64_MAX) {
            return -EBADMSG;
        }
        int r = read_at(p, p->dynamic_offset + i * sizeof(entry), entry, sizeof(entry));
        uint64_t tag = r < 0 ? DT_NULL : le64_load(entry);
        if (r < 0 || tag == DT_NULL) {
            return r;
        }
        r = take_dynamic(d, tag, le64_load(entry + 8));
        if (r < 0) {
            return r;
        }
    }
    return count > DYNAMIC_MAX ? -EMSGSIZE : 0;
}

/* Where in the file the memory at `address` comes from. */
static int offset_of(const struct parser *p, uint64_t address, uint64_t *ret)
{
    for (uint32_t i = 0; i < p->load_count; i++) {
        const struct load *load = &p->loads[i];
        if (address >= load->address && address - load->address < load->bytes) {
            *ret = load->offset + (address - load->address);
            return *ret <= (uint64_t)INT64_MAX ? 0 : -EBADMSG;
        }
    }
    return -EBADMSG;
}

static int take_string(const struct parser *p, const struct dynamic *d, uint64_t strings,
                       uint64_t at, char *to, uint32_t capacity)
{
    if (at == UINT64_MAX) {
        to[0] = '\0';
        return 0;
    }
    if (at >= d->strings_bytes || d->strings_bytes > STRINGS_BYTES_MAX) {
        return -EBADMSG;
    }
    return read_string(p, strings + at, d->strings_bytes - at, to, capacity);
}

static int parse_needed(struct parser *p)
{
    struct dynamic d = {.rpath = UINT64_MAX, .runpath = UINT64_MAX};
    uint64_t strings = 0;
    int r = parse_dynamic(p, &d);
    bool has_strings = d.needed_count > 0 || d.rpath != UINT64_MAX || d.runpath != UINT64_MAX;
    if (r < 0 || !has_strings) {
        return r;
    }
    r = offset_of(p, d.strings_address, &strings);
    for (uint32_t i = 0; i < d.needed_count && r >= 0; i++) {
        r = take_string(p, &d, strings, d.needed[i], p->file->needed[i], ELF_NAME_BYTES);
    }
    if (r >= 0) {
        r = take_string(p, &d, strings, d.rpath, p->file->rpath, ELF_TEXT_BYTES);
    }
    if (r >= 0) {
        r = take_string(p, &d, strings, d.runpath, p->file->runpath, ELF_TEXT_BYTES);
    }
    p->file->needed_count = d.needed_count;
    p->file->has_runpath = d.runpath != UINT64_MAX;
    return r;
}

int elf_file_parse(const struct elf_source *source, struct elf_file *ret)
{
    memset(ret, 0, sizeof(*ret));
    struct parser p = {.source = source, .file = ret};
    int r = parse_header(&p);
    if (r < 0) {
        return r;
    }
    r = parse_segments(&p);
    if (r < 0 || !ret->is_dynamic) {
        return r;
    }
    return parse_needed(&p);
}

const char *elf_machine_name(uint16_t machine, char *to)
{
    switch (machine) {
    case 0:
        return "another class or byte order";
    case EM_386:
        return "32-bit x86";
    case EM_X86_64:
        return "x86-64";
    case EM_AARCH64:
        return "aarch64";
    case EM_ARM:
        return "arm";
    case EM_RISCV:
        return "riscv";
    case EM_PPC64:
        return "ppc64";
    case EM_S390:
        return "s390";
    default:
        (void)snprintf(to, 32, "machine %u", machine);
        return to;
    }
}
