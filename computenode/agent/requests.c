/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller asks of the agent. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent_internal.h"
#include "lib/sys/log.h"

#define CONTROLLER (UINT32_C(1) << DILOS__ROLE__ROLE_CONTROLLER)
#define SIGNAL_MAX 64u

static void reply_empty(struct rpc_request *request)
{
    Dilos__Empty empty = DILOS__EMPTY__INIT;
    rpc_reply(request, &empty.base);
}

/* The instance of a request; NULL: it has been answered. */
static struct member *member_of(struct agent *agent, struct rpc_request *request, const char *id)
{
    struct member *member = agent_find(agent, id);
    if (member == NULL) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND,
                 "this agent does not run that instance", "see dilosctl ps");
    }
    return member;
}

static void on_start(void *context, struct rpc_connection *connection, struct rpc_request *request,
                     const ProtobufCMessage *message)
{
    struct agent *agent = context;
    const Dilos__InstanceStart *start = (const Dilos__InstanceStart *)message;
    char error[INSTANCE_REASON_BYTES] = "";
    (void)connection;
    if (start->epoch < agent->epoch) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_STALE_EPOCH, "an older controller",
                 "stop the controller that lost its place");
        return;
    }
    if (agent->closing) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, "the agent is being stopped",
                 "use another agent");
        return;
    }
    agent_see_epoch(agent, start->epoch);
    if (agent_find(agent, start->instance_id) == NULL && agent_add(agent, start, error) < 0) {
        log_warning("instance-refused", "id=%s reason=\"%s\"", start->instance_id, error);
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_REFUSED, error,
                 "change what the message names, then launch again");
        return;
    }
    reply_empty(request); /* also for one that is repeated */
}

static void on_signal(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    const Dilos__InstanceSignal *signal = (const Dilos__InstanceSignal *)message;
    (void)connection;
    struct member *member = member_of(context, request, signal->instance_id);
    if (member == NULL) {
        return;
    }
    if (signal->signal == 0 || signal->signal > SIGNAL_MAX) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INVALID, "there is no such signal",
                 "15 ends a program, 9 kills it");
        return;
    }
    instance_signal(member->instance, signal->signal, signal->grace_ms);
    reply_empty(request);
}

static void on_live(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    const Dilos__InstanceRef *ref = (const Dilos__InstanceRef *)message;
    (void)connection;
    struct member *member = member_of(context, request, ref->instance_id);
    if (member != NULL) {
        live_request(member, request);
    }
}

static void on_tune(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    const Dilos__InstanceTune *tune = (const Dilos__InstanceTune *)message;
    (void)connection;
    struct member *member = member_of(context, request, tune->instance_id);
    if (member != NULL) {
        change_tune(member, request, tune);
    }
}

static void on_resize(void *context, struct rpc_connection *connection, struct rpc_request *request,
                      const ProtobufCMessage *message)
{
    const Dilos__InstanceResize *resize = (const Dilos__InstanceResize *)message;
    (void)connection;
    struct member *member = member_of(context, request, resize->instance_id);
    if (member != NULL) {
        change_resize(member, request, resize);
    }
}

static void on_log_read(void *context, struct rpc_connection *connection,
                        struct rpc_request *request, const ProtobufCMessage *message)
{
    (void)connection;
    logs_read(context, request, (const Dilos__LogRead *)message);
}

/* ---- images ---- */

struct build {
    struct agent *agent;
    struct rpc_request *request;
    Dilos__ImageBuild *message; /* our copy */
    struct image_file *files;
    struct image_request image;
    int error;
    struct image_result result;
};

static void build_free(struct build *build)
{
    if (build->message != NULL) {
        dilos__image_build__free_unpacked(build->message, NULL);
    }
    free(build->files);
    free(build);
}

static void build_work(void *context)
{
    struct build *build = context;
    build->error = image_build(&build->image, &build->result);
}

static void build_done(void *context)
{
    struct build *build = context;
    if (build->error < 0) {
        rpc_fail(build->request, DILOS__ERROR_CODE__ERROR_REFUSED, build->result.error,
                 "change what the message names, then build again");
    } else {
        Dilos__ImageInfo info = DILOS__IMAGE_INFO__INIT;
        info.name = build->message->name;
        info.program = build->result.program;
        info.bytes = build->result.bytes;
        info.file_count = build->result.entry_count;
        info.agent = (char *)(uintptr_t)build->agent->config.name;
        info.created_ns = sys_realtime_ns();
        rpc_reply(build->request, &info.base);
    }
    build_free(build);
}

