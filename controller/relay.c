/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of dilosctl that an agent answers: live figures, logs, images. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/core/place.h"
#include "controller/info.h"
#include "controller/internal.h"

#define RELAY_SETTING_BYTES 128u

/* Several agents may be asked for one answer. */
struct relay {
    struct controller *controller;
    struct rpc_request *request;
    Dilos__InstanceInfo *instance;     /* inspect: waits for its live figures */
    Dilos__ImageList images;           /* image list: of all agents so far */
    uint64_t far_bytes;                /* resize: as it is to be; 0: as it was */
    char setting[RELAY_SETTING_BYTES]; /* tune */
    char instance_id[CORE_ID_BYTES];
    uint32_t waiting; /* agents that have not answered */
};

static struct relay *relay_open(struct controller *c, struct rpc_request *request)
{
    if (c->relay_count == RELAYS_MAX) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE,
                 "too many requests wait for agents already", "try again later");
        return NULL;
    }
    struct relay *relay = info_zeroed(1, sizeof(*relay));
    relay->controller = c;
    relay->request = request;
    c->relay_count++;
    return relay;
}

static void relay_close(struct relay *relay)
{
    relay->controller->relay_count--;
    free(relay);
}

/* Passes the agent's answer on as it is. */
static void pass_on(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct relay *relay = context;
    if (error != NULL) {
        rpc_fail(relay->request, error->code, error->message, error->remedy);
    } else {
        rpc_reply(relay->request, reply);
    }
    relay_close(relay);
}

/* Asks an agent; `done` closes the relay. */
static void relay_ask(struct relay *relay, struct session *s, uint16_t type,
                      const ProtobufCMessage *message, const ProtobufCMessageDescriptor *reply,
                      uint32_t timeout_ms, rpc_done *done)
{
    if (rpc_call(s->connection, type, message, reply, timeout_ms, done, relay) != 0) {
        rpc_fail(relay->request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, "the agent is too busy",
                 "try again later");
        relay_close(relay);
    }
}

static void ask_one(struct controller *c, uint32_t agent, uint16_t type,
                    const ProtobufCMessage *message, const ProtobufCMessageDescriptor *reply,
                    uint32_t timeout_ms, struct rpc_request *request)
{
    struct session *s = session_of_agent(c, agent);
    struct relay *relay = s == NULL ? NULL : relay_open(c, request);
    if (s == NULL) {
        char text[CORE_REASON_BYTES];
        (void)snprintf(text, sizeof(text), "agent %s is not connected",
                       c->core->agents[agent].name);
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, text,
                 "start dilos-agent on its host, then try again");
    } else if (relay != NULL) {
        relay_ask(relay, s, type, message, reply, timeout_ms, pass_on);
    }
}

void on_log_read(void *context, struct rpc_connection *connection, struct rpc_request *request,
                 const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__LogRead *m = (const Dilos__LogRead *)message;
    uint32_t slot = core_find_instance(c->core, m->name);
    if (slot == CORE_NONE) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, "there is no instance of that name",
                 "dilosctl ps shows the instances");
        return;
    }
    ask_one(c, c->core->instances[slot].agent, DILOS__MESSAGE_TYPE__MESSAGE_LOG_READ, message,
            &dilos__log_chunk__descriptor, MIN(m->wait_ms, 3600000u) + RELAY_TIMEOUT_MS, request);
    (void)connection;
}

void on_image_build(void *context, struct rpc_connection *connection, struct rpc_request *request,
                    const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__ImageBuild *m = (const Dilos__ImageBuild *)message;
    uint32_t agent =
        m->agent[0] == '\0' ? place_instance(c->core) : core_find_agent(c->core, m->agent);
    if (agent == CORE_NONE && m->agent[0] == '\0') {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_REFUSED,
                 "no agent is connected, and an image is built by one",
                 "start dilos-agent on a compute host, then try again");
        return;
    }
    if (agent == CORE_NONE) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, "there is no agent of that name",
                 "dilosctl status lists the agents");
        return;
    }
    ask_one(c, agent, DILOS__MESSAGE_TYPE__MESSAGE_IMAGE_BUILD, message,
            &dilos__image_info__descriptor, BUILD_TIMEOUT_MS, request);
    (void)connection;
}

