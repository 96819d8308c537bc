/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/elf_deps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "computenode/agent/elf_file.h"
#include "computenode/agent/ld_cache.h"
#include "lib/sys/sys.h"

#define CACHE_PATH       "/etc/ld.so.cache"
#define CACHE_BYTES_MAX  (16u << 20)
#define SCRIPT_DEPTH_MAX 4u
#define SCRIPT_BYTES     256u
#define ENV_PROGRAM      "/usr/bin/env"

/* Where ld.so looks without being told, on a 64-bit Debian and elsewhere. */
static const char *const standard_folders[] = {"/lib/x86_64-linux-gnu",
                                               "/usr/lib/x86_64-linux-gnu",
                                               "/lib64",
                                               "/usr/lib64",
                                               "/lib",
                                               "/usr/lib"};

struct collector {
    struct elf_deps *deps;
    char *error;
    uint32_t first; /* index of the program: the interpreter of a script, else 0 */
    char *cache;    /* NULL: none */
    size_t cache_bytes;
    struct elf_file file; /* of the one that is looked at */
    char program_rpath[ELF_TEXT_BYTES];
    char program_folder[ELF_DEPS_PATH_BYTES];
    char tried[512]; /* folders, for the message */
};

static int fail(struct collector *c, const char *format, ...) PRINTF_LIKE(2, 3);

static int fail(struct collector *c, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->error, ELF_DEPS_ERROR_BYTES, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int read_fd(void *context, uint64_t offset, void *to, uint32_t bytes)
{
    ssize_t n = pread(*(int *)context, to, bytes, (off_t)offset);
    if (n < 0) {
        return -errno;
    }
    return (uint32_t)n == bytes ? 0 : -EINVAL;
}

static int parse(const char *path, struct elf_file *ret)
{
    CLEANUP(sys_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -errno;
    }
    struct stat info;
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        return -ENOEXEC;
    }
    struct elf_source source = {.read = read_fd, .context = &fd};
    return elf_file_parse(&source, ret);
}

static int add(struct collector *c, const char *path)
{
    for (uint32_t i = 0; i < c->deps->count; i++) {
        if (strcmp(c->deps->paths[i], path) == 0) {
            return 0;
        }
    }
    if (c->deps->count == ELF_DEPS_MAX) {
        return fail(c, "%s needs more than %u files", c->deps->paths[0], ELF_DEPS_MAX);
    }
    if (strlen(path) >= ELF_DEPS_PATH_BYTES) {
        return fail(c, "the path %.80s... is too long", path);
    }
    (void)strcpy(c->deps->paths[c->deps->count++], path);
    return 0;
}

static void folder_of(const char *path, char *to)
{
    (void)snprintf(to, ELF_DEPS_PATH_BYTES, "%s", path);
    char *slash = strrchr(to, '/');
    if (slash != NULL) {
        slash[slash == to ? 1 : 0] = '\0';
    }
}

/* Puts what ld.so(8) calls dynamic string tokens into a folder's name. False: too long. */
static bool expand(const char *from, size_t length, const char *origin, char *to)
{
    static const struct {
        const char *token;
        const char *value;
    } tokens[] = {{"$ORIGIN", NULL},
                  {"${ORIGIN}", NULL},
                  {"$LIB", "lib/x86_64-linux-gnu"},
                  {"${LIB}", "lib/x86_64-linux-gnu"},
                  {"$PLATFORM", "x86_64"},
                  {"${PLATFORM}", "x86_64"}};
    size_t at = 0;
    size_t done = 0;
    while (at < length) {
        const char *value = NULL;
        size_t taken = 1;
        for (size_t i = 0; i < ARRAY_LEN(tokens) && value == NULL; i++) {
            size_t token_length = strlen(tokens[i].token);
            if (length - at >= token_length &&
                memcmp(from + at, tokens[i].token, token_length) == 0) {
                value = tokens[i].value == NULL ? origin : tokens[i].value;
                taken = token_length;
            }
        }
        size_t bytes = value == NULL ? 1 : strlen(value);
        if (done + bytes >= ELF_DEPS_PATH_BYTES) {
            return false;
        }
        memcpy(to + done, value == NULL ? from + at : value, bytes);
        done += bytes;
        at += taken;
    }
    to[done] = '\0';
    return true;
}

/* A library for this machine? Others in the way are passed over, as ld.so does. */
static bool is_library(const char *path)
{
    struct elf_file *file = malloc(sizeof(*file));
    bool good = file != NULL && parse(path, file) == 0;
    free(file);
    return good;
}

