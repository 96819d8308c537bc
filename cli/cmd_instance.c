/* SPDX-License-Identifier: Apache-2.0 */
/* ps, stop, wait and rm: instances by name. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/print.h"
#include "cli/query.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/words.h"
#include "lib/sys/sys.h"

#define STOP_SLACK_MS 30000u

static uint64_t age_ms(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (to_ns - from_ns) / 1000000u : 0;
}

static void add_row(struct table *t, const Dilos__InstanceInfo *info)
{
    char command[48], outcome[256], duration[WORDS_TIME_BYTES];
    const Dilos__InstanceSpec *spec = info->spec;
    uint64_t end_ns = follow_has_ended(info) ? info->ended_ns : sys_realtime_ns();
    table_cell(t, "%s", info->name);
    table_cell(t, "%s", words_instance_state(info->state));
    table_cell(t, "%s",
               info->started_ns == 0 ? ""
                                     : words_duration(age_ms(info->started_ns, end_ns), duration));
    table_cell(t, "%s", info->agent);
    table_cell(t, "%s", spec == NULL ? "" : print_size(spec->local_bytes));
    table_cell(t, "%s", spec == NULL ? "" : print_size(spec->far_bytes));
    table_cell(t, "%" PRIu32, info->slabs_held);
    table_cell(t, "%s",
               spec == NULL
                   ? ""
                   : words_command(spec->arguments, spec->n_arguments, command, sizeof(command)));
    table_cell(t, "%s", print_outcome(info, outcome, sizeof(outcome)));
}

static void print_list_text(const struct cli *cli, const Dilos__InstanceList *list)
{
    static const struct table_column columns[] = {
        {"NAME", false}, {"STATE", false}, {"FOR", true},      {"AGENT", false},  {"LOCAL", true},
        {"FAR", true},   {"SLABS", true},  {"PROGRAM", false}, {"OUTCOME", false}};
    struct table *t = table_open(columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < list->n_instances; i++) {
        if (cli->quiet) {
            printf("%s\n", list->instances[i]->name);
        } else {
            add_row(t, list->instances[i]);
        }
    }
    if (!cli->quiet) {
        table_print(t, stdout);
    }
    table_close(t);
}

static void print_list(const struct cli *cli, const void *reply)
{
    const Dilos__InstanceList *list = reply;
    if (cli->output != CLI_OUTPUT_JSON) {
        print_list_text(cli, list);
        return;
    }
    struct json j;
    json_init(&j, stdout, false);
    json_object(&j, NULL);
    json_array(&j, "instances");
    for (size_t i = 0; i < list->n_instances; i++) {
        print_instance(&j, NULL, list->instances[i], false);
    }
    json_array_end(&j);
    json_object_end(&j);
    json_fini(&j);
}

int cmd_ps(struct cli *cli)
{
    static const struct query query = {DILOS__MESSAGE_TYPE__MESSAGE_INSTANCE_LIST,
                                       &dilos__instance_list__descriptor, print_list};
    return query_all(cli, &query);
}

static void print_one(const struct cli *cli, const Dilos__InstanceInfo *info)
{
    char outcome[1024];
    if (cli->output == CLI_OUTPUT_JSON) {
        print_instance_json(info);
    } else if (cli->quiet) {
        printf("%s\n", info->name);
    } else {
        print_outcome(info, outcome, sizeof(outcome));
        printf("%s %s%s%s\n", info->name, words_instance_state(info->state),
               outcome[0] == '\0' ? "" : ": ", table_tame(outcome));
    }
}

/* Asks the instance to stop and waits for it. */
static int stop_one(struct cli *cli, struct session *s, char *name, uint32_t grace_ms)
{
    Dilos__Stop request = DILOS__STOP__INIT;
    request.name = name;
    request.grace_ms = grace_ms;
    Dilos__InstanceInfo *info;
    int exit_code =
        session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_STOP, &request.base,
                     &dilos__instance_info__descriptor, grace_ms + STOP_SLACK_MS, &info);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    if (!follow_has_ended(info)) {
        dilos__instance_info__free_unpacked(info, NULL);
        session_set_patience(s, FOLLOW_PATIENCE_MS, NULL);
        exit_code = follow_wait(s, name, grace_ms + STOP_SLACK_MS, &info);
        session_set_patience(s, 0, NULL);
        if (exit_code != EXIT_DONE) {
            return exit_code;
        }
    }
    print_one(cli, info);
    if (!follow_has_ended(info)) {
        exit_code =
            cli_fail(EXIT_FAILED, "see dilosctl logs --stream kernel, and the agent's log",
                     "%s has not ended %u s after its grace time", name, STOP_SLACK_MS / 1000);
    }
    dilos__instance_info__free_unpacked(info, NULL);
    return exit_code;
}