static void images_finish(struct relay *relay)
{
    if (relay->waiting == 0) {
        rpc_reply(relay->request, &relay->images.base);
        for (size_t i = 0; i < relay->images.n_images; i++) {
            dilos__image_info__free_unpacked(relay->images.images[i], NULL);
        }
        free(relay->images.images);
        relay_close(relay);
    }
}

#define IMAGES_MAX 1024u

static void images_add(struct relay *relay, const Dilos__ImageInfo *from)
{
    if (relay->images.n_images < IMAGES_MAX) {
        Dilos__ImageInfo *to = info_zeroed(1, sizeof(*to));
        *to = *from;
        to->name = info_text(from->name);
        to->program = info_text(from->program);
        to->agent = info_text(from->agent);
        to->base.n_unknown_fields = 0;
        to->base.unknown_fields = NULL;
        relay->images.images[relay->images.n_images++] = to;
    }
}

static void images_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct relay *relay = context;
    const Dilos__ImageList *list = (const Dilos__ImageList *)reply;
    for (size_t i = 0; error == NULL && i < list->n_images; i++) {
        images_add(relay, list->images[i]);
    }
    relay->waiting--;
    images_finish(relay);
}

void on_image_list(void *context, struct rpc_connection *connection, struct rpc_request *request,
                   const ProtobufCMessage *message)
{
    struct controller *c = context;
    struct relay *relay = relay_open(c, request);
    if (relay == NULL) {
        return;
    }
    dilos__image_list__init(&relay->images);
    relay->images.images = info_zeroed(IMAGES_MAX, sizeof(*relay->images.images));
    for (uint32_t i = 0; i < CORE_AGENTS_MAX; i++) {
        struct session *s = session_of_agent(c, i);
        if (s != NULL &&
            rpc_call(s->connection, DILOS__MESSAGE_TYPE__MESSAGE_IMAGE_LIST, message,
                     &dilos__image_list__descriptor, RELAY_TIMEOUT_MS, images_done, relay) == 0) {
            relay->waiting++;
        }
    }
    images_finish(relay);
    (void)connection;
}

static void inspect_finish(struct relay *relay, Dilos__InstanceLive *live, const char *live_error)
{
    Dilos__InstanceInfo *info = relay->instance;
    char *own = info->live_error;
    info->live = live;
    info->live_error = (char *)(uintptr_t)live_error;
    rpc_reply(relay->request, &info->base);
    info->live = NULL;
    info->live_error = own;
    dilos__instance_info__free_unpacked(info, NULL);
    relay_close(relay);
}

static void inspect_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    const struct relay *relay = context;
    bool ended = relay->instance->state == DILOS__INSTANCE_STATE__INSTANCE_EXITED ||
                 relay->instance->state == DILOS__INSTANCE_STATE__INSTANCE_FAILED;
    const char *why = error == NULL ? "" : error->message;
    if (error != NULL && ended && error->code == DILOS__ERROR_CODE__ERROR_NOT_FOUND) {
        why = "it has ended, and its agent keeps its figures no longer";
    }
    inspect_finish(context, error == NULL ? (Dilos__InstanceLive *)(uintptr_t)reply : NULL, why);
}

