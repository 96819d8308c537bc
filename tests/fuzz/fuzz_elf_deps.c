/* SPDX-License-Identifier: Apache-2.0 */
/* ELF headers of a program that an operator names, and the dynamic linker's cache. */
#include <errno.h>
#include <string.h>

#include "computenode/agent/elf_file.h"
#include "computenode/agent/ld_cache.h"
#include "lib/base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct memory {
    const uint8_t *data;
    size_t size;
};

static int read_memory(void *context, uint64_t offset, void *to, uint32_t bytes)
{
    const struct memory *memory = context;
    if (offset > memory->size || bytes > memory->size - offset) {
        return -EINVAL;
    }
    memcpy(to, memory->data + offset, bytes);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct elf_file file;
    struct memory memory = {.data = data, .size = size};
    const struct elf_source source = {.read = read_memory, .context = &memory};
    if (elf_file_parse(&source, &file) == 0) {
        CHECK(file.needed_count <= ELF_NEEDED_MAX);
        CHECK(memchr(file.interpreter, '\0', ELF_TEXT_BYTES) != NULL);
        CHECK(memchr(file.runpath, '\0', ELF_TEXT_BYTES) != NULL);
        for (uint32_t i = 0; i < file.needed_count; i++) {
            CHECK(memchr(file.needed[i], '\0', ELF_NAME_BYTES) != NULL);
        }
    }
    const char *path;
    if (ld_cache_find(data, size, "libc.so.6", &path) == 0) {
        CHECK(memchr(path, '\0', size - (size_t)(path - (const char *)data)) != NULL);
    }
    return 0;
}
