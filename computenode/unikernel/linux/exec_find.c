/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/exec.h"
#include "lib/base/check.h"

#define SCRIPT_LINE_BYTES 256u
#define DEFAULT_PATH      "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

static int refuse(struct exec_program *program, int error, const char *path, const char *why)
{
    (void)ksnprintf(program->reason, sizeof(program->reason), "%s: %s", path, why);
    return error;
}

static const char *path_error(int error)
{
    switch (error) {
    case -ENOENT:
        return "not in the root image; put it in with --file, or use the path it has there";
    case -EACCES:
        return "not executable; make it so (chmod +x) before the image is made";
    case -ENOTDIR:
        return "a part of the path is not a directory";
    case -ELOOP:
        return "too many symbolic links";
    case -ENAMETOOLONG:
        return "the path is too long";
    case -ENOMEM:
        return "no memory left to start it; give the instance more --local-memory";
    default:
        return "the root image can't be read there: it is corrupt or its device failed";
    }
}

static int check_executable(struct process *p, struct node *n)
{
    return node_is(n, LX_S_IFREG) ? node_permission(n, p->uid, p->gid, LX_X_OK) : -EACCES;
}

/* One candidate path. */
static int open_path(struct process *p, const char *path, struct node **ret)
{
    struct node *n;
    int rc = walk_node(p->directory, path, 0, process_identity(p), &n);
    if (rc != 0) {
        return rc;
    }
    rc = check_executable(p, n);
    if (rc != 0) {
        node_unref(n);
        return rc;
    }
    *ret = n;
    return 0;
}

/* The value of PATH, not NUL terminated. */
static struct bootspec_string search_path(const struct bootspec *spec)
{
    for (uint32_t i = 0; i < spec->environment_count; i++) {
        const struct bootspec_string *e = &spec->environment[i];
        if (e->length > 5 && memcmp(e->data, "PATH=", 5) == 0) {
            return (struct bootspec_string){e->data + 5, e->length - 5};
        }
    }
    return (struct bootspec_string){DEFAULT_PATH, sizeof(DEFAULT_PATH) - 1};
}

/* Like execvp(3): each directory of PATH in turn. Writes the path that was found. */
static int search(struct process *p, const struct bootspec *spec, const char *name, char *path,
                  struct node **ret)
{
    struct bootspec_string list = search_path(spec);
    int result = -ENOENT;
    uint32_t start = 0;
    while (start <= list.length) {
        uint32_t end = start;
        while (end < list.length && list.data[end] != ':') {
            end++;
        }
        if (end - start + strlen(name) + 2 <= LX_PATH_MAX) {
            size_t length = end - start;
            memcpy(path, list.data + start, length);
            path[length] = '/';
            memcpy(path + length + 1, name, strlen(name) + 1);
            int rc = open_path(p, length > 0 ? path : name, ret);
            if (rc == 0) {
                return 0;
            }
            result = rc == -EACCES ? rc : result;
        }
        start = end + 1;
    }
    return result;
}

/* The program that argv[0] names; its path goes to program->path. */
static int find_first(struct process *p, const struct bootspec *spec, struct exec_program *program)
{
    struct bootspec_string name = spec->arguments[0];
    if (name.length == 0 || name.length >= LX_PATH_MAX) {
        return refuse(program, -ENOENT, "the program's path", "empty or too long");
    }
    char *text = kmalloc(name.length + 1);
    if (text == NULL) {
        return refuse(program, -ENOMEM, "start", path_error(-ENOMEM));
    }
    memcpy(text, name.data, name.length);
    text[name.length] = 0;
    int rc;
    if (memchr(text, '/', name.length) != NULL) {
        memcpy(program->path, text, name.length + 1);
        rc = open_path(p, program->path, &program->node);
    } else {
        rc = search(p, spec, text, program->path, &program->node);
    }
    if (rc != 0) {
        (void)refuse(program, rc, text, path_error(rc));
    }
    kfree(text);
    return rc;
}