void on_instance_inspect(void *context, struct rpc_connection *connection,
                         struct rpc_request *request, const ProtobufCMessage *message)
{
    struct controller *c = context;
    if (!controller_settle(c)) {
        return;
    }
    uint32_t slot = core_find_instance(c->core, ((const Dilos__NameRef *)message)->name);
    if (slot == CORE_NONE) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, "there is no instance of that name",
                 "dilosctl ps shows the instances");
        return;
    }
    const struct instance *instance = &c->core->instances[slot];
    struct relay *relay = relay_open(c, request);
    if (relay == NULL) {
        return;
    }
    relay->instance = info_instance(c->core, slot, true);
    struct session *s = session_of_agent(c, instance->agent);
    Dilos__InstanceRef ref = DILOS__INSTANCE_REF__INIT;
    ref.instance_id = relay->instance->instance_id;
    /* One that has ended, too: its agent keeps the last figures. */
    if (s == NULL) {
        inspect_finish(relay, NULL, "its agent is not connected");
    } else if (rpc_call(s->connection, DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_LIVE, &ref.base,
                        &dilos__instance_live__descriptor, LIVE_TIMEOUT_MS, inspect_done,
                        relay) != 0) {
        inspect_finish(relay, NULL, "its agent is too busy");
    }
    (void)connection;
}

/* The instance of a request and its agent; CORE_NONE: answered. */
static uint32_t running_or_fail(struct controller *c, const char *name, struct rpc_request *request)
{
    uint32_t slot = controller_settle(c) ? core_find_instance(c->core, name) : CORE_NONE;
    if (slot == CORE_NONE) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, "there is no instance of that name",
                 "dilosctl ps shows the instances");
    } else if (instance_ended(c->core->instances[slot].state)) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_REFUSED, "the instance has ended",
                 "launch it again");
        slot = CORE_NONE;
    }
    return slot;
}

/* The stored specification of the relay's instance. NULL: answered. */
static Dilos__InstanceSpec *stored_spec(struct relay *relay)
{
    const struct core *core = relay->controller->core;
    uint32_t slot = core_find_instance_id(core, relay->instance_id);
    const struct instance_spec *stored = slot == CORE_NONE ? NULL : &core->specs[slot];
    Dilos__InstanceSpec *spec =
        stored == NULL ? NULL : dilos__instance_spec__unpack(NULL, stored->bytes, stored->data);
    if (spec == NULL) {
        rpc_fail(relay->request, DILOS__ERROR_CODE__ERROR_NOT_FOUND, "the instance was removed",
                 "dilosctl ps");
    }
    return spec;
}

/* setting NULL: sizes. The request is answered when it is stored. */
static void spec_keep(struct relay *relay, const Dilos__InstanceSpec *spec, const char *setting)
{
    size_t bytes = dilos__instance_spec__get_packed_size(spec);
    uint8_t *packed = info_zeroed(bytes, 1);
    (void)dilos__instance_spec__pack(spec, packed);
    const struct core_event event = {.kind = CORE_RESIZE,
                                     .token = (uintptr_t)relay->request,
                                     .instance_id = relay->instance_id,
                                     .reason = setting,
                                     .local_bytes = spec->local_bytes,
                                     .far_bytes = spec->far_bytes,
                                     .spec = packed,
                                     .spec_bytes = (uint32_t)bytes};
    controller_event(relay->controller, &event);
    free(packed);
}

/* Stores what the agent has done, so that it is known whoever asks, also after a restart. */
static void tune_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    static const char prefetch[] = "prefetch=";
    struct relay *relay = context;
    Dilos__InstanceSpec *spec = NULL;
    (void)reply;
    if (error != NULL) {
        rpc_fail(relay->request, error->code, error->message, error->remedy);
    } else {
        spec = stored_spec(relay);
    }
    if (spec != NULL) {
        char *before = spec->prefetch;
        if (strncmp(relay->setting, prefetch, sizeof(prefetch) - 1) == 0) {
            spec->prefetch = relay->setting + sizeof(prefetch) - 1;
        }
        spec_keep(relay, spec, relay->setting);
        spec->prefetch = before;
        dilos__instance_spec__free_unpacked(spec, NULL);
    }
    relay_close(relay);
}

