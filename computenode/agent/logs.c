/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of instances for those who read them, also for those who wait for more. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent_internal.h"
#include "lib/base/check.h"

#define CHUNK_BYTES_MAX     (256u * 1024)
#define CHUNK_BYTES_DEFAULT (64u * 1024)
#define WAIT_MS_MAX         3600000u

static bool has_ended(const struct instance *instance)
{
    return instance_state(instance) == INSTANCE_ENDED;
}

static void answer(struct rpc_request *request, const struct instance *instance, uint32_t stream,
                   uint64_t offset, uint32_t bytes_max)
{
    uint8_t *data = malloc(bytes_max);
    int64_t n = data == NULL
                    ? -ENOMEM
                    : output_log_read(instance_log(instance), stream, offset, data, bytes_max);
    if (n < 0) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INTERNAL, strerror((int)-n),
                 "see the agent's log");
    } else {
        Dilos__LogChunk body = DILOS__LOG_CHUNK__INIT;
        body.data = (ProtobufCBinaryData){.len = (size_t)n, .data = data};
        body.next_offset = offset + (uint64_t)n;
        body.end = has_ended(instance) &&
                   body.next_offset >= output_log_bytes(instance_log(instance), stream);
        rpc_reply(request, &body.base);
    }
    free(data);
}

static void reader_close(struct reader *reader)
{
    list_remove(&reader->link);
    reader->agent->reader_count--;
    event_free(reader->timer);
    free(reader);
}

static void reader_answer(struct reader *reader)
{
    answer(reader->request, reader->instance, reader->stream, reader->offset, reader->bytes_max);
    reader_close(reader);
}

static void on_timeout(int fd, short events, void *context)
{
    (void)fd;
    (void)events;
    reader_answer(context);
}

static bool wait_for_more(struct agent *agent, struct rpc_request *request,
                          struct instance *instance, const Dilos__LogRead *message,
                          uint32_t bytes_max)
{
    struct reader *reader = calloc(1, sizeof(*reader));
    if (reader == NULL || agent->reader_count == AGENT_READERS_MAX) {
        free(reader);
        return false;
    }
    *reader = (struct reader){.agent = agent,
                              .request = request,
                              .instance = instance,
                              .stream = message->stream,
                              .offset = message->offset,
                              .bytes_max = bytes_max};
    reader->timer = event_new(agent->config.base, -1, 0, on_timeout, reader);
    uint32_t wait_ms = MIN(message->wait_ms, WAIT_MS_MAX);
    const struct timeval delay = {.tv_sec = wait_ms / 1000,
                                  .tv_usec = (suseconds_t)(wait_ms % 1000) * 1000};
    if (reader->timer == NULL || event_add(reader->timer, &delay) < 0) {
        free(reader);
        return false;
    }
    list_append(&agent->readers, &reader->link);
    agent->reader_count++;
    return true;
}

void logs_read(struct agent *agent, struct rpc_request *request, const Dilos__LogRead *message)
{
    struct member *member = agent_find_name(agent, message->name);
    if (member == NULL) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_NOT_FOUND,
                 "this agent has no logs of that instance (any more)",
                 "logs are kept for the last ended instances, until the agent restarts");
        return;
    }
    if (message->stream >= OUTPUT_STREAMS) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INVALID, "there is no such stream",
                 "0 log, 1 stdout, 2 stderr, 3 both");
        return;
    }
    struct instance *instance = member->instance;
    uint32_t bytes_max =
        message->bytes_max == 0 ? CHUNK_BYTES_DEFAULT : MIN(message->bytes_max, CHUNK_BYTES_MAX);
    bool nothing_yet =
        message->offset >= output_log_bytes(instance_log(instance), message->stream) &&
        !has_ended(instance);
    if (nothing_yet && message->wait_ms > 0 &&
        wait_for_more(agent, request, instance, message, bytes_max)) {
        return;
    }
    answer(request, instance, message->stream, message->offset, bytes_max);
}

void logs_wake(void *context, struct instance *instance)
{
    struct agent *agent = context;
    list_for_each_safe (node, &agent->readers) {
        struct reader *reader = list_entry(node, struct reader, link);
        if (reader->instance == instance &&
            (has_ended(instance) ||
             reader->offset < output_log_bytes(instance_log(instance), reader->stream))) {
            reader_answer(reader);
        }
    }
}

void logs_drop(struct agent *agent, const struct instance *instance)
{
    list_for_each_safe (node, &agent->readers) {
        struct reader *reader = list_entry(node, struct reader, link);
        if (reader->instance == instance) {
            reader_answer(reader);
        }
    }
}