/* Makes room for `count` arguments in front, in place of the first. */
static int arguments_prepend(struct exec_program *program, const struct bootspec_string *front,
                             uint32_t count)
{
    uint32_t kept = program->argument_count - 1;
    struct bootspec_string *arguments = kmalloc((count + kept) * sizeof(arguments[0]));
    if (arguments == NULL) {
        return -ENOMEM;
    }
    memcpy(arguments, front, count * sizeof(front[0]));
    memcpy(arguments + count, program->arguments + 1, kept * sizeof(front[0]));
    kfree(program->arguments);
    program->arguments = arguments;
    program->argument_count = count + kept;
    return 0;
}

static char *text_copy(const char *text, size_t length)
{
    char *copy = kmalloc(length + 1);
    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/*
 * "#!interpreter argument": the rest of the line is one argument (execve(2)). The strings stay
 * allocated: the arguments point to them.
 */
static int script_parse(const char *line, struct bootspec_string *ret_interpreter,
                        struct bootspec_string *ret_argument)
{
    const char *start = line + 2;
    while (is_blank(*start)) {
        start++;
    }
    const char *end = start;
    while (*end != 0 && !is_blank(*end)) {
        end++;
    }
    const char *argument = end;
    while (is_blank(*argument)) {
        argument++;
    }
    size_t argument_length = strlen(argument);
    while (argument_length > 0 && is_blank(argument[argument_length - 1])) {
        argument_length--;
    }
    if (end == start) {
        return -ENOEXEC;
    }
    *ret_interpreter =
        (struct bootspec_string){text_copy(start, (size_t)(end - start)), (uint32_t)(end - start)};
    *ret_argument =
        (struct bootspec_string){text_copy(argument, argument_length), (uint32_t)argument_length};
    return ret_interpreter->data == NULL || ret_argument->data == NULL ? -ENOMEM : 0;
}

/* Replaces the program by the interpreter that its first line names. */
static int script_resolve(struct process *p, struct exec_program *program, const char *line)
{
    struct bootspec_string front[3];
    uint32_t count = 0;
    struct bootspec_string interpreter, argument;
    int rc = script_parse(line, &interpreter, &argument);
    if (rc != 0) {
        return refuse(program, rc, program->path, "its first line names no interpreter after #!");
    }
    char *script = text_copy(program->path, strlen(program->path));
    front[count++] = interpreter;
    if (argument.length > 0) {
        front[count++] = argument;
    }
    front[count++] = (struct bootspec_string){script, (uint32_t)strlen(program->path)};
    rc = script == NULL ? -ENOMEM : arguments_prepend(program, front, count);
    if (rc != 0) {
        return refuse(program, rc, program->path, path_error(rc));
    }
    program->node = node_unref(program->node);
    rc = open_path(p, interpreter.data, &program->node);
    if (rc != 0) {
        (void)ksnprintf(program->reason, sizeof(program->reason), "%s: its interpreter %s: %s",
                        program->path, interpreter.data, path_error(rc));
        return rc;
    }
    memcpy(program->path, interpreter.data, interpreter.length + 1);
    return 0;
}

/* Reads the start of the file; the line without its end if it is a script, else "". */
static int read_script_line(struct node *n, char *line)
{
    size_t bytes = MIN(n->bytes, SCRIPT_LINE_BYTES - 1);
    int rc = node_read_exact(n, 0, line, bytes);
    if (rc != 0) {
        return rc;
    }
    line[bytes] = 0;
    if (bytes < 2 || line[0] != '#' || line[1] != '!') {
        line[0] = 0;
        return 0;
    }
    char *end = memchr(line, '\n', bytes);
    if (end == NULL && n->bytes > bytes) {
        return -ENAMETOOLONG;
    }
    if (end != NULL) {
        *end = 0;
    }
    return 0;
}

static int resolve_scripts(struct process *p, struct exec_program *program)
{
    char line[SCRIPT_LINE_BYTES];
    for (uint32_t depth = 0; depth <= EXEC_SCRIPTS_MAX; depth++) {
        int rc = read_script_line(program->node, line);
        if (rc != 0) {
            return refuse(program, rc, program->path,
                          rc == -ENAMETOOLONG ? "its #! line is too long" : path_error(rc));
        }
        if (line[0] == 0) {
            return 0;
        }
        rc = script_resolve(p, program, line);
        if (rc != 0) {
            return rc;
        }
    }
    return refuse(program, -ELOOP, program->path, "its #! line leads from script to script");
}

/* Reads and parses an ELF file. */
static int parse(struct exec_program *program, struct node *n, const char *path,
                 struct elf_image *ret)
{
    uint8_t raw[ELF_HEADER_BYTES];
    struct elf_header header;
    const char *why = "";
    size_t bytes = MIN(n->bytes, sizeof(raw));
    int rc = node_read_exact(n, 0, raw, bytes);
    if (rc != 0) {
        return refuse(program, rc, path, path_error(rc));
    }
    rc = elf_header_parse(raw, bytes, &header, &why);
    if (rc != 0) {
        return refuse(program, rc, path, why);
    }
    size_t table_bytes = header.program_header_count * (size_t)ELF_PROGRAM_HEADER_BYTES;
    void *table = kmalloc(table_bytes);
    if (table == NULL) {
        return refuse(program, -ENOMEM, path, path_error(-ENOMEM));
    }
    rc = node_read_exact(n, header.program_headers_offset, table, table_bytes);
    if (rc == -ENOEXEC) {
        why = "it is truncated (program headers)";
    } else if (rc != 0) {
        why = path_error(rc);
    } else {
        rc = elf_segments_parse(&header, table, table_bytes, n->bytes, ret, &why);
    }
    kfree(table);
    return rc != 0 ? refuse(program, rc, path, why) : 0;
}

static int find_interpreter(struct process *p, struct exec_program *program)
{
    char path[ELF_INTERPRETER_MAX + 1];
    uint32_t bytes = program->image.interpreter_bytes;
    if (bytes == 0) {
        return 0;
    }
    int rc = node_read_exact(program->node, program->image.interpreter_offset, path, bytes);
    if (rc != 0 || path[bytes - 1] != 0) {
        return refuse(program, rc != 0 ? rc : -ENOEXEC, program->path,
                      "it is corrupt (path of its interpreter)");
    }
    rc = open_path(p, path, &program->interpreter_node);
    if (rc != 0) {
        (void)ksnprintf(program->reason, sizeof(program->reason), "%s: its dynamic linker %s: %s",
                        program->path, path, path_error(rc));
        return rc;
    }
    return parse(program, program->interpreter_node, path, &program->interpreter);
}

static int check_memory(const struct bootspec *spec, struct exec_program *program)
{
    uint64_t local = spec->local_bytes != 0 ? spec->local_bytes : machine_ram_bytes();
    uint64_t memory = local + spec->far_bytes;
    uint64_t wanted = program->image.writable_bytes;
    if (wanted <= memory) {
        return 0;
    }
    (void)ksnprintf(program->reason, sizeof(program->reason),
                    "%s: its writable segments take %lu MiB, but local and far memory together are "
                    "%lu MiB; raise --far-memory",
                    program->path, (unsigned long)(wanted / MIB), (unsigned long)(memory / MIB));
    return -ENOMEM;
}

int exec_find(struct process *p, const struct bootspec *spec, struct exec_program *program)
{
    if (spec->argument_count == 0) {
        return refuse(program, -EINVAL, "boot specification", "names no program");
    }
    program->argument_count = spec->argument_count;
    program->arguments = kmalloc(spec->argument_count * sizeof(program->arguments[0]));
    if (program->arguments == NULL) {
        return refuse(program, -ENOMEM, "start", path_error(-ENOMEM));
    }
    memcpy(program->arguments, spec->arguments,
           spec->argument_count * sizeof(program->arguments[0]));
    int rc = find_first(p, spec, program);
    if (rc == 0) {
        rc = resolve_scripts(p, program);
    }
    if (rc == 0) {
        rc = parse(program, program->node, program->path, &program->image);
    }
    if (rc == 0) {
        rc = find_interpreter(p, program);
    }
    return rc == 0 ? check_memory(spec, program) : rc;
}
