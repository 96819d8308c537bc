/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of the agent, shared by agent.c, session.c, slabs.c, requests.c, logs.c, live.c. */
#ifndef DILOS_AGENT_AGENT_INTERNAL_H
#define DILOS_AGENT_AGENT_INTERNAL_H

#include <event2/event.h>

#include "computenode/agent/agent.h"
#include "computenode/agent/image.h"
#include "computenode/agent/instance.h"
#include "lib/base/list.h"
#include "lib/rpc/rpc.h"
#include "lib/sys/sys.h"

#define AGENT_HELD_MAX    65536u
#define AGENT_READERS_MAX 256u
#define AGENT_CALL_MS     10000u
#define AGENT_RETRY_MS    500u
#define REQUEST_KEY_BYTES 16u
#define AGENT_ENDED_KEPT  32u /* ended instances whose logs are kept */

/* A slab that an instance holds, or is giving back. */
struct held_slab {
    struct slab_identity slab;
    bool releasing;
};

/* An instance, with what the controller and the agent owe each other about it. */
struct member {
    struct list link; /* in agent->members, oldest first */
    struct agent *agent;
    struct instance *instance;
    bool report_due; /* the controller has not acknowledged its present state */
    bool report_sent;
    uint64_t report_number; /* of the state that was sent last */
    uint64_t change_number;
    uint32_t ask_count; /* 0: nothing is wanted */
    bool ask_sent;
    uint8_t ask_key[REQUEST_KEY_BYTES];
    bool release_sent;
    uint32_t held_count;
    uint32_t held_capacity;
    struct held_slab *held;
};

/* Somebody waits for more of a log. */
struct reader {
    struct list link;
    struct agent *agent;
    struct rpc_request *request;
    struct instance *instance;
    struct event *timer;
    uint32_t stream;
    uint64_t offset;
    uint32_t bytes_max;
};

struct agent {
    struct agent_config config;
    struct instance_host host;
    struct jobs *jobs;
    struct rpc_client *client;
    struct event *beat;  /* heartbeats; attempts to register */
    struct event *retry; /* what is owed is sent again */
    bool registered;
    bool lost; /* said so */
    bool closing;
    uint32_t heartbeat_ms;
    uint64_t epoch;
    char agent_id[SYS_ID_BYTES];
    char host_id[SYS_ID_BYTES];
    char images[IMAGE_PATH_BYTES];
    uint32_t member_count;
    struct list members;
    uint32_t reader_count;
    struct list readers;
};

/* agent.c */
struct member *agent_find(struct agent *agent, const char *id);
/* The latest of that name. */
struct member *agent_find_name(struct agent *agent, const char *name);
int agent_add(struct agent *agent, const Dilos__InstanceStart *start, char *ret_error) MUST_CHECK;
void agent_see_epoch(struct agent *agent, uint64_t epoch);
/* Deletes ended instances beyond AGENT_ENDED_KEPT that owe nothing. */
void agent_forget(struct agent *agent);

/* session.c */
int session_open(struct agent *agent) MUST_CHECK;
void session_close(struct agent *agent);
/* The connection if the agent is registered, else NULL. */
struct rpc_connection *session_connection(struct agent *agent);
/* Sends soon again what is owed. */
void session_retry(struct agent *agent);
void session_report(struct member *member);

/* slabs.c: the slabs of instances, asked for and given back */
void slabs_ask(void *context, struct instance *instance, uint32_t slab_count);
void slabs_release(void *context, struct instance *instance, const struct slab_identity *slab);
void slabs_send_owed(struct member *member);

/* requests.c */
extern const struct rpc_method agent_methods[];
extern const uint32_t agent_method_count;

/* logs.c */
void logs_read(struct agent *agent, struct rpc_request *request, const Dilos__LogRead *message);
/* Answers those who wait for this instance. */
void logs_wake(void *context, struct instance *instance);
void logs_drop(struct agent *agent, const struct instance *instance);

/* change.c */
void change_tune(struct member *member, struct rpc_request *request,
                 const Dilos__InstanceTune *message);
void change_resize(struct member *member, struct rpc_request *request,
                   const Dilos__InstanceResize *message);

/* live.c */
void live_request(struct member *member, struct rpc_request *request);

#endif
