/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "cli/query.h"
#include "cli/table.h"
#include "cli/words.h"

static void print_node_json(struct json *j, const Dilos__NodeInfo *node)
{
    json_object(j, NULL);
    json_text(j, "name", node->name);
    json_text(j, "node_id", node->node_id);
    json_text(j, "arena_id", node->arena_id);
    json_text(j, "state", words_node_state(node->state));
    json_bool(j, "cordoned", node->cordoned);
    json_text(j, "host", node->host);
    json_object(j, "labels");
    for (size_t i = 0; i < node->n_labels; i++) {
        json_text(j, node->labels[i]->key, node->labels[i]->value);
    }
    json_object_end(j);
    json_u64(j, "slab_bytes", node->slab_bytes);
    json_u64(j, "slab_count", node->slab_count);
    json_u64(j, "slabs_free", node->slabs_free);
    json_u64(j, "slabs_granted", node->slabs_granted);
    json_u64(j, "slabs_other", node->slabs_other);
    json_u64(j, "heartbeat_age_ms", node->heartbeat_age_ms);
    json_object(j, "endpoint");
    if (node->endpoint != NULL) {
        json_text(j, "host_id", node->endpoint->host_id);
        json_text(j, "tcp_address", node->endpoint->tcp_address);
        json_text(j, "shm_path", node->endpoint->shm_path);
        json_text(j, "verbs_address", node->endpoint->verbs_address);
    }
    json_object_end(j);
    print_counters(j, "counters", node->counters, node->n_counters);
    print_health(j, "health", node->health, node->n_health);
    print_health(j, "machine", node->machine, node->n_machine);
    json_object_end(j);
}

/* "shm tcp": what the node offers. */
static const char *fabric_words(const Dilos__Endpoint *e)
{
    static const char *const words[] = {"",      "shm",       "tcp",       "shm tcp",
                                        "verbs", "verbs shm", "verbs tcp", "verbs shm tcp"};
    if (e == NULL) {
        return "";
    }
    return words[(e->shm_path[0] != '\0' ? 1 : 0) | (e->tcp_address[0] != '\0' ? 2 : 0) |
                 (e->verbs_address[0] != '\0' ? 4 : 0)];
}

static void print_nodes_text(const struct cli *cli, const Dilos__NodeList *list)
{
    static const struct table_column columns[] = {
        {"NAME", false}, {"STATE", false}, {"HOST", false}, {"SLAB", true},     {"FREE", true},
        {"USED", true},  {"OTHER", true},  {"TOTAL", true}, {"FABRICS", false}, {"HEALTH", false}};
    struct table *t = table_open(columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < list->n_nodes; i++) {
        const Dilos__NodeInfo *node = list->nodes[i];
        if (cli->quiet) {
            printf("%s\n", node->name);
            continue;
        }
        table_cell(t, "%s", node->name);
        table_cell(t, "%s%s", words_node_state(node->state), node->cordoned ? ", cordoned" : "");
        table_cell(t, "%s", node->host);
        table_cell(t, "%s", print_size(node->slab_bytes));
        table_cell(t, "%" PRIu32, node->slabs_free);
        table_cell(t, "%" PRIu32, node->slabs_granted);
        table_cell(t, "%" PRIu32, node->slabs_other);
        table_cell(t, "%" PRIu32, node->slab_count);
        table_cell(t, "%s", fabric_words(node->endpoint));
        table_cell(t, "%s%s", node->n_health == 0 ? "ok" : node->health[0]->code,
                   node->n_health > 1 ? ", ..." : "");
    }
    if (!cli->quiet) {
        table_print(t, stdout);
    }
    table_close(t);
}

static void print_nodes(const struct cli *cli, const void *reply)
{
    const Dilos__NodeList *list = reply;
    if (cli->output != CLI_OUTPUT_JSON) {
        print_nodes_text(cli, list);
        return;
    }
    struct json j;
    json_init(&j, stdout, false);
    json_object(&j, NULL);
    json_array(&j, "nodes");
    for (size_t i = 0; i < list->n_nodes; i++) {
        print_node_json(&j, list->nodes[i]);
    }
    json_array_end(&j);
    json_object_end(&j);
    json_fini(&j);
}

int cmd_node_list(struct cli *cli)
{
    static const struct query query = {DILOS__MESSAGE_TYPE__MESSAGE_NODE_LIST,
                                       &dilos__node_list__descriptor, print_nodes};
    return query_all(cli, &query);
}

static void print_endpoint(const Dilos__Endpoint *e)
{
    if (e == NULL) {
        return;
    }
    if (e->shm_path[0] != '\0') {
        print_line("Shared memory", "%s (on host %s)", e->shm_path, e->host_id);
    }
    if (e->tcp_address[0] != '\0') {
        print_line("TCP", "%s", e->tcp_address);
    }
    if (e->verbs_address[0] != '\0') {
        print_line("Verbs", "%s", e->verbs_address);
    }
}

static void print_node_text(const Dilos__NodeInfo *node)
{
    char age[WORDS_TIME_BYTES];
    print_line("Name", "%s (id %s)", node->name, node->node_id);
    print_line("State", "%s%s, last heard %s ago", words_node_state(node->state),
               node->cordoned ? ", cordoned" : "", words_duration(node->heartbeat_age_ms, age));
    print_line("Host", "%s", node->host);
    for (size_t i = 0; i < node->n_labels; i++) {
        print_line(i == 0 ? "Labels" : "", "%s=%s", node->labels[i]->key, node->labels[i]->value);
    }
    print_line("Slabs",
               "%" PRIu32 " of %s: %" PRIu32 " free, %" PRIu32 " granted, %" PRIu32 " other",
               node->slab_count, print_size(node->slab_bytes), node->slabs_free,
               node->slabs_granted, node->slabs_other);
    print_endpoint(node->endpoint);
    for (size_t i = 0; i < node->n_counters; i++) {
        print_line(i == 0 ? "Counters" : "", "%s %" PRIu64 " %s", node->counters[i]->name,
                   node->counters[i]->value, node->counters[i]->unit);
    }
    for (size_t i = 0; i < node->n_machine; i++) {
        const Dilos__Health *thing = node->machine[i];
        print_line(i == 0 ? "Machine" : "", "%s: %s", thing->code, thing->detail);
        if (thing->remedy[0] != '\0') {
            print_line("", "  missing, fix: %s", thing->remedy);
        }
    }
    print_health_lines("", node->health, node->n_health);
}

static void print_node(const struct cli *cli, const void *reply)
{
    if (cli->output != CLI_OUTPUT_JSON) {
        print_node_text(reply);
        return;
    }
    struct json j;
    json_init(&j, stdout, false);
    print_node_json(&j, reply);
    json_fini(&j);
}

int cmd_node_inspect(struct cli *cli)
{
    static const struct query query = {DILOS__MESSAGE_TYPE__MESSAGE_NODE_INSPECT,
                                       &dilos__node_info__descriptor, print_node};
    return query_name(cli, &query);
}
