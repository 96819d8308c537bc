/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stock QEMU as a child process: its command line for a unikernel, and starting it so that it dies
 * with this process.
 */
#ifndef DILOS_AGENT_VMM_H
#define DILOS_AGENT_VMM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/compiler.h"

#define VMM_PATH_BYTES      1024u
#define VMM_QUEUES_PER_VCPU 2u

struct vmm_config {
    const char *qemu;   /* absolute path */
    const char *kernel; /* dilos.elf */
    const char *folder; /* of the instance: spec, serial, qemu.log, and the sockets below */
    const char *image;  /* root image; NULL: none */
    bool kvm;
    bool devices;          /* far (socket "far") and ctl (socket "ctl") */
    uint64_t memory_bytes; /* whole MiB */
    uint32_t vcpus;        /* 0: one; the far device has VMM_QUEUES_PER_VCPU queues for each */
};

/*
 * Starts QEMU on the thread that must outlive it (PR_SET_PDEATHSIG). Its messages go to qemu.log,
 * the serial port to serial. Errors: -ENOENT no qemu there, others of fork(2), execve(2), open(2).
 */
int vmm_start(const struct vmm_config *config, pid_t *ret_pid, int *ret_pidfd) MUST_CHECK;

/*
 * The absolute path of the QEMU to use: `wanted`, or from PATH if NULL. Errors: -ENOENT.
 */
int vmm_find(const char *wanted, char ret_path[VMM_PATH_BYTES]) MUST_CHECK;

#define VMM_PROBE_MS     3000u
#define VMM_REASON_BYTES 256u
/*
 * Boots `kernel` in probe mode in `folder` and waits, at most limit_ms, until it has said that all
 * is well and ended. Blocks. ret_reason: why it did not.
 */
bool vmm_boots(const char *qemu, const char *kernel, const char *folder, bool kvm,
               uint32_t limit_ms, char *ret_reason);
/* Whether KVM works: if there is one, by booting under it within VMM_PROBE_MS. */
bool vmm_kvm_works(const char *qemu, const char *kernel, const char *folder, char *ret_reason);

/* The last bytes of a text file, control characters made harmless. "" if there is none. */
void vmm_tail(const char *path, char *to, uint32_t capacity);

#endif
