/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner side of the far device: one vhost-user session, its queues, and the far memory that
 * they read and write. Everything runs on the thread that calls.
 */
#ifndef DILOS_AGENT_FAR_SERVER_H
#define DILOS_AGENT_FAR_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "computenode/agent/far_delay.h"
#include "computenode/agent/far_io.h"
#include "computenode/agent/vhost_session.h"
#include "lib/base/compiler.h"

/* Requests that are taken from the rings at a time. */
#define FAR_REQUESTS_MAX 512u
/* To end what is in flight before a queue or guest memory goes. */
#define FAR_QUIESCE_MS_MAX 5000u
/* The same when the guest has ended: nobody needs it any more. */
#define FAR_ENDING_MS_MAX 500u

struct far_server {
    struct vhost_session_ops ops;
    struct vhost_session session;
    struct far_io *io;
    struct far_delay delay;
    struct virtio_blk_config config;
    struct far_request *free_requests[FAR_REQUESTS_MAX];
    uint32_t free_count;
    struct far_request *requests;
    uint64_t capacity_sectors;
    atomic_bool ending; /* from any thread */
    uint64_t ending_ns; /* when a wait first saw it; 0: none did */
};

/*
 * `lost`: as in far_io_callbacks. `delay_ns`: each answer from far memory is held so long
 * (far_delay.h). Errors: those of far_io_open.
 */
int far_server_init(struct far_server *server, const struct slab_pool_config *pool,
                    uint32_t queue_count, uint64_t delay_ns,
                    void (*lost)(void *context, const char *text), void *context) MUST_CHECK;
void far_server_fini(struct far_server *server);

/*
 * Serves what is in the queues and on the fabrics, once around. Returns how many things happened;
 * -EPROTO: the guest broke the rules of a queue, session.reason says how.
 */
int far_server_turn(struct far_server *server) MUST_CHECK;

/* Asks the guest for notifications. True: there is work already. */
bool far_server_arm(struct far_server *server);
void far_server_disarm(struct far_server *server);

#endif
