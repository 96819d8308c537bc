/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/linux/elf.h"

#include <errno.h>

#include "lib/base/bytes.h"
#include "tests/tap.h"

#define FILE_BYTES 0x5000u

static uint8_t header[ELF_HEADER_BYTES];
static uint8_t table[8 * ELF_PROGRAM_HEADER_BYTES];
static uint16_t table_count;

static void make_header(uint16_t type, uint16_t machine)
{
    struct bytes_writer w;
    memset(header, 0, sizeof(header));
    bytes_writer_init(&w, header, sizeof(header));
    bytes_put(&w, "\177ELF\2\1\1", 7);
    bytes_put_padding(&w, 16);
    bytes_put_u16(&w, type);
    bytes_put_u16(&w, machine);
    bytes_put_u32(&w, 1);
    bytes_put_u64(&w, 0x401000);
    bytes_put_u64(&w, 64);
    bytes_put_u64(&w, 0);
    bytes_put_u32(&w, 0);
    bytes_put_u16(&w, 64);
    bytes_put_u16(&w, ELF_PROGRAM_HEADER_BYTES);
    bytes_put_u16(&w, table_count);
}

static void add(uint32_t type, uint32_t flags, uint64_t offset, uint64_t va, uint64_t file_bytes,
                uint64_t memory_bytes)
{
    struct bytes_writer w;
    bytes_writer_init(&w, table + table_count * ELF_PROGRAM_HEADER_BYTES, ELF_PROGRAM_HEADER_BYTES);
    bytes_put_u32(&w, type);
    bytes_put_u32(&w, flags);
    bytes_put_u64(&w, offset);
    bytes_put_u64(&w, va);
    bytes_put_u64(&w, va);
    bytes_put_u64(&w, file_bytes);
    bytes_put_u64(&w, memory_bytes);
    bytes_put_u64(&w, 4096);
    table_count++;
}

/* A usual program: headers and text, data with bss. */
static void make_usual(void)
{
    table_count = 0;
    add(1, 4, 0, 0x400000, 0x200, 0x200);
    add(1, 5, 0x1000, 0x401000, 0x800, 0x800);
    add(1, 6, 0x2010, 0x403010, 0x100, 0x3000);
    make_header(2, 62);
}

static int parse(struct elf_image *image, const char **why)
{
    struct elf_header h;
    int rc = elf_header_parse(header, sizeof(header), &h, why);
    return rc != 0 ? rc
                   : elf_segments_parse(&h, table, table_count * ELF_PROGRAM_HEADER_BYTES,
                                        FILE_BYTES, image, why);
}

static void expect_refused(const char *part)
{
    struct elf_image image;
    const char *why = "";
    EXPECT_EQ(parse(&image, &why), -ENOEXEC);
    if (strstr(why, part) == NULL) {
        tap_fail(__FILE__, __LINE__, why);
    }
}

static void test_usual_program(void)
{
    struct elf_image image;
    const char *why;
    make_usual();
    EXPECT_EQ(parse(&image, &why), 0);
    EXPECT(!image.header.relocatable);
    EXPECT_EQ(image.segment_count, 3);
    EXPECT_EQ(image.start, 0x400000);
    EXPECT_EQ(image.end, 0x407000);
    EXPECT_EQ(image.program_headers_va, 0x400040);
    EXPECT_EQ(image.interpreter_bytes, 0);
    EXPECT_EQ(image.writable_bytes, 0x4000);
    EXPECT_EQ(image.segments[2].offset, 0x2010);
}

static void test_interpreter(void)
{
    struct elf_image image;
    const char *why;
    make_usual();
    add(3, 4, 0x200, 0x400200, 28, 28);
    make_header(3, 62);
    EXPECT_EQ(parse(&image, &why), 0);
    EXPECT(image.header.relocatable);
    EXPECT_EQ(image.interpreter_offset, 0x200);
    EXPECT_EQ(image.interpreter_bytes, 28);
}

static void test_not_for_this_machine(void)
{
    make_usual();
    make_header(2, 183);
    expect_refused("AArch64");
    make_header(2, 0x1234);
    expect_refused("another architecture");
    make_header(1, 62);
    expect_refused("not an executable");
    make_header(2, 62);
    header[0] = '#';
    expect_refused("neither an ELF");
    make_header(2, 62);
    header[4] = 1;
    expect_refused("x32");
}

static void test_short_header(void)
{
    struct elf_header h;
    const char *why;
    make_usual();
    for (size_t length = 0; length < sizeof(header); length++) {
        EXPECT_EQ(elf_header_parse(header, length, &h, &why), -ENOEXEC);
    }
    EXPECT_EQ(elf_header_parse(header, sizeof(header), &h, &why), 0);
}

static void test_segments_out_of_bounds(void)
{
    make_usual();
    add(1, 6, 0x3000, 0x500000, 0x2001, 0x3000);
    make_header(2, 62);
    expect_refused("outside of the file");
    make_usual();
    add(1, 6, 0x3000, 0x500000, 0x10, 0x8);
    make_header(2, 62);
    expect_refused("outside of the file");
    make_usual();
    add(1, 6, UINT64_MAX - 0xfff, 0x500000, 0x2000, 0x2000);
    make_header(2, 62);
    expect_refused("outside of the file");
    make_usual();
    add(1, 6, 0x3000, 0x7fffffffe000, 0x10, 0x10000);
    make_header(2, 62);
    expect_refused("address of a segment");
    make_usual();
    add(1, 6, 0x3000, 0x500000, 0x10, UINT64_MAX - 0x1000);
    make_header(2, 62);
    expect_refused("address of a segment");
    make_usual();
    add(1, 6, 0x3001, 0x500000, 0x10, 0x10);
    make_header(2, 62);
    expect_refused("address of a segment");
}

static void test_segments_that_overlap(void)
{
    make_usual();
    add(1, 6, 0x3000, 0x406000, 0x10, 0x10);
    make_header(2, 62);
    expect_refused("overlap");
    make_usual();
    add(1, 6, 0, 0x1000, 0x10, 0x10);
    make_header(2, 62);
    expect_refused("below 64 KiB");
}

static void test_counts(void)
{
    make_usual();
    table_count = 0;
    make_header(2, 62);
    expect_refused("program headers");
    table_count = ELF_PROGRAM_HEADERS_MAX + 1;
    make_header(2, 62);
    expect_refused("program headers");
    table_count = 0;
    add(4, 4, 0, 0x400000, 0x10, 0x10);
    make_header(2, 62);
    expect_refused("no loadable segment");
}

static void test_bad_interpreter_and_entry(void)
{
    make_usual();
    add(3, 4, 0x200, 0x400200, 1, 1);
    make_header(2, 62);
    expect_refused("interpreter");
    make_usual();
    add(3, 4, FILE_BYTES - 4, 0x400200, 8, 8);
    make_header(2, 62);
    expect_refused("interpreter");
    make_usual();
    le64_store(header + 24, 0x900000);
    expect_refused("entry point");
}

int main(void)
{
    TAP_RUN(test_usual_program);
    TAP_RUN(test_interpreter);
    TAP_RUN(test_not_for_this_machine);
    TAP_RUN(test_short_header);
    TAP_RUN(test_segments_out_of_bounds);
    TAP_RUN(test_segments_that_overlap);
    TAP_RUN(test_counts);
    TAP_RUN(test_bad_interpreter_and_entry);
    return tap_done();
}
