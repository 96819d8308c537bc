/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end's side of one vhost-user connection (QEMU, docs/interop/vhost-user): negotiates
 * features, maps guest memory, sets up the queues. It does not serve requests: far_server does.
 * Owned by the data thread.
 */
#ifndef DILOS_AGENT_VHOST_SESSION_H
#define DILOS_AGENT_VHOST_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/guest_memory.h"
#include "computenode/agent/vring.h"
#include "lib/base/compiler.h"

#define VHOST_QUEUES_MAX     32u
#define VHOST_REASON_BYTES   160u
#define VHOST_RECEIVE_MS_MAX 2000u /* for the rest of a message */

struct vhost_queue {
    struct vring ring;
    struct vhost_user_vring_address address;
    bool has_address;
    bool enabled;
    bool started; /* between SET_VRING_KICK and GET_VRING_BASE */
    int kick_fd;  /* -1: none, must be polled */
    int call_fd;  /* -1: nobody wants to be told */
};

struct vhost_session_ops {
    uint64_t features;     /* of the device, VHOST_USER_F_PROTOCOL_FEATURES excepted */
    const uint8_t *config; /* configuration space */
    uint32_t config_bytes;
    uint32_t queue_count;
    /* Answers every request of every queue: memory or a queue is about to go. Errors: -ETIMEDOUT.
     */
    int (*quiesce)(void *context);
    /* Guest memory is about to be unmapped, and nothing is in flight. */
    void (*memory_going)(void *context);
    /* Guest memory is another one now. */
    int (*memory_changed)(void *context);
    void *context;
};

struct vhost_session {
    const struct vhost_session_ops *ops;
    int fd; /* -1: not connected */
    uint64_t features;
    uint64_t protocol_features;
    bool broken; /* a queue broke the rules: nothing is served any more */
    struct guest_memory memory;
    struct vhost_queue queues[VHOST_QUEUES_MAX];
    char reason[VHOST_REASON_BYTES]; /* of the last error */
};

void vhost_session_init(struct vhost_session *session, const struct vhost_session_ops *ops);
/* Closes descriptors and unmaps the guest: nothing may be in flight. */
void vhost_session_fini(struct vhost_session *session);

/* Begins to speak on a connected socket, which it owns from then on. */
void vhost_session_start(struct vhost_session *session, int fd);

/*
 * Reads one message and answers it; call it when the socket is readable. Returns 1, or 0 when the
 * front end closed. Errors end the session, `reason` says why: -EPROTO what breaks the protocol,
 * -ETIMEDOUT a message that does not end, others of the system.
 */
int vhost_session_handle(struct vhost_session *session) MUST_CHECK;

/* Whether the queue may be served now. */
static inline bool vhost_queue_is_live(const struct vhost_queue *queue)
{
    return queue->started && queue->enabled && vring_is_attached(&queue->ring);
}

#endif