int cmd_stop(struct cli *cli)
{
    uint32_t grace_ms = 10000;
    const struct args_option options[] = {
        {"grace", ARGS_SECONDS, &grace_ms, "SECONDS",
         "time between SIGTERM and the end of the VM; default: 10"},
    };
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, options, ARRAY_LEN(options), &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    session_set_activity(s, "stopping");
    for (uint32_t i = 0; i < rest.count; i++) {
        int one = stop_one(cli, s, rest.items[i], grace_ms);
        exit_code = one == EXIT_DONE ? exit_code : one;
    }
    session_close(s);
    return exit_code;
}

int cmd_wait(struct cli *cli)
{
    uint32_t timeout_ms = 0, patience_ms = FOLLOW_PATIENCE_MS;
    bool pass_status = false;
    const struct args_option options[] = {
        {"timeout", ARGS_SECONDS, &timeout_ms, "SECONDS", "give up then; default: never"},
        {"patience", ARGS_SECONDS, &patience_ms, "SECONDS", FOLLOW_PATIENCE_HELP},
        {"exit-status", ARGS_FLAG, &pass_status, NULL,
         "exit with the program's own status (128 + n for signal n)"},
    };
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, options, ARRAY_LEN(options), &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    session_set_activity(s, "waiting for the program to end");
    session_set_patience(s, patience_ms, rest.items[0]);
    Dilos__InstanceInfo *info;
    exit_code = follow_wait(s, rest.items[0], timeout_ms, &info);
    session_close(s);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    print_one(cli, info);
    if (follow_has_ended(info)) {
        exit_code = follow_result(info, pass_status);
    } else {
        exit_code = cli_fail(EXIT_FAILED, "wait longer, or end it with dilosctl stop",
                             "%s is still %s", info->name, words_instance_state(info->state));
    }
    dilos__instance_info__free_unpacked(info, NULL);
    return exit_code;
}

static int remove_one(const struct cli *cli, struct session *s, char *name)
{
    Dilos__NameRef request = DILOS__NAME_REF__INIT;
    request.name = name;
    Dilos__Empty *reply;
    int exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_REMOVE, &request.base,
                                 &dilos__empty__descriptor, SESSION_TIMEOUT_MS, &reply);
    if (exit_code == EXIT_DONE) {
        dilos__empty__free_unpacked(reply, NULL);
        if (cli->output == CLI_OUTPUT_JSON) {
            struct json j;
            json_init(&j, stdout, true);
            json_object(&j, NULL);
            json_text(&j, "removed", name);
            json_object_end(&j);
            json_fini(&j);
        } else {
            printf(cli->quiet ? "%s\n" : "%s removed\n", name);
        }
    }
    return exit_code;
}

int cmd_rm(struct cli *cli)
{
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, NULL, 0, &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    for (uint32_t i = 0; i < rest.count; i++) {
        int one = remove_one(cli, s, rest.items[i]);
        exit_code = one == EXIT_DONE ? exit_code : one;
    }
    session_close(s);
    return exit_code;
}
