/* SPDX-License-Identifier: Apache-2.0 */
/* The ELF parser: the input is a whole file. What it accepts must keep its promises. */
#include <stdlib.h>

#include "computenode/unikernel/linux/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise) {
        abort();
    }
}

static void check(const struct elf_image *image, size_t size)
{
    uint64_t end = 0;
    require(image->segment_count >= 1);
    require(image->segment_count <= ELF_SEGMENTS_MAX);
    for (uint32_t i = 0; i < image->segment_count; i++) {
        const struct elf_segment *s = &image->segments[i];
        require(s->offset <= size);
        require(s->file_bytes <= size - s->offset);
        require(s->file_bytes <= s->memory_bytes);
        require(s->va >= end);
        require((s->va - s->offset) % PAGE_BYTES == 0);
        end = ALIGN_UP(s->va + s->memory_bytes, PAGE_BYTES);
        require(end > s->va);
        require(end <= image->end);
    }
    require(image->interpreter_bytes <= ELF_INTERPRETER_MAX + 1);
    require(image->interpreter_offset + image->interpreter_bytes <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct elf_header header;
    struct elf_image image;
    const char *why = NULL;
    if (elf_header_parse(data, size, &header, &why) != 0) {
        require(why != NULL);
        return 0;
    }
    uint64_t bytes = (uint64_t)header.program_header_count * ELF_PROGRAM_HEADER_BYTES;
    if (header.program_headers_offset > size || bytes > size - header.program_headers_offset) {
        return 0;
    }
    if (elf_segments_parse(&header, data + header.program_headers_offset, bytes, size, &image,
                           &why) == 0) {
        check(&image, size);
    } else {
        require(why != NULL);
    }
    return 0;
}