static struct build *build_new(struct agent *agent, struct rpc_request *request,
                               const Dilos__ImageBuild *message)
{
    struct build *build = calloc(1, sizeof(*build));
    size_t bytes = dilos__image_build__get_packed_size(message);
    uint8_t *packed = malloc(bytes + 1);
    if (build == NULL || packed == NULL) {
        free(build);
        free(packed);
        return NULL;
    }
    (void)dilos__image_build__pack(message, packed);
    build->message = dilos__image_build__unpack(NULL, bytes, packed);
    free(packed);
    build->files = calloc(message->n_files + 1, sizeof(*build->files));
    if (build->message == NULL || build->files == NULL) {
        build_free(build);
        return NULL;
    }
    for (size_t i = 0; i < message->n_files; i++) {
        build->files[i] = (struct image_file){.host_path = build->message->files[i]->host_path,
                                              .guest_path = build->message->files[i]->guest_path};
    }
    build->agent = agent;
    build->request = request;
    build->image = (struct image_request){.folder = agent->images,
                                          .name = build->message->name,
                                          .program = build->message->program,
                                          .files = build->files,
                                          .file_count = (uint32_t)message->n_files,
                                          .cache_bytes = agent->config.image_cache_bytes};
    return build;
}

static void on_image_build(void *context, struct rpc_connection *connection,
                           struct rpc_request *request, const ProtobufCMessage *message)
{
    struct agent *agent = context;
    (void)connection;
    struct build *build = build_new(agent, request, (const Dilos__ImageBuild *)message);
    int r = build == NULL ? -ENOMEM : jobs_run(agent->jobs, build_work, build_done, build);
    if (r < 0) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE,
                 r == -EBUSY ? "the agent is making too many images already" : strerror(-r),
                 "try again later");
        if (build != NULL) {
            build_free(build);
        }
    }
}

static void on_image_list(void *context, struct rpc_connection *connection,
                          struct rpc_request *request, const ProtobufCMessage *message)
{
    struct agent *agent = context;
    struct image_info *infos = NULL;
    (void)connection;
    (void)message;
    int found = image_list(agent->images, &infos);
    size_t count = found < 0 ? 0 : (size_t)found;
    Dilos__ImageInfo *items = calloc(count + 1, sizeof(*items));
    Dilos__ImageInfo **list = calloc(count + 1, sizeof(Dilos__ImageInfo *));
    if (found < 0 || items == NULL || list == NULL) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INTERNAL, "the agent is out of memory",
                 "give its host more memory");
    } else {
        Dilos__ImageList body = DILOS__IMAGE_LIST__INIT;
        for (size_t i = 0; i < count; i++) {
            dilos__image_info__init(&items[i]);
            items[i].name = infos[i].name;
            items[i].program = infos[i].program;
            items[i].bytes = infos[i].bytes;
            items[i].file_count = infos[i].entry_count;
            items[i].created_ns = infos[i].created_ns;
            items[i].agent = (char *)(uintptr_t)agent->config.name;
            list[i] = &items[i];
        }
        body.n_images = count;
        body.images = list;
        rpc_reply(request, &body.base);
    }
    free(list);
    free(items);
    free(infos);
}

const struct rpc_method agent_methods[] = {
    {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_START, &dilos__instance_start__descriptor, on_start,
     CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_SIGNAL, &dilos__instance_signal__descriptor, on_signal,
     CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_LIVE, &dilos__instance_ref__descriptor, on_live,
     CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_TUNE, &dilos__instance_tune__descriptor, on_tune,
     CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_RESIZE, &dilos__instance_resize__descriptor, on_resize,
     CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_LOG_READ, &dilos__log_read__descriptor, on_log_read, CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_IMAGE_BUILD, &dilos__image_build__descriptor, on_image_build,
     CONTROLLER},
    {DILOS__MESSAGE_TYPE__MESSAGE_IMAGE_LIST, &dilos__empty__descriptor, on_image_list, CONTROLLER},
};
const uint32_t agent_method_count = ARRAY_LEN(agent_methods);
