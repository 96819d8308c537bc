/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent_internal.h"
#include "computenode/agent/image_stage.h"
#include "lib/base/check.h"
#include "lib/sys/log.h"
#include "lib/sys/text.h"

#define ID_BYTES_MAX 64u

struct member *agent_find(struct agent *agent, const char *id)
{
    list_for_each (node, &agent->members) {
        struct member *member = list_entry(node, struct member, link);
        if (strcmp(id, instance_id(member->instance)) == 0) {
            return member;
        }
    }
    return NULL;
}

struct member *agent_find_name(struct agent *agent, const char *name)
{
    struct member *found = NULL;
    list_for_each (node, &agent->members) {
        struct member *member = list_entry(node, struct member, link);
        found = strcmp(name, instance_name(member->instance)) == 0 ? member : found;
    }
    return found;
}

static void on_changed(void *context, struct instance *instance)
{
    struct member *member = instance_data(instance);
    (void)context;
    if (member == NULL) {
        return; /* being opened */
    }
    member->change_number++;
    member->report_due = true;
    session_report(member);
    if (instance_state(instance) == INSTANCE_ENDED) {
        Dilos__InstanceReport report = DILOS__INSTANCE_REPORT__INIT;
        instance_report(instance, &report);
        log_info("instance-ended", "name=%s id=%s kind=%s code=%d reason=\"%.300s\"",
                 instance_name(instance), instance_id(instance), report.exit_kind, report.exit_code,
                 report.reason);
    }
}

static void member_close(struct member *member)
{
    struct agent *agent = member->agent;
    logs_drop(agent, member->instance);
    list_remove(&member->link);
    agent->member_count--;
    member->instance = instance_close(member->instance);
    free(member->held);
    free(member);
}

void agent_forget(struct agent *agent)
{
    uint32_t ended = 0;
    list_for_each (node, &agent->members) {
        const struct member *member = list_entry(node, struct member, link);
        ended += instance_state(member->instance) == INSTANCE_ENDED ? 1 : 0;
    }
    list_for_each_safe (node, &agent->members) {
        struct member *member = list_entry(node, struct member, link);
        if (ended > AGENT_ENDED_KEPT && !member->report_due && !member->report_sent &&
            !member->ask_sent && !member->release_sent &&
            instance_state(member->instance) == INSTANCE_ENDED) {
            member_close(member);
            ended--;
        }
    }
}

static uint32_t running_count(const struct agent *agent)
{
    uint32_t count = 0;
    list_for_each (node, &agent->members) {
        const struct member *member = list_entry(node, struct member, link);
        count += instance_state(member->instance) != INSTANCE_ENDED ? 1 : 0;
    }
    return count;
}

int agent_add(struct agent *agent, const Dilos__InstanceStart *start, char *ret_error)
{
    if (running_count(agent) >= AGENT_INSTANCES_MAX) {
        (void)snprintf(ret_error, INSTANCE_REASON_BYTES,
                       "this agent runs %u instances already, which is its limit",
                       AGENT_INSTANCES_MAX);
        return -EBUSY;
    }
    struct member *member = calloc(1, sizeof(*member));
    if (member == NULL) {
        (void)snprintf(ret_error, INSTANCE_REASON_BYTES, "the agent is out of memory");
        return -ENOMEM;
    }
    int r = instance_open(&agent->host, start, &member->instance, ret_error);
    if (r < 0) {
        free(member);
        return r;
    }
    member->agent = agent;
    member->report_due = true;
    member->change_number = 1;
    list_append(&agent->members, &member->link);
    agent->member_count++;
    instance_set_data(member->instance, member);
    log_info("instance-start", "name=%s id=%s", instance_name(member->instance),
             instance_id(member->instance));
    session_report(member);
    return 0;
}

/* ---- state folder ---- */

static int read_text(const char *state, const char *name, char *to, size_t capacity)
{
    char path[IMAGE_PATH_BYTES];
    char *text;
    size_t bytes;
    (void)snprintf(path, sizeof(path), "%.900s/%s", state, name);
    int r = sys_read_file(path, ID_BYTES_MAX, &text, &bytes);
    if (r < 0) {
        return r;
    }
    text[strcspn(text, "\n")] = '\0';
    (void)snprintf(to, capacity, "%s", text);
    free(text);
    return 0;
}

