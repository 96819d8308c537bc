/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: its session with the controller, and the instances that it runs. With the controller
 * gone, instances go on; what they ask for waits and is asked again with the same key.
 */
#ifndef DILOS_AGENT_AGENT_H
#define DILOS_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/sys/config.h"

#define AGENT_INSTANCES_MAX 64u

struct event_base;
struct agent;

struct agent_config {
    struct event_base *base;
    const char *name;
    const char *controller;
    const char *state; /* absolute folder */
    const char *host;  /* failure domain */
    const struct config_list *labels;
    const char *qemu;   /* NULL: there is none */
    const char *kernel; /* NULL: there is none */
    const char *fabric_only;
    bool foreign_guests; /* as instance_host's */
    bool kvm;
    uint64_t far_delay_ns;      /* as far_device_config's */
    uint64_t image_cache_bytes; /* as image_request's */
    const char *kvm_reason;     /* why TCG is used; "": nobody asked for better */
};

/* Strings outlive it. Errors: -EINVAL the controller's address, -ENOMEM, of the state folder. */
int agent_open(const struct agent_config *config, struct agent **ret) MUST_CHECK;
/* Ends all instances (killing their VMs) and waits for them. */
struct agent *agent_close(struct agent *agent);

#endif