/* A relay to the agent of an instance, whose change it stores. NULL: answered. */
static struct relay *change_open(struct controller *c, uint32_t slot, struct rpc_request *request,
                                 struct session **ret_session)
{
    const struct instance *instance = &c->core->instances[slot];
    *ret_session = session_of_agent(c, instance->agent);
    if (*ret_session == NULL) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, "its agent is not connected",
                 "start dilos-agent on its host, then try again");
        return NULL;
    }
    struct relay *relay = relay_open(c, request);
    if (relay != NULL) {
        core_text(relay->instance_id, sizeof(relay->instance_id), instance->instance_id);
    }
    return relay;
}

static void tune_ask(struct controller *c, uint32_t slot, const char *setting,
                     struct rpc_request *request)
{
    struct session *s;
    struct relay *relay = change_open(c, slot, request, &s);
    Dilos__InstanceTune tune = DILOS__INSTANCE_TUNE__INIT;
    if (relay == NULL) {
        return;
    }
    core_text(relay->setting, sizeof(relay->setting), setting);
    tune.instance_id = relay->instance_id;
    tune.setting = relay->setting;
    relay_ask(relay, s, DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_TUNE, &tune.base,
              &dilos__instance_tuned__descriptor, RELAY_TIMEOUT_MS, tune_done);
}

void on_tune(void *context, struct rpc_connection *connection, struct rpc_request *request,
             const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__Tune *m = (const Dilos__Tune *)message;
    uint32_t slot = running_or_fail(c, m->name, request);
    if (slot != CORE_NONE && strlen(m->setting) >= RELAY_SETTING_BYTES) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INVALID, "the setting is too long",
                 "for example prefetch=none");
    } else if (slot != CORE_NONE) {
        tune_ask(c, slot, m->setting, request);
    }
    (void)connection;
}

/* Stores what the agent has done. */
static void resize_keep(struct relay *relay, const Dilos__InstanceResized *resized)
{
    Dilos__InstanceSpec *spec = stored_spec(relay);
    if (spec != NULL) {
        spec->local_bytes = resized->local_bytes;
        spec->far_bytes = relay->far_bytes != 0 ? relay->far_bytes : spec->far_bytes;
        spec_keep(relay, spec, NULL);
        dilos__instance_spec__free_unpacked(spec, NULL);
    }
}

static void resize_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct relay *relay = context;
    if (error != NULL) {
        rpc_fail(relay->request, error->code, error->message, error->remedy);
    } else {
        resize_keep(relay, (const Dilos__InstanceResized *)reply);
    }
    relay_close(relay);
}

static void resize_ask(struct controller *c, uint32_t slot, const Dilos__Resize *m,
                       struct rpc_request *request)
{
    struct session *s;
    struct relay *relay = change_open(c, slot, request, &s);
    Dilos__InstanceResize resize = DILOS__INSTANCE_RESIZE__INIT;
    if (relay == NULL) {
        return;
    }
    relay->far_bytes = m->far_bytes;
    resize.instance_id = relay->instance_id;
    resize.local_bytes = m->local_bytes;
    resize.far_bytes = m->far_bytes;
    relay_ask(relay, s, DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_RESIZE, &resize.base,
              &dilos__instance_resized__descriptor, RELAY_TIMEOUT_MS, resize_done);
}

void on_resize(void *context, struct rpc_connection *connection, struct rpc_request *request,
               const ProtobufCMessage *message)
{
    struct controller *c = context;
    const Dilos__Resize *m = (const Dilos__Resize *)message;
    struct refusal refusal;
    uint32_t slot = running_or_fail(c, m->name, request);
    (void)connection;
    if (slot == CORE_NONE) {
        return;
    }
    const struct instance *instance = &c->core->instances[slot];
    uint64_t local_bytes = m->local_bytes != 0 ? m->local_bytes : instance->local_bytes;
    uint64_t far_bytes = m->far_bytes != 0 ? m->far_bytes : instance->far_bytes;
    if (core_may_resize(c->core, slot, local_bytes, far_bytes, &refusal)) {
        resize_ask(c, slot, m, request);
    } else {
        rpc_fail(request, (Dilos__ErrorCode)refusal.code, refusal.message, refusal.remedy);
    }
}
