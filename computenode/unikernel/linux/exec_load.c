/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things lie. Far memory is granted in slabs by virtual address, so what is used together is
 * kept together: a position-independent program starts at 0x555555554000 with the heap right after
 * it; stack, libraries and mmap areas lie at the top of user space, growing down. A small program
 * thus touches two slabs.
 */
#include <errno.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/exec.h"
#include "computenode/unikernel/linux/vdso.h"

#define PROGRAM_BASE 0x555555554000ull
#define STACK_BYTES  (8 * MIB)

static unsigned protection_of(const struct elf_segment *s)
{
    return ((s->flags & ELF_READ) != 0 ? MM_READ : 0u) |
           ((s->flags & ELF_WRITE) != 0 ? MM_WRITE : 0u) |
           ((s->flags & ELF_EXECUTE) != 0 ? MM_EXEC : 0u);
}

/* The rest of the last page of the file part holds zeros, not what follows in the file. */
static int zero_tail(struct mm *mm, const struct elf_segment *s, uint64_t bias)
{
    uint64_t start = s->va + bias + s->file_bytes;
    uint64_t end = MIN(ALIGN_UP(start, PAGE_BYTES), s->va + bias + s->memory_bytes);
    uint64_t page = ALIGN_DOWN(start, PAGE_BYTES);
    if (start >= end || page == start) {
        return 0;
    }
    end = ALIGN_UP(start, PAGE_BYTES);
    unsigned protection = protection_of(s);
    int rc = 0;
    if ((protection & MM_WRITE) == 0) {
        rc = mm_protect(mm, page, PAGE_BYTES, MM_READ | MM_WRITE);
    }
    if (rc == 0) {
        rc = clear_user(start, end - start);
    }
    if (rc == 0 && (protection & MM_WRITE) == 0) {
        rc = mm_protect(mm, page, PAGE_BYTES, protection);
    }
    return rc;
}

static int map_segment(struct mm *mm, struct node *n, const struct elf_segment *s, uint64_t bias)
{
    unsigned protection = protection_of(s);
    uint64_t va, start = ALIGN_DOWN(s->va, PAGE_BYTES) + bias;
    uint64_t file_end = ALIGN_UP(s->va + s->file_bytes, PAGE_BYTES) + bias;
    uint64_t end = ALIGN_UP(s->va + s->memory_bytes, PAGE_BYTES) + bias;
    int rc = 0;
    if (s->file_bytes > 0) {
        rc = mm_map(mm, start, file_end - start, protection, MM_FIXED, &n->backing,
                    ALIGN_DOWN(s->offset, PAGE_BYTES), &va);
    } else {
        file_end = start;
    }
    if (rc == 0 && end > file_end) {
        rc = mm_map(mm, file_end, end - file_end, protection, MM_FIXED, NULL, 0, &va);
    }
    if (rc == 0 && s->file_bytes > 0 && s->memory_bytes > s->file_bytes) {
        rc = zero_tail(mm, s, bias);
    }
    return rc;
}

/* base 0: anywhere (relocatable images). *ret_bias is added to the addresses of the file. */
static int map_image(struct mm *mm, struct node *n, const struct elf_image *image, uint64_t base,
                     uint64_t *ret_bias)
{
    uint64_t bias = 0;
    int rc = 0;
    if (image->header.relocatable) {
        uint64_t at;
        rc =
            mm_map(mm, base, image->end - image->start, 0, base != 0 ? MM_FIXED : 0u, NULL, 0, &at);
        if (rc != 0) {
            return rc;
        }
        bias = at - image->start;
    }
    for (uint32_t i = 0; i < image->segment_count && rc == 0; i++) {
        rc = map_segment(mm, n, &image->segments[i], bias);
    }
    if (rc == 0) {
        *ret_bias = bias;
    }
    return rc;
}

static int map_stack(struct process *p, uint64_t *ret_top)
{
    uint64_t va;
    uint64_t start = MM_USER_END - PAGE_BYTES - STACK_BYTES;
    int rc =
        mm_map(p->mm, start, STACK_BYTES, MM_READ | MM_WRITE, MM_FIXED | MM_STACK, NULL, 0, &va);
    if (rc == 0) {
        *ret_top = start + STACK_BYTES;
    }
    return rc;
}

static int refuse(struct exec_program *program, int error)
{
    const char *why = "it can't be mapped";
    if (error == -ENOMEM) {
        why = "there is not enough memory to map it; raise --local-memory or --far-memory";
    } else if (error == -EIO || (error == -EFAULT && uaccess_failure() != 0)) {
        why = "its pages can't be read or kept; check the root image and far memory";
    }
    (void)ksnprintf(program->reason, sizeof(program->reason), "%s: %s (error %d)", program->path,
                    why, -error);
    return error;
}

static int load_interpreter(struct process *p, struct exec_program *program,
                            struct exec_placement *where, uint64_t *entry)
{
    uint64_t bias;
    if (program->interpreter_node == NULL) {
        return 0;
    }
    int rc = map_image(p->mm, program->interpreter_node, &program->interpreter, 0, &bias);
    if (rc == 0) {
        where->interpreter_base = bias;
        *entry = program->interpreter.header.entry + bias;
    }
    return rc;
}

int exec_load(struct process *p, const struct bootspec *spec, struct exec_program *program,
              struct exec_entry *ret)
{
    struct exec_placement where = {0};
    const struct elf_image *image = &program->image;
    int rc = map_stack(p, &where.stack_top);
    if (rc == 0) {
        rc = map_image(p->mm, program->node, image, PROGRAM_BASE, &where.program_bias);
    }
    if (rc != 0) {
        return refuse(program, rc);
    }
    where.entry = image->header.entry + where.program_bias;
    uint64_t entry = where.entry;
    rc = load_interpreter(p, program, &where, &entry);
    if (rc == 0) {
        rc = vdso_map(&where.vdso);
    }
    if (rc == 0) {
        mm_brk_start(p->mm, image->end + where.program_bias);
        rc = exec_stack(p, spec, program, &where, &ret->sp);
    }
    if (rc != 0) {
        return refuse(program, rc);
    }
    p->code_start = image->start + where.program_bias;
    p->code_end = image->end + where.program_bias;
    p->executable = node_ref(program->node);
    ret->ip = entry;
    return 0;
}
