/* SPDX-License-Identifier: Apache-2.0 */
/* From the boot specification to a program in memory that only has to be entered. */
#ifndef DILOS_UNIKERNEL_LINUX_EXEC_H
#define DILOS_UNIKERNEL_LINUX_EXEC_H

#include <stdint.h>

#include "computenode/unikernel/linux/elf.h"
#include "computenode/unikernel/linux/process.h"
#include "lib/wire/bootspec.h"

#define EXEC_REASON_BYTES 1024
#define EXEC_SCRIPTS_MAX  4u /* how often #! may lead to another script */

/* What is to be run, after scripts were resolved. */
struct exec_program {
    struct node *node; /* referenced */
    struct elf_image image;
    struct node *interpreter_node; /* referenced, or NULL */
    struct elf_image interpreter;
    char path[LX_PATH_MAX];            /* AT_EXECFN */
    struct bootspec_string *arguments; /* kmalloc */
    uint32_t argument_count;
    char reason[EXEC_REASON_BYTES]; /* why it was refused */
};

/* exec_find.c: finds the program and its interpreter, parses both. Negative: see reason. */
int exec_find(struct process *p, const struct bootspec *spec,
              struct exec_program *program) MUST_CHECK;

struct exec_entry {
    uint64_t ip;
    uint64_t sp;
};

/* exec_load.c: maps program, interpreter, vDSO, stack. Negative: see reason. */
int exec_load(struct process *p, const struct bootspec *spec, struct exec_program *program,
              struct exec_entry *ret) MUST_CHECK;

struct exec_placement {
    uint64_t program_bias;
    uint64_t interpreter_base; /* 0: none */
    uint64_t entry;            /* of the program itself */
    uint64_t vdso;
    uint64_t stack_top;
};

/* exec_stack.c: writes arguments, environment and auxiliary vector; the initial stack pointer. */
int exec_stack(struct process *p, const struct bootspec *spec, const struct exec_program *program,
               const struct exec_placement *where, uint64_t *ret_sp) MUST_CHECK;

#endif