static bool try_folder(struct collector *c, const char *folder, const char *name, char *ret)
{
    int length = snprintf(ret, ELF_DEPS_PATH_BYTES, "%s/%s", folder, name);
    size_t used = strlen(c->tried);
    (void)snprintf(c->tried + used, sizeof(c->tried) - used, "%s%s", used == 0 ? "" : " ", folder);
    return length > 0 && (unsigned)length < ELF_DEPS_PATH_BYTES && is_library(ret);
}

static bool try_list(struct collector *c, const char *list, const char *origin, const char *name,
                     char *ret)
{
    while (*list != '\0') {
        size_t length = strcspn(list, ":");
        char folder[ELF_DEPS_PATH_BYTES];
        if (length > 0 && expand(list, length, origin, folder) &&
            try_folder(c, folder, name, ret)) {
            return true;
        }
        list += length + (list[length] == ':' ? 1 : 0);
    }
    return false;
}

static bool try_cache(struct collector *c, const char *name, char *ret)
{
    const char *path;
    if (c->cache == NULL || ld_cache_find(c->cache, c->cache_bytes, name, &path) < 0 ||
        strlen(path) >= ELF_DEPS_PATH_BYTES || !is_library(path)) {
        return false;
    }
    (void)strcpy(ret, path);
    char folder[ELF_DEPS_PATH_BYTES];
    folder_of(path, folder);
    bool standard = false;
    for (size_t i = 0; i < ARRAY_LEN(standard_folders); i++) {
        standard = standard || strcmp(folder, standard_folders[i]) == 0;
    }
    c->deps->needs_cache = c->deps->needs_cache || !standard;
    return true;
}

/* Finds a library that the file at `user` asks for, in the order of ld.so(8). */
static int find_library(struct collector *c, const struct elf_file *user_file, const char *user,
                        const char *name, char *ret)
{
    char origin[ELF_DEPS_PATH_BYTES];
    folder_of(user, origin);
    c->tried[0] = '\0';
    if (strchr(name, '/') != NULL) {
        (void)snprintf(ret, ELF_DEPS_PATH_BYTES, "%s", name);
        return is_library(ret) ? 0 : fail(c, "library %s of %s not found", name, user);
    }
    bool found = false;
    if (!user_file->has_runpath) {
        found = try_list(c, user_file->rpath, origin, name, ret) ||
                try_list(c, c->program_rpath, c->program_folder, name, ret);
    }
    found = found || try_list(c, user_file->runpath, origin, name, ret) || try_cache(c, name, ret);
    for (size_t i = 0; i < ARRAY_LEN(standard_folders) && !found; i++) {
        found = try_folder(c, standard_folders[i], name, ret);
    }
    return found ? 0
                 : fail(c, "library %s of %s not found; looked in %s and in " CACHE_PATH, name,
                        user, c->tried);
}

static int parse_named(struct collector *c, const char *path)
{
    int r = parse(path, &c->file);
    char name[32];
    switch (r) {
    case 0:
        return 0;
    case -ENOENT:
        return fail(c, "%s does not exist", path);
    case -ENOEXEC:
        return fail(c, "%s is neither an ELF program nor a script", path);
    case -EOPNOTSUPP:
        return fail(c, "%s is a program for %s; this unikernel runs x86-64 programs", path,
                    elf_machine_name(c->file.machine, name));
    case -EBADMSG:
    case -EMSGSIZE:
        return fail(c, "%s is a malformed ELF file", path);
    default:
        return fail(c, "%s can't be read: %s", path, strerror(-r));
    }
}

/* Adds what one file asks for to the list. */
static int add_needed(struct collector *c, uint32_t index)
{
    char path[ELF_DEPS_PATH_BYTES];
    char library[ELF_DEPS_PATH_BYTES];
    (void)strcpy(path, c->deps->paths[index]);
    int r = parse_named(c, path);
    if (r == 0 && c->file.interpreter[0] != '\0') {
        r = add(c, c->file.interpreter);
    }
    if (r == 0 && index == c->first && !c->file.has_runpath) {
        (void)strcpy(c->program_rpath, c->file.rpath);
        folder_of(path, c->program_folder);
    }
    for (uint32_t i = 0; i < c->file.needed_count && r == 0; i++) {
        r = find_library(c, &c->file, path, c->file.needed[i], library);
        r = r < 0 ? r : add(c, library);
    }
    return r;
}

