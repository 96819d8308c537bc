/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The initial stack: System V ABI, AMD64 supplement, 3.4.1. From the stack pointer up: argc, argv
 * and NULL, envp and NULL, the auxiliary vector, then the bytes that these point to.
 */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/exec.h"
#include "lib/base/check.h"

#define CLOCK_TICKS_PER_S 100u
#define RANDOM_BYTES      16u
#define PLATFORM          "x86_64"

/* A block that is composed in kernel memory for a place on the program's stack. */
struct block {
    uint8_t *bytes;
    uint64_t va; /* of the first byte */
    uint64_t length;
    uint64_t word_at;   /* next word */
    uint64_t string_at; /* next string */
};

static void put_word(struct block *b, uint64_t word)
{
    CHECK(b->word_at + 8 <= b->length);
    memcpy(b->bytes + b->word_at, &word, 8);
    b->word_at += 8;
}

/* Copies bytes (and a NUL) to the upper part; their address in the program. */
static uint64_t put_bytes(struct block *b, const void *bytes, uint64_t length)
{
    uint64_t va = b->va + b->string_at;
    CHECK(b->string_at + length + 1 <= b->length);
    memcpy(b->bytes + b->string_at, bytes, length);
    b->bytes[b->string_at + length] = 0;
    b->string_at += length + 1;
    return va;
}

static uint64_t strings_bytes(const struct bootspec_string *strings, uint32_t count)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bytes += strings[i].length + 1;
    }
    return bytes;
}

/* CPUID leaf 1, EDX: what AT_HWCAP is on x86. */
static uint64_t cpu_capabilities(void)
{
    uint32_t a = 1, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return d;
}

static void put_auxiliary(struct process *p, struct block *b, const struct exec_program *program,
                          const struct exec_placement *where)
{
    uint8_t random[RANDOM_BYTES];
    random_fill(random, sizeof(random));
    uint64_t headers = program->image.program_headers_va;
    const uint64_t vector[][2] = {
        {LX_AT_SYSINFO_EHDR, where->vdso},
        {LX_AT_HWCAP, cpu_capabilities()},
        {LX_AT_PAGESZ, PAGE_BYTES},
        {LX_AT_CLKTCK, CLOCK_TICKS_PER_S},
        {LX_AT_PHDR, headers == 0 ? 0 : headers + where->program_bias},
        {LX_AT_PHENT, ELF_PROGRAM_HEADER_BYTES},
        {LX_AT_PHNUM, program->image.header.program_header_count},
        {LX_AT_BASE, where->interpreter_base},
        {LX_AT_FLAGS, 0},
        {LX_AT_ENTRY, where->entry},
        {LX_AT_UID, p->uid},
        {LX_AT_EUID, p->uid},
        {LX_AT_GID, p->gid},
        {LX_AT_EGID, p->gid},
        {LX_AT_SECURE, 0},
        {LX_AT_RANDOM, put_bytes(b, random, sizeof(random))},
        {LX_AT_HWCAP2, 0},
        {LX_AT_MINSIGSTKSZ, signal_frame_bytes()},
        {LX_AT_EXECFN, put_bytes(b, program->path, strlen(program->path))},
        {LX_AT_PLATFORM, put_bytes(b, PLATFORM, sizeof(PLATFORM) - 1)},
        {LX_AT_NULL, 0},
    };
    _Static_assert(ARRAY_LEN(vector) * 2 <= AUXV_WORDS_MAX, "room in struct process");
    p->auxv_words = ARRAY_LEN(vector) * 2;
    memcpy(p->auxv, vector, sizeof(vector));
    for (size_t i = 0; i < ARRAY_LEN(vector); i++) {
        put_word(b, vector[i][0]);
        put_word(b, vector[i][1]);
    }
}

static void put_strings(struct block *b, const struct bootspec_string *strings, uint32_t count,
                        uint64_t *ret_start, uint64_t *ret_end)
{
    *ret_start = b->va + b->string_at;
    for (uint32_t i = 0; i < count; i++) {
        put_word(b, put_bytes(b, strings[i].data, strings[i].length));
    }
    put_word(b, 0);
    *ret_end = b->va + b->string_at;
}

int exec_stack(struct process *p, const struct bootspec *spec, const struct exec_program *program,
               const struct exec_placement *where, uint64_t *ret_sp)
{
    uint64_t words = 1 + program->argument_count + 1 + spec->environment_count + 1 + AUXV_WORDS_MAX;
    uint64_t bytes = strings_bytes(program->arguments, program->argument_count) +
                     strings_bytes(spec->environment, spec->environment_count) + RANDOM_BYTES + 1 +
                     strlen(program->path) + 1 + sizeof(PLATFORM);
    struct block b = {.length = ALIGN_UP(words * 8 + bytes, 16), .string_at = words * 8};
    b.va = where->stack_top - b.length;
    b.bytes = kzalloc(b.length);
    if (b.bytes == NULL) {
        return -ENOMEM;
    }
    put_word(&b, program->argument_count);
    put_strings(&b, program->arguments, program->argument_count, &p->arguments_start,
                &p->arguments_end);
    put_strings(&b, spec->environment, spec->environment_count, &p->environment_start,
                &p->environment_end);
    put_auxiliary(p, &b, program, where);
    int rc = copy_to_user(b.va, b.bytes, b.length);
    kfree(b.bytes);
    p->stack_start = b.va;
    *ret_sp = b.va;
    return rc;
}
