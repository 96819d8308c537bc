/* SPDX-License-Identifier: Apache-2.0 */
/* What /proc and the control group say about the machine's memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sys/sys.h"
#include "memnode/arena.h"

#define FILE_BYTES_MAX 65536u

/* The number after "name:" in /proc/meminfo; 0 if it isn't there. */
static uint64_t meminfo(const char *name)
{
    char *text = NULL;
    size_t bytes = 0;
    uint64_t value = 0;
    if (sys_read_file("/proc/meminfo", FILE_BYTES_MAX, &text, &bytes) != 0) {
        return 0;
    }
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n' ? 1 : 0;
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            value = strtoull(line + strlen(name) + 1, NULL, 10);
            break;
        }
    }
    free(text);
    return value;
}

/* A file that holds one number; UINT64_MAX if there is none ("max", or no such file). */
static uint64_t number_file(const char *path)
{
    char *text = NULL;
    size_t bytes = 0;
    if (sys_read_file(path, 64, &text, &bytes) != 0) {
        return UINT64_MAX;
    }
    char *end = text;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text) {
        value = UINT64_MAX;
    }
    free(text);
    return value;
}

uint64_t arena_machine_available(void)
{
    uint64_t available = meminfo("MemAvailable") * KIB;
    uint64_t limit = number_file("/sys/fs/cgroup/memory.max");
    uint64_t used = number_file("/sys/fs/cgroup/memory.current");
    if (limit != UINT64_MAX && used != UINT64_MAX) {
        available = MIN(available, limit > used ? limit - used : 0);
    }
    return available;
}

void arena_machine_huge(struct arena_huge *ret)
{
    uint64_t free_count = meminfo("HugePages_Free");
    uint64_t reserved = meminfo("HugePages_Rsvd");
    *ret = (struct arena_huge){.page_bytes = meminfo("Hugepagesize") * KIB,
                               .free_count = free_count > reserved ? free_count - reserved : 0};
}
