/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of an instance, shared by instance*.c only. */
#ifndef DILOS_AGENT_INSTANCE_INTERNAL_H
#define DILOS_AGENT_INSTANCE_INTERNAL_H

#include <event2/event.h>
#include <sys/types.h>

#include "computenode/agent/ctl_channel.h"
#include "computenode/agent/image.h"
#include "computenode/agent/instance.h"

#define INSTANCE_LIVE_WAITERS_MAX 16u

struct instance_question {
    uint16_t type; /* CTL_TUNE, CTL_RESIZE */
    instance_answered *done;
    void *context;
};

struct instance {
    void *data; /* the owner's */
    const struct instance_host *host;
    enum instance_state state;
    Dilos__InstanceStart *start; /* our copy; sizes as they are now */
    char folder[IMAGE_PATH_BYTES];
    struct output_log *log;

    struct far_device *far;
    struct event *far_event;
    struct ctl_channel *ctl;
    uint64_t stats_address; /* guest-physical, from HELLO; 0: none */
    struct far_live *final; /* the figures that it ended with; NULL: it had none */

    uint64_t local_bytes_max; /* local memory can grow to it: the VM has that much RAM */
    char prefetch[INSTANCE_PREFETCH_BYTES];
    uint32_t question_count; /* asked of the kernel, oldest first */
    struct instance_question questions[INSTANCE_QUESTIONS_MAX];

    bool preparing; /* a job works for it */
    pid_t pid;      /* of QEMU; 0: not started, or waited for */
    int pidfd;
    struct event *exit_event;
    struct event *timer; /* boot deadline, then the grace of a stop */
    bool stop_wanted;
    uint32_t stop_signal;

    const char *exit_kind; /* NULL: not known yet */
    int32_t exit_code;
    char reason[INSTANCE_REASON_BYTES];
    char lost[SLAB_POOL_TEXT_BYTES];    /* what the far device said of a lost node */
    char refusal[SLAB_POOL_TEXT_BYTES]; /* why the controller gave no more far memory */

    uint32_t syscall_count;
    char syscalls[INSTANCE_SYSCALLS_MAX][INSTANCE_SYSCALL_BYTES];
    uint32_t live_count;
    struct {
        instance_live_done *done;
        void *context;
    } live[INSTANCE_LIVE_WAITERS_MAX];
};

/* instance.c */
void instance_move(struct instance *instance, enum instance_state to);
/* The first verdict stays. */
void instance_verdict(struct instance *instance, const char *kind, int32_t code, const char *format,
                      ...) PRINTF_LIKE(4, 5);
void instance_timer(struct instance *instance, uint32_t after_ms);
/* Kills QEMU, or goes on to the end if there is none. */
void instance_end(struct instance *instance);

/* instance_ask.c: answers of the kernel; false: they are malformed, or nobody asked. */
bool instance_on_tuned(struct instance *instance, const uint8_t *body, uint32_t length);
bool instance_on_resized(struct instance *instance, const uint8_t *body, uint32_t length);
/* No answers will come any more. */
void instance_questions_fail(struct instance *instance);

/* instance_ctl.c */
int instance_ctl_open(struct instance *instance) MUST_CHECK;

/* instance_far.c */
int instance_far_open(struct instance *instance) MUST_CHECK;
/*
 * Instead of instance_boot: only the far device, for a VMM that somebody else starts; the log says
 * where its socket is. It ends when that VMM lets go. false: the verdict says why not.
 */
bool instance_far_serve(struct instance *instance);
void instance_far_fini(struct instance *instance);
void instance_live_answer(struct instance *instance, const struct far_live *live);

/* instance_boot.c: starts QEMU on a prepared image; false: the verdict says why not. */
bool instance_boot(struct instance *instance, const struct image_result *image);

#endif
