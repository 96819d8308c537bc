/* SPDX-License-Identifier: Apache-2.0 */
/* What the controller asks to change in an instance while it runs. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent_internal.h"
#include "lib/sys/text.h"

/* A change that waits for the kernel's answer. */
struct change {
    struct rpc_request *request;
    struct member *member;
    uint64_t local_bytes, far_bytes; /* of a resize */
    char *setting;                   /* of a tune */
};

static void change_free(struct change *change)
{
    free(change->setting);
    free(change);
}

static struct change *change_new(struct member *member, struct rpc_request *request,
                                 const char *setting)
{
    struct change *change = calloc(1, sizeof(*change));
    char *copy = strdup(setting);
    if (change == NULL || copy == NULL) {
        free(change);
        free(copy);
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INTERNAL, "the agent is out of memory",
                 "give its host more memory");
        return NULL;
    }
    change->request = request;
    change->member = member;
    change->setting = copy;
    return change;
}

/* It was not even asked, or no answer will come. */
static void fail(struct rpc_request *request, int error)
{
    switch (error) {
    case -ENOTCONN:
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_REFUSED, "the instance does not run",
                 "dilosctl inspect shows its state");
        break;
    case -EBUSY:
    case -EAGAIN:
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE,
                 "the instance has not answered earlier changes yet", "try again later");
        break;
    case -EINVAL:
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INVALID, "a setting is KEY=VALUE",
                 "for example prefetch=none");
        break;
    case -ENOSYS:
    case -EOPNOTSUPP:
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_REFUSED, "its kernel can't do that",
                 "launch it again with what it needs");
        break;
    default:
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_REFUSED, strerror(-error),
                 "see dilosctl logs --stream kernel");
        break;
    }
}

static void on_tuned(void *context, const struct instance_answer *answer)
{
    struct change *change = context;
    if (answer->status == 0) {
        Dilos__InstanceTuned body = DILOS__INSTANCE_TUNED__INIT;
        body.text = (char *)(uintptr_t)answer->text;
        instance_tuned(change->member->instance, change->setting);
        rpc_reply(change->request, &body.base);
    } else if (answer->text[0] != '\0' && answer->status != -ENOTCONN) {
        rpc_fail(change->request, DILOS__ERROR_CODE__ERROR_REFUSED, answer->text,
                 "use one of those");
    } else {
        fail(change->request, answer->status);
    }
    change_free(change);
}

void change_tune(struct member *member, struct rpc_request *request,
                 const Dilos__InstanceTune *message)
{
    struct change *change = change_new(member, request, message->setting);
    int r = change == NULL ? 0 : instance_tune(member->instance, change->setting, on_tuned, change);
    if (r < 0) {
        fail(request, r);
        change_free(change);
    }
}

static void refuse_size(const struct change *change, uint64_t nearest)
{
    char text[256];
    char wanted[16];
    char possible[16];
    char remedy[96];
    struct instance_sizes sizes;
    instance_sizes(change->member->instance, &sizes);
    bool too_small = change->local_bytes < nearest;
    (void)text_format_size(change->local_bytes, wanted);
    /* A round size that is possible. */
    (void)text_format_size(too_small ? ALIGN_UP(nearest, MIB) : ALIGN_DOWN(nearest, MIB), possible);
    if (change->local_bytes > sizes.local_bytes_max) {
        (void)snprintf(text, sizeof(text),
                       "%s of local memory: it was launched with room for %s (launch "
                       "--max-local-memory)",
                       wanted, possible);
    } else {
        (void)snprintf(text, sizeof(text),
                       "it can't have %s of local memory: %s %s are possible now", wanted,
                       too_small ? "at least" : "at most", possible);
    }
    (void)snprintf(remedy, sizeof(remedy), "--local-memory %s", possible);
    rpc_fail(change->request, DILOS__ERROR_CODE__ERROR_REFUSED, text, remedy);
}

/* Local memory is as wanted: the rest of a resize. */
static void resize_rest(struct change *change)
{
    struct instance *instance = change->member->instance;
    struct instance_sizes sizes;
    int r = change->far_bytes == 0 ? 0 : instance_set_far(instance, change->far_bytes);
    if (r < 0) {
        fail(change->request, r);
    } else {
        Dilos__InstanceResized body = DILOS__INSTANCE_RESIZED__INIT;
        instance_sizes(instance, &sizes);
        body.local_bytes = sizes.local_bytes;
        rpc_reply(change->request, &body.base);
    }
    change_free(change);
}

static void on_resized(void *context, const struct instance_answer *answer)
{
    struct change *change = context;
    if (answer->status == 0) {
        resize_rest(change);
        return;
    }
    if (answer->status == -ERANGE) {
        refuse_size(change, answer->bytes);
    } else {
        fail(change->request, answer->status);
    }
    change_free(change);
}

void change_resize(struct member *member, struct rpc_request *request,
                   const Dilos__InstanceResize *message)
{
    struct change *change = change_new(member, request, "");
    if (change == NULL) {
        return;
    }
    change->local_bytes = message->local_bytes;
    change->far_bytes = message->far_bytes;
    if (message->local_bytes == 0) {
        resize_rest(change);
        return;
    }
    int r = instance_resize(member->instance, message->local_bytes, on_resized, change);
    if (r == -ERANGE) {
        struct instance_sizes sizes;
        instance_sizes(member->instance, &sizes);
        refuse_size(change, sizes.local_bytes_max);
    } else if (r < 0) {
        fail(request, r);
    }
    if (r < 0) {
        change_free(change);
    }
}
