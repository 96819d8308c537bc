/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The far-memory device of one instance: a vhost-user-blk back end (virtio 1.1, 5.2; QEMU's
 * docs/interop/vhost-user) on a unix socket that the VMM connects to, and the thread that serves
 * it. The thread owns rings, fabric peers and slab map; these functions are its owner's side
 * (one thread), which talks to it by messages.
 */
#ifndef DILOS_AGENT_FAR_DEVICE_H
#define DILOS_AGENT_FAR_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/far_io.h"
#include "lib/base/compiler.h"
#include "lib/fabric/steady.h"
#include "lib/wire/gueststats.h"

struct far_device;

struct far_device_config {
    const char *socket_path; /* made by far_device_open, removed by far_device_close */
    uint64_t slab_bytes;
    uint64_t far_bytes;
    uint32_t queue_count; /* 1..VHOST_QUEUES_MAX */
    uint64_t poll_ns;  /* polled in vain before a sleep: at least so long (lib/sys/poll_budget.h) */
    uint64_t delay_ns; /* each answer is held so long (far_delay.h) */
    struct fabric_choice choice; /* its strings outlive the device */
};

enum far_event_kind {
    FAR_EVENT_ASK,      /* `count` slabs are wanted: far_device_grant or _refuse must follow */
    FAR_EVENT_RELEASE,  /* `slab` is no longer used */
    FAR_EVENT_NOTE,     /* `text` for the instance's log */
    FAR_EVENT_LOST,     /* data is lost, requests fail; `text` names the memory node */
    FAR_EVENT_DETACHED, /* the VMM closed the device: no guest is there any more */
    FAR_EVENT_BROKEN,   /* the guest or the VMM broke the device's protocol, nothing is served */
    FAR_EVENT_LIVE,     /* `live`, freed with the event */
    FAR_EVENT_STOPPED,  /* the last one, with the final `live`: no slab is used any more */
};

struct far_live_peer {
    char node[SLAB_POOL_NAME_BYTES];
    char fabric[16];
    uint32_t slab_count;
    uint32_t breaks; /* how often the connection broke and was made again */
    struct fabric_counters counters;
    enum fabric_fallback fallback;
    char fallback_reason[SLAB_POOL_TEXT_BYTES];
};

struct far_live {
    struct far_counters counters;
    uint32_t slabs_held;
    uint32_t slabs_mapped;
    uint32_t slabs_spare;
    bool has_stats;
    struct gueststats stats; /* the guest's word */
    uint32_t peer_count;
    struct far_live_peer peers[SLAB_POOL_PEERS_MAX];
};

struct far_event {
    struct list link;
    enum far_event_kind kind;
    uint32_t count;
    struct slab_identity slab;
    struct far_live *live;
    char text[SLAB_POOL_TEXT_BYTES];
};

/* Listens and starts the thread. Errors: -ENAMETOOLONG, -EINVAL, -ENOMEM, others of the system. */
int far_device_open(const struct far_device_config *config, struct far_device **ret) MUST_CHECK;
/* Stops the thread and waits for it (bounded by what is in flight on the fabrics). */
struct far_device *far_device_close(struct far_device *device);

/* Readable when there are events. far_device_event: NULL if there is none; far_event_free. */
int far_device_fd(const struct far_device *device);
struct far_event *far_device_event(struct far_device *device);
void far_event_free(struct far_event *event);

/* Answers FAR_EVENT_ASK. `grants` are copied. Errors: -ENOMEM. */
int far_device_grant(struct far_device *device, const struct slab_grant *grants,
                     uint32_t count) MUST_CHECK;
int far_device_refuse(struct far_device *device) MUST_CHECK;
/* How much far memory it may hold from now on. Errors: -ENOMEM. */
int far_device_set_far(struct far_device *device, uint64_t far_bytes) MUST_CHECK;
/*
 * The guest has ended, or is about to be ended: what is in flight for it is waited for
 * FAR_ENDING_MS_MAX from now on at most, where a memory node may be silent for longer. At once,
 * whatever the thread does.
 */
void far_device_ending(struct far_device *device);
/* FAR_EVENT_LIVE follows. stats_address: guest-physical, 0: none. Errors: -ENOMEM. */
int far_device_live(struct far_device *device, uint64_t stats_address) MUST_CHECK;
/*
 * Serving ends; FAR_EVENT_STOPPED follows once everything is let go. stats_address: as for
 * far_device_live. Errors: -ENOMEM.
 */
int far_device_stop(struct far_device *device, uint64_t stats_address) MUST_CHECK;

#endif
