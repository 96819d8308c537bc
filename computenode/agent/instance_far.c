/* SPDX-License-Identifier: Apache-2.0 */
/* What the far device of an instance tells. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "computenode/agent/instance_internal.h"
#include "computenode/agent/vmm.h"
#include "lib/base/bytes.h"

#define POLL_NS 50000u
/* A foreign guest polls nothing by itself: one queue a vCPU and one more, which Linux may poll. */
#define FOREIGN_QUEUE_COUNT 4u

/* Who asked while it ended gets the figures that it ended with. */
static void on_stopped(struct instance *instance, struct far_event *event)
{
    instance->final = event->live;
    event->live = NULL;
    instance_far_fini(instance);
    instance_live_answer(instance, instance->final);
    instance_move(instance, INSTANCE_ENDED);
}

static void on_broken(struct instance *instance, const char *text)
{
    if (instance->state < INSTANCE_ENDING) {
        instance_verdict(instance, "vmm", 0, "the far-memory device was misused: %s", text);
        instance_end(instance);
    }
}

/* Returns false when the device is gone. */
static bool take_event(struct instance *instance, struct far_event *event)
{
    const struct instance_host *host = instance->host;
    switch (event->kind) {
    case FAR_EVENT_ASK:
        host->ask(host->context, instance, event->count);
        return true;
    case FAR_EVENT_RELEASE:
        host->release(host->context, instance, &event->slab);
        return true;
    case FAR_EVENT_NOTE:
        output_log_note(instance->log, "agent: %s", event->text);
        return true;
    case FAR_EVENT_LOST:
        (void)snprintf(instance->lost, sizeof(instance->lost), "%s", event->text);
        output_log_note(instance->log, "agent error: %s", event->text);
        return true;
    case FAR_EVENT_BROKEN:
        output_log_note(instance->log, "agent error: far device: %s", event->text);
        on_broken(instance, event->text);
        return true;
    case FAR_EVENT_DETACHED:
        if (instance->start->spec->device_only) {
            instance_verdict(instance, "exited", 0, "the VMM closed the device");
            instance_end(instance);
        }
        return true;
    case FAR_EVENT_LIVE:
        instance_live_answer(instance, event->live);
        return true;
    case FAR_EVENT_STOPPED:
        on_stopped(instance, event);
        return false;
    }
    return true;
}

static void on_events(int fd, short events, void *context)
{
    struct instance *instance = context;
    struct far_event *event;
    bool there = true;
    (void)fd;
    (void)events;
    while (there && (event = far_device_event(instance->far)) != NULL) {
        there = take_event(instance, event);
        far_event_free(event);
    }
}

int instance_far_open(struct instance *instance)
{
    char path[IMAGE_PATH_BYTES + 8];
    (void)snprintf(path, sizeof(path), "%s/far", instance->folder);
    const struct far_device_config config = {
        .socket_path = path,
        .slab_bytes = instance->start->slab_bytes,
        .far_bytes = instance->start->spec->far_bytes,
        .queue_count = instance->start->spec->device_only
                           ? FOREIGN_QUEUE_COUNT
                           : MAX(instance->start->spec->vcpus, 1u) * VMM_QUEUES_PER_VCPU,
        .poll_ns = POLL_NS,
        .delay_ns = instance->host->far_delay_ns,
        .choice = {.local_host_id = instance->host->host_id, .only = instance->host->fabric_only},
    };
    int r = far_device_open(&config, &instance->far);
    if (r < 0) {
        return r;
    }
    instance->far_event = event_new(instance->host->base, far_device_fd(instance->far),
                                    EV_READ | EV_PERSIST, on_events, instance);
    if (instance->far_event == NULL || event_add(instance->far_event, NULL) < 0) {
        instance_far_fini(instance);
        return -ENOMEM;
    }
    return 0;
}

bool instance_far_serve(struct instance *instance)
{
    int r = instance_far_open(instance);
    if (r < 0) {
        instance_verdict(instance, "refused", 0, "the far device's socket can't be made: %s",
                         strerror(-r));
        return false;
    }
    output_log_note(instance->log, "agent: far device queues=%u socket=%s/far", FOREIGN_QUEUE_COUNT,
                    instance->folder);
    return true;
}

void instance_far_fini(struct instance *instance)
{
    if (instance->far_event != NULL) {
        event_free(instance->far_event);
        instance->far_event = NULL;
    }
    instance->far = far_device_close(instance->far);
}

int instance_set_far(struct instance *instance, uint64_t far_bytes)
{
    if (instance->state != INSTANCE_RUNNING || instance->far == NULL) {
        return -ENOTCONN;
    }
    int r = far_device_set_far(instance->far, far_bytes);
    if (r == 0) {
        uint8_t body[8];
        le64_store(body, far_bytes);
        instance->start->spec->far_bytes = far_bytes;
        /* The device enforces it; the kernel is told for meminfo and what may be mapped. */
        if (instance->ctl != NULL && ctl_channel_send(instance->ctl, CTL_FAR, body, 8) < 0) {
            output_log_note(instance->log, "agent: the kernel could not be told");
        }
        output_log_note(instance->log, "agent: far memory is at most %llu KiB now",
                        (unsigned long long)far_bytes / KIB);
    }
    return r;
}

void instance_granted(struct instance *instance, const struct slab_grant *grants, uint32_t count)
{
    instance->refusal[0] = '\0';
    if (instance->far != NULL && far_device_grant(instance->far, grants, count) < 0) {
        instance_kill(instance, "no-memory", "the agent is out of memory");
    }
}

void instance_refused(struct instance *instance, const char *reason)
{
    if (strncmp(instance->refusal, reason, sizeof(instance->refusal) - 1) != 0) {
        (void)snprintf(instance->refusal, sizeof(instance->refusal), "%s", reason);
        output_log_note(instance->log, "agent: no more far memory: %s", reason);
    }
    if (instance->far != NULL && far_device_refuse(instance->far) < 0) {
        instance_kill(instance, "no-memory", "the agent is out of memory");
    }
}

void instance_live(struct instance *instance, instance_live_done *done, void *context)
{
    if (instance->state == INSTANCE_ENDED) {
        done(context, instance->final);
        return;
    }
    if (instance->far == NULL || instance->live_count == INSTANCE_LIVE_WAITERS_MAX ||
        far_device_live(instance->far, instance->stats_address) < 0) {
        done(context, NULL);
        return;
    }
    instance->live[instance->live_count].done = done;
    instance->live[instance->live_count].context = context;
    instance->live_count++;
}

void instance_live_answer(struct instance *instance, const struct far_live *live)
{
    uint32_t count = instance->live_count;
    instance->live_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        instance->live[i].done(instance->live[i].context, live);
    }
}
