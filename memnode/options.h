/* SPDX-License-Identifier: Apache-2.0 */
/* The memory node's settings, from file and flags, checked. */
#ifndef DILOS_MEMNODE_OPTIONS_H
#define DILOS_MEMNODE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/sys/config.h"
#include "lib/sys/sys.h"

#define OPTIONS_PATH_BYTES 4096u

struct options {
    const char *name;
    const char *controller;
    const char *state;
    uint64_t memory_bytes;
    uint64_t slab_bytes;
    const char *listen_tcp;
    bool no_tcp;
    const char *shm_socket;
    bool no_shm;
    const char *listen_verbs; /* NULL: wherever there is a port */
    bool no_verbs;
    const char *host;
    struct config_list labels;
    bool insecure;
    bool check;
    char name_default[SYS_NAME_BYTES];
    char host_default[SYS_NAME_BYTES];
    char shm_path[OPTIONS_PATH_BYTES];
    struct config config;
};

/* As config_load; a wrong combination is -EINVAL too, with its message on stderr. */
int options_load(struct options *options, int argc, char **argv) MUST_CHECK;
void options_fini(struct options *options);

#endif
