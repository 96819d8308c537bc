/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "cli/query.h"
#include "cli/words.h"

static void print_json(const Dilos__Status *status)
{
    struct json j;
    json_init(&j, stdout, false);
    json_object(&j, NULL);
    json_text(&j, "cluster_id", status->cluster_id);
    json_u64(&j, "epoch", status->epoch);
    json_text(&j, "version", status->version);
    json_u64(&j, "uptime_ms", status->uptime_ms);
    json_u64(&j, "applied_index", status->applied_index);
    json_u64(&j, "nodes_up", status->nodes_up);
    json_u64(&j, "nodes_total", status->nodes_total);
    json_u64(&j, "agents_up", status->agents_up);
    json_u64(&j, "agents_total", status->agents_total);
    json_u64(&j, "bytes_total", status->bytes_total);
    json_u64(&j, "bytes_free", status->bytes_free);
    json_u64(&j, "instances_running", status->instances_running);
    json_u64(&j, "instances_total", status->instances_total);
    print_health(&j, "health", status->health, status->n_health);
    json_array(&j, "agents");
    for (size_t i = 0; i < status->n_agents; i++) {
        const Dilos__AgentInfo *agent = status->agents[i];
        json_object(&j, NULL);
        json_text(&j, "name", agent->name);
        json_bool(&j, "up", agent->up);
        json_text(&j, "accelerator", agent->accelerator);
        json_u64(&j, "memory_bytes", agent->memory_bytes);
        json_u64(&j, "cpu_count", agent->cpu_count);
        json_u64(&j, "instances", agent->instances);
        print_health(&j, "health", agent->health, agent->n_health);
        json_object_end(&j);
    }
    json_array_end(&j);
    json_object_end(&j);
    json_fini(&j);
}

static void print_agents(const Dilos__Status *status)
{
    for (size_t i = 0; i < status->n_agents; i++) {
        const Dilos__AgentInfo *agent = status->agents[i];
        print_line(i == 0 ? "Agents" : "",
                   "%s  %s, %s, %" PRIu32 " CPUs, %s, %" PRIu32 " instances running", agent->name,
                   agent->up ? "up" : "down", agent->accelerator, agent->cpu_count,
                   print_size(agent->memory_bytes), agent->instances);
    }
    if (status->n_agents == 0) {
        print_line("Agents", "none");
    }
}

static void print_text(const Dilos__Status *status, const char *address)
{
    char uptime[WORDS_TIME_BYTES];
    print_line("Cluster", "%s", status->cluster_id);
    print_line("Controller", "%s, version %s, up %s, epoch %" PRIu64 ", applied %" PRIu64, address,
               status->version, words_duration(status->uptime_ms, uptime), status->epoch,
               status->applied_index);
    print_line("Memory nodes", "%" PRIu32 " of %" PRIu32 " up", status->nodes_up,
               status->nodes_total);
    print_line("Far memory", "%s free of %s", print_size(status->bytes_free),
               print_size(status->bytes_total));
    print_agents(status);
    print_line("Instances", "%" PRIu32 " running, %" PRIu32 " known", status->instances_running,
               status->instances_total);
    print_health_lines("", status->health, status->n_health);
    for (size_t i = 0; i < status->n_agents; i++) {
        print_health_lines(status->agents[i]->name, status->agents[i]->health,
                           status->agents[i]->n_health);
    }
}

static void print_status(const struct cli *cli, const void *reply)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        print_json(reply);
    } else {
        print_text(reply, cli->address);
    }
}

int cmd_status(struct cli *cli)
{
    static const struct query query = {DILOS__MESSAGE_TYPE__MESSAGE_STATUS,
                                       &dilos__status__descriptor, print_status};
    return query_all(cli, &query);
}
