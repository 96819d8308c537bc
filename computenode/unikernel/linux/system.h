/* SPDX-License-Identifier: Apache-2.0 */
/* What uname, sysinfo and /proc say about the machine. */
#ifndef DILOS_UNIKERNEL_LINUX_SYSTEM_H
#define DILOS_UNIKERNEL_LINUX_SYSTEM_H

#include <stdint.h>

/* The Linux whose interface this is; C libraries refuse to run on one that is too old. */
#define SYSTEM_RELEASE "6.1.0-dilos"
#define SYSTEM_VERSION "#1 DiLOS"

struct system_memory {
    uint64_t local_bytes;
    uint64_t local_free_bytes;
    uint64_t far_bytes;
    uint64_t far_used_bytes;
};
void system_memory(struct system_memory *ret);

#endif
