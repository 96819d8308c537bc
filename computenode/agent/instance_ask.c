/* SPDX-License-Identifier: Apache-2.0 */
/* Questions to the kernel of an instance: settings and sizes that change while it runs. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "computenode/agent/instance_internal.h"
#include "lib/base/bytes.h"

/* CTL_TUNE and CTL_RESIZE are answered in the order in which they were asked, each kind by
 * itself.*/
static int ask(struct instance *instance, uint16_t type, const void *body, uint32_t length,
               instance_answered *done, void *context)
{
    if (instance->state != INSTANCE_RUNNING || instance->ctl == NULL) {
        return -ENOTCONN;
    }
    if (instance->question_count == INSTANCE_QUESTIONS_MAX) {
        return -EBUSY;
    }
    int r = ctl_channel_send(instance->ctl, type, body, length);
    if (r < 0) {
        return r;
    }
    struct instance_question *question = &instance->questions[instance->question_count++];
    question->type = type;
    question->done = done;
    question->context = context;
    return 0;
}

/* The first question of that kind is answered. False: none was asked. */
static bool answer_first(struct instance *instance, uint16_t type,
                         const struct instance_answer *answer)
{
    for (uint32_t i = 0; i < instance->question_count; i++) {
        const struct instance_question question = instance->questions[i];
        if (question.type == type) {
            instance->question_count--;
            memmove(&instance->questions[i], &instance->questions[i + 1],
                    (instance->question_count - i) * sizeof(question));
            question.done(question.context, answer);
            return true;
        }
    }
    return false;
}

bool instance_on_tuned(struct instance *instance, const uint8_t *body, uint32_t length)
{
    struct ctl_tuned tuned;
    char text[CTL_TUNE_BYTES_MAX + 1] = "";
    if (ctl_tuned_decode(body, length, &tuned) < 0) {
        return false;
    }
    (void)snprintf(text, sizeof(text), "%.*s", (int)MIN(tuned.text_length, CTL_TUNE_BYTES_MAX),
                   tuned.text);
    const struct instance_answer answer = {.status = tuned.status, .text = text};
    return answer_first(instance, CTL_TUNE, &answer);
}

bool instance_on_resized(struct instance *instance, const uint8_t *body, uint32_t length)
{
    struct ctl_resized resized;
    if (ctl_resized_decode(body, length, &resized) < 0) {
        return false;
    }
    const struct instance_answer answer = {
        .status = resized.status, .text = "", .bytes = resized.bytes};
    if (resized.status == 0) {
        instance->start->spec->local_bytes = resized.bytes;
        output_log_note(instance->log, "agent: local memory is %llu KiB now",
                        (unsigned long long)resized.bytes / KIB);
    }
    return answer_first(instance, CTL_RESIZE, &answer);
}

void instance_questions_fail(struct instance *instance)
{
    const struct instance_answer answer = {.status = -ENOTCONN, .text = "the instance has ended"};
    while (instance->question_count > 0) {
        (void)answer_first(instance, instance->questions[0].type, &answer);
    }
}

int instance_tune(struct instance *instance, const char *setting, instance_answered *done,
                  void *context)
{
    size_t length = strlen(setting);
    if (length == 0 || length > CTL_TUNE_BYTES_MAX) {
        return -EINVAL;
    }
    return ask(instance, CTL_TUNE, setting, (uint32_t)length, done, context);
}

void instance_tuned(struct instance *instance, const char *setting)
{
    static const char prefetch[] = "prefetch=";
    output_log_note(instance->log, "agent: tuned %s", setting);
    if (strncmp(setting, prefetch, sizeof(prefetch) - 1) == 0) {
        (void)snprintf(instance->prefetch, sizeof(instance->prefetch), "%s",
                       setting + sizeof(prefetch) - 1);
    }
}

int instance_resize(struct instance *instance, uint64_t local_bytes, instance_answered *done,
                    void *context)
{
    uint8_t body[8];
    if (local_bytes > instance->local_bytes_max) {
        return -ERANGE;
    }
    le64_store(body, local_bytes);
    return ask(instance, CTL_RESIZE, body, sizeof(body), done, context);
}

void instance_sizes(const struct instance *instance, struct instance_sizes *ret)
{
    const Dilos__InstanceSpec *spec = instance->start->spec;
    *ret = (struct instance_sizes){.local_bytes = spec->local_bytes,
                                   .local_bytes_max = instance->local_bytes_max,
                                   .far_bytes = spec->far_bytes,
                                   .prefetch = instance->prefetch};
}