static int write_text(const char *state, const char *name, const char *text)
{
    char path[IMAGE_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%.900s/%s", state, name);
    return sys_write_file(path, text, strlen(text));
}

static int load_identity(struct agent *agent)
{
    char epoch[ID_BYTES_MAX];
    const char *state = agent->config.state;
    if (read_text(state, "epoch", epoch, sizeof(epoch)) < 0 ||
        text_parse_u64(epoch, UINT64_MAX, &agent->epoch) < 0) {
        agent->epoch = 0;
    }
    int r = read_text(state, "agent_id", agent->agent_id, sizeof(agent->agent_id));
    if (r == 0 && strlen(agent->agent_id) == SYS_ID_BYTES - 1) {
        return 0;
    }
    sys_random_id(agent->agent_id);
    return write_text(state, "agent_id", agent->agent_id);
}

void agent_see_epoch(struct agent *agent, uint64_t epoch)
{
    char text[ID_BYTES_MAX];
    if (epoch > agent->epoch) {
        agent->epoch = epoch;
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)epoch);
        int r = write_text(agent->config.state, "epoch", text);
        if (r < 0) {
            log_warning("state-not-written", "file=epoch reason=\"%s\"", strerror(-r));
        }
    }
}

/* What an agent that was killed left: its VMs died with it. */
static void clean_state(const struct agent *agent)
{
    char path[IMAGE_PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%.900s/i", agent->config.state);
    image_stage_delete(path);
}

/* ---- opening and closing ---- */

static void host_init(struct agent *agent)
{
    agent->host = (struct instance_host){
        .base = agent->config.base,
        .jobs = agent->jobs,
        .state = agent->config.state,
        .qemu = agent->config.qemu,
        .kernel = agent->config.kernel,
        .host_id = agent->host_id,
        .fabric_only = agent->config.fabric_only,
        .foreign_guests = agent->config.foreign_guests,
        .kvm = agent->config.kvm,
        .far_delay_ns = agent->config.far_delay_ns,
        .image_cache_bytes = agent->config.image_cache_bytes,
        .changed = on_changed,
        .output = logs_wake,
        .ask = slabs_ask,
        .release = slabs_release,
        .context = agent,
    };
}

int agent_open(const struct agent_config *config, struct agent **ret)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    if (agent == NULL) {
        return -ENOMEM;
    }
    agent->config = *config;
    list_init(&agent->members);
    list_init(&agent->readers);
    sys_host_id(agent->host_id);
    (void)snprintf(agent->images, sizeof(agent->images), "%.900s/images", config->state);
    int r = load_identity(agent);
    if (r < 0) {
        goto err_free;
    }
    clean_state(agent);
    r = jobs_open(config->base, &agent->jobs);
    if (r < 0) {
        goto err_free;
    }
    host_init(agent);
    r = session_open(agent);
    if (r < 0) {
        goto err_jobs;
    }
    *ret = agent;
    return 0;

err_jobs:
    (void)jobs_close(agent->jobs);
err_free:
    free(agent);
    return r;
}

static void end_all(struct agent *agent)
{
    list_for_each_safe (node, &agent->members) {
        struct member *member = list_entry(node, struct member, link);
        instance_kill(member->instance, "stopped", "the agent was stopped");
    }
    while (running_count(agent) > 0) {
        (void)event_base_loop(agent->config.base, EVLOOP_ONCE);
    }
}

/* Reports of the ends get a moment to reach the controller. */
static void tell_ends(struct agent *agent)
{
    uint64_t deadline = sys_monotonic_ns() + 2000000000ull;
    bool due = true;
    while (due && session_connection(agent) != NULL && sys_monotonic_ns() < deadline) {
        due = false;
        list_for_each (node, &agent->members) {
            due = due || list_entry(node, struct member, link)->report_due;
        }
        if (due) {
            (void)event_base_loop(agent->config.base, EVLOOP_ONCE);
        }
    }
}

struct agent *agent_close(struct agent *agent)
{
    if (agent == NULL) {
        return NULL;
    }
    agent->closing = true;
    end_all(agent);
    tell_ends(agent);
    session_close(agent);
    agent->jobs = jobs_close(agent->jobs);
    list_for_each_safe (node, &agent->members) {
        member_close(list_entry(node, struct member, link));
    }
    CHECK(agent->member_count == 0);
    free(agent);
    return NULL;
}
