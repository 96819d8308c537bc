/* SPDX-License-Identifier: Apache-2.0 */
/* Options of dilos-agent, checked, with what was found for them on this machine. */
#ifndef DILOS_AGENT_OPTIONS_H
#define DILOS_AGENT_OPTIONS_H

#include <stdbool.h>

#include "computenode/agent/vmm.h"
#include "lib/base/compiler.h"
#include "lib/sys/config.h"
#include "lib/sys/sys.h"

struct options {
    struct config config;
    const char *name;
    const char *controller;
    const char *state; /* made absolute */
    const char *kernel;
    const char *qemu;
    const char *host;
    const char *accel;
    const char *fabric;
    struct config_list labels;
    bool check;
    bool foreign_guests;
    uint64_t image_cache_bytes;
    uint64_t far_delay_us;
    const char *fabric_only; /* from `fabric`; NULL: any */
    char name_default[SYS_NAME_BYTES];
    char state_path[VMM_PATH_BYTES];
    char kernel_path[VMM_PATH_BYTES]; /* "": not found */
    char qemu_path[VMM_PATH_BYTES];   /* "": not found */
};

/* As config_load. */
int options_load(struct options *options, int argc, char **argv) MUST_CHECK;
void options_fini(struct options *options);

/* Says what this machine has and lacks, a line each. False: something is missing. */
bool options_check_machine(const struct options *options);

#endif
