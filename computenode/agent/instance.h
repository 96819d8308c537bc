/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One unikernel on this host: image, far device, control channel, QEMU, logs, and how it ended.
 * Everything runs on the loop's thread.
 */
#ifndef DILOS_AGENT_INSTANCE_H
#define DILOS_AGENT_INSTANCE_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/far_device.h"
#include "computenode/agent/jobs.h"
#include "computenode/agent/output_log.h"
#include "lib/base/compiler.h"
#include "proto/dilos.pb-c.h"

struct event_base;
struct instance;

/*
 * What a program runs in with one processor (the kernel takes 4756 KiB of it). Above this the
 * kernel itself says how much it needs, which depends on the VM's RAM and processors.
 */
#define INSTANCE_LOCAL_BYTES_MIN (5 * MIB)
#define INSTANCE_VCPUS_MAX       16u /* as many as the kernel manages */
#define INSTANCE_REASON_BYTES    2048u
#define INSTANCE_SYSCALLS_MAX    128u
#define INSTANCE_SYSCALL_BYTES   48u
#define INSTANCE_QUESTIONS_MAX   8u
#define INSTANCE_PREFETCH_BYTES  32u
#define INSTANCE_BOOT_MS         30000u /* from QEMU's start to HELLO */
#define INSTANCE_GRACE_MS_MAX    600000u

enum instance_state {
    INSTANCE_NEW,       /* nothing is there yet */
    INSTANCE_PREPARING, /* its image is being made */
    INSTANCE_BOOTING,   /* QEMU runs, the kernel has not said HELLO */
    INSTANCE_RUNNING,   /* the kernel has */
    INSTANCE_STOPPING,  /* somebody wants it to end */
    INSTANCE_ENDING,    /* QEMU is gone; the far device lets go of its slabs */
    INSTANCE_ENDED,     /* only its logs and its last figures are left */
};

/* What instances share, and whom they tell. */
struct instance_host {
    struct event_base *base;
    struct jobs *jobs;
    const char *state;  /* absolute folder */
    const char *qemu;   /* NULL: there is none */
    const char *kernel; /* NULL: there is none */
    const char *host_id;
    const char *fabric_only; /* or NULL */
    bool foreign_guests;     /* far devices for VMMs that are not ours are allowed */
    bool kvm;
    uint64_t far_delay_ns; /* as far_device_config's */
    uint64_t image_cache_bytes;
    void (*changed)(void *context, struct instance *instance); /* its report is another one */
    void (*output)(void *context, struct instance *instance);  /* a log has grown, or ended */
    void (*ask)(void *context, struct instance *instance, uint32_t slab_count);
    void (*release)(void *context, struct instance *instance, const struct slab_identity *slab);
    void *context;
};

/*
 * Begins to start one. Whatever goes wrong later is its end, told by `changed`. Errors: -EINVAL
 * with a sentence in ret_error (INSTANCE_REASON_BYTES), -ENOMEM. `host` outlives it.
 */
int instance_open(const struct instance_host *host, const Dilos__InstanceStart *start,
                  struct instance **ret, char *ret_error) MUST_CHECK;
/* It must be INSTANCE_ENDED; jobs are closed. Its logs go with it. */
struct instance *instance_close(struct instance *instance);

const char *instance_id(const struct instance *instance);
const char *instance_name(const struct instance *instance);
enum instance_state instance_state(const struct instance *instance);
const struct output_log *instance_log(const struct instance *instance);
struct output_log *instance_log_writable(struct instance *instance);

/* Sends a signal to the program; after grace_ms the VM is killed. 0: at once. */
void instance_signal(struct instance *instance, uint32_t number, uint32_t grace_ms);
/* Ends it now with a reason of the agent's. */
void instance_kill(struct instance *instance, const char *exit_kind, const char *reason);

/* Answers of the controller to `ask`. */
void instance_granted(struct instance *instance, const struct slab_grant *grants, uint32_t count);
void instance_refused(struct instance *instance, const char *reason);

/* Fills a report; strings point into the instance. `held` of it is left alone. */
void instance_report(const struct instance *instance, Dilos__InstanceReport *ret);

/*
 * Changes while it runs. The kernel answers: `done` is called once, later. Errors (then it isn't
 * called): -ENOTCONN it does not run, -EBUSY or -EAGAIN the kernel has not answered earlier ones,
 * -EINVAL not KEY=VALUE, -ERANGE more than it was launched with room for.
 */
struct instance_answer {
    int status;       /* 0 or what lib/wire/ctl.h says; -ENOTCONN: it ended */
    const char *text; /* never NULL */
    uint64_t bytes;   /* of a resize */
};
typedef void instance_answered(void *context, const struct instance_answer *answer);
int instance_tune(struct instance *instance, const char *setting, instance_answered *done,
                  void *context) MUST_CHECK;
/* The kernel has accepted this setting. */
void instance_tuned(struct instance *instance, const char *setting);
int instance_resize(struct instance *instance, uint64_t local_bytes, instance_answered *done,
                    void *context) MUST_CHECK;
/* At once. Errors: -ENOTCONN, -ENOMEM. */
int instance_set_far(struct instance *instance, uint64_t far_bytes) MUST_CHECK;

struct instance_sizes {
    uint64_t local_bytes, local_bytes_max, far_bytes;
    const char *prefetch; /* the instance's */
};
void instance_sizes(const struct instance *instance, struct instance_sizes *ret);

/* Live figures, or those that it ended with: `done` is called once, with NULL if it has none. */
typedef void instance_live_done(void *context, const struct far_live *live);
void instance_live(struct instance *instance, instance_live_done *done, void *context);
uint32_t instance_syscalls(const struct instance *instance, char ret[][INSTANCE_SYSCALL_BYTES]);

/* The owner's own state of this instance. */
void instance_set_data(struct instance *instance, void *data);
void *instance_data(const struct instance *instance);

#endif
