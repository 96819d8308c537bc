/* SPDX-License-Identifier: Apache-2.0 */
/* tune and resize: what may change in an instance while it runs. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"

static void print_tuned(const struct cli *cli, const char *name, const char *setting)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, false);
        json_object(&j, NULL);
        json_text(&j, "name", name);
        json_text(&j, "setting", setting);
        json_object_end(&j);
        json_fini(&j);
    } else if (cli->quiet) {
        printf("%s\n", name);
    } else {
        printf("%s: %s\n", name, setting);
    }
}

int cmd_tune(struct cli *cli)
{
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, NULL, 0, &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    if (strchr(rest.items[1], '=') == NULL) {
        session_close(s);
        return cli_fail(EXIT_USAGE, "for example prefetch=none", "tune: \"%s\" is not KEY=VALUE",
                        rest.items[1]);
    }
    Dilos__Tune request = DILOS__TUNE__INIT;
    request.name = rest.items[0];
    request.setting = rest.items[1];
    Dilos__Empty *empty;
    exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_TUNE, &request.base,
                             &dilos__empty__descriptor, SESSION_TIMEOUT_MS, &empty);
    session_close(s);
    if (exit_code == EXIT_DONE) {
        print_tuned(cli, request.name, request.setting);
        dilos__empty__free_unpacked(empty, NULL);
    }
    return exit_code;
}

static void print_resized(const struct cli *cli, const Dilos__InstanceInfo *info)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        print_instance_json(info);
    } else if (cli->quiet || info->spec == NULL) {
        printf("%s\n", info->name);
    } else {
        printf("%s: %s of local memory, %s of far memory at most\n", info->name,
               print_size(info->spec->local_bytes), print_size(info->spec->far_bytes));
    }
}

int cmd_resize(struct cli *cli)
{
    Dilos__Resize request = DILOS__RESIZE__INIT;
    const struct args_option options[] = {
        {"local-memory", ARGS_SIZE, &request.local_bytes, "SIZE",
         "RAM on its host, up to its --max-local-memory"},
        {"far-memory", ARGS_SIZE, &request.far_bytes, "SIZE", "limit in the pool"},
    };
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, options, ARRAY_LEN(options), &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    if (request.local_bytes == 0 && request.far_bytes == 0) {
        session_close(s);
        return cli_fail(EXIT_USAGE, NULL, "resize: give --local-memory, --far-memory or both");
    }
    request.name = rest.items[0];
    session_set_activity(s, "resizing");
    Dilos__InstanceInfo *info;
    exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_RESIZE, &request.base,
                             &dilos__instance_info__descriptor, SESSION_TIMEOUT_MS, &info);
    session_close(s);
    if (exit_code == EXIT_DONE) {
        print_resized(cli, info);
        dilos__instance_info__free_unpacked(info, NULL);
    }
    return exit_code;
}