/* The first line of a script; false if it is none. */
static bool script_line(const char *path, char *line)
{
    CLEANUP(sys_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n = fd < 0 ? -1 : pread(fd, line, SCRIPT_BYTES - 1, 0);
    if (n < 2 || line[0] != '#' || line[1] != '!') {
        return false;
    }
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return true;
}

/* Adds a script's interpreter, and the one that env(1) would look for. */
static int add_interpreter(struct collector *c, const char *script, const char *line, char *ret)
{
    char *rest = NULL;
    char copy[SCRIPT_BYTES];
    (void)snprintf(copy, sizeof(copy), "%s", line + 2);
    const char *interpreter = strtok_r(copy, " \t", &rest);
    const char *argument = interpreter == NULL ? NULL : strtok_r(NULL, " \t", &rest);
    if (interpreter == NULL || interpreter[0] != '/') {
        return fail(c, "the script %s names no interpreter by an absolute path", script);
    }
    if (access(interpreter, R_OK) < 0) {
        return fail(c, "the interpreter %s of the script %s does not exist", interpreter, script);
    }
    (void)snprintf(ret, ELF_DEPS_PATH_BYTES, "%s", interpreter);
    int r = add(c, interpreter);
    if (r == 0 && strcmp(interpreter, ENV_PROGRAM) == 0 && argument != NULL) {
        if (elf_deps_find_program(argument, getenv("PATH"), ret) < 0) {
            return fail(c, "the interpreter %s of the script %s is not in PATH", argument, script);
        }
        r = add(c, ret);
    }
    return r;
}

/* glibc loads it when a thread is cancelled or ends by pthread_exit(3); without it, it aborts. */
static int add_for_threads(struct collector *c)
{
    static const char libc[] = "/libc.so.6", library[] = "libgcc_s.so.1";
    char path[ELF_DEPS_PATH_BYTES];
    bool wanted = false;
    for (uint32_t i = c->first; i < c->deps->count; i++) {
        size_t length = strlen(c->deps->paths[i]);
        wanted = wanted || (length >= sizeof(libc) - 1 &&
                            strcmp(c->deps->paths[i] + length - (sizeof(libc) - 1), libc) == 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(standard_folders) && wanted; i++) {
        c->tried[0] = '\0';
        if (try_folder(c, standard_folders[i], library, path)) {
            return add(c, path);
        }
    }
    return 0;
}

static int collect(struct collector *c, const char *program)
{
    char path[ELF_DEPS_PATH_BYTES];
    char line[SCRIPT_BYTES];
    int r = add(c, program);
    (void)snprintf(path, sizeof(path), "%s", program);
    for (uint32_t depth = 0; r == 0 && script_line(path, line); depth++) {
        if (depth == SCRIPT_DEPTH_MAX) {
            return fail(c, "%s: scripts that interpret scripts too deeply", program);
        }
        c->first = c->deps->count;
        char script[ELF_DEPS_PATH_BYTES];
        (void)strcpy(script, path);
        r = add_interpreter(c, script, line, path);
    }
    /* The list grows while it is walked; it is bounded by ELF_DEPS_MAX. */
    for (uint32_t i = c->first; i < c->deps->count && r == 0; i++) {
        r = add_needed(c, i);
    }
    return r == 0 ? add_for_threads(c) : r;
}

struct elf_deps *elf_deps_collect(const char *program, char *ret_error)
{
    struct collector *c = calloc(1, sizeof(*c));
    struct elf_deps *deps = calloc(1, sizeof(*deps));
    if (c == NULL || deps == NULL) {
        (void)snprintf(ret_error, ELF_DEPS_ERROR_BYTES, "out of memory");
        free(c);
        free(deps);
        return NULL;
    }
    c->deps = deps;
    c->error = ret_error;
    if (sys_read_file(CACHE_PATH, CACHE_BYTES_MAX, &c->cache, &c->cache_bytes) < 0) {
        c->cache = NULL;
    }
    int r = collect(c, program);
    free(c->cache);
    free(c);
    if (r < 0) {
        free(deps);
        return NULL;
    }
    return deps;
}

int elf_deps_find_program(const char *name, const char *search, char ret_path[ELF_DEPS_PATH_BYTES])
{
    char path[ELF_DEPS_PATH_BYTES];
    if (strchr(name, '/') != NULL) {
        if (name[0] != '/') {
            return -EINVAL;
        }
        if (strlen(name) >= ELF_DEPS_PATH_BYTES) {
            return -ENAMETOOLONG;
        }
        (void)strcpy(ret_path, name);
        return access(name, F_OK) == 0 ? 0 : -ENOENT;
    }
    for (const char *list = search == NULL ? "/usr/bin:/bin" : search; *list != '\0';) {
        size_t length = strcspn(list, ":");
        int bytes = snprintf(path, sizeof(path), "%.*s/%s", (int)length, list, name);
        struct stat info;
        if (length > 0 && bytes > 0 && (unsigned)bytes < sizeof(path) && list[0] == '/' &&
            stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0) {
            (void)strcpy(ret_path, path);
            return 0;
        }
        list += length + (list[length] == ':' ? 1 : 0);
    }
    return -ENOENT;
}
