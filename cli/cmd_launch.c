/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/follow.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/words.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define REQUEST_KEY_BYTES  16u
#define LAUNCH_PATIENCE_MS 20000u
#define NAME_BYTES         64u

/* How long launch stays. */
enum stay { STAY_START, STAY_END, STAY_ATTACHED };

struct launch {
    const char *name;
    const char *directory;
    const char *agent;
    const char *image;
    const char *prefetch;
    uint64_t local_bytes;
    uint64_t local_bytes_max;
    uint64_t far_bytes;
    uint32_t vcpus;
    struct args_list files;
    struct args_list environment;
    bool wait;
    bool attach;
    bool detach;
    bool pass_status;
    uint32_t patience_ms;
    bool measure_device;
    bool device_only;
    /* made from the above */
    char default_name[NAME_BYTES];
    char *environment_items[ARGS_LIST_MAX];
    Dilos__InstanceSpec spec;
};

/* The program's last path part in letters that a name may have, and 4 random ones. */
static void make_name(const char *program, char to[NAME_BYTES])
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    const char *slash = strrchr(program, '/');
    uint32_t length = 0;
    for (const char *s = slash == NULL ? program : slash + 1; *s != '\0' && length < 40; s++) {
        bool plain = isalnum((unsigned char)*s) != 0;
        if (plain || length > 0) {
            to[length++] = plain ? (char)tolower((unsigned char)*s) : '-';
        }
    }
    if (length == 0) {
        to[length++] = 'x';
    }
    uint8_t random[4];
    sys_random(random, sizeof(random));
    to[length++] = '-';
    for (uint32_t i = 0; i < sizeof(random); i++) {
        to[length++] = letters[random[i] % (sizeof(letters) - 1)];
    }
    to[length] = '\0';
}

/* "K=V" as it is, "K" with our value. Returns an exit code. */
static int make_environment(struct launch *l)
{
    for (uint32_t i = 0; i < l->environment.count; i++) {
        const char *item = l->environment.items[i];
        const char *value = strchr(item, '=') == NULL ? getenv(item) : NULL;
        if (item[0] == '\0' || item[0] == '=') {
            return cli_fail(EXIT_USAGE, NULL, "--env %s: wanted NAME=VALUE", item);
        }
        if (strchr(item, '=') == NULL && value == NULL) {
            return cli_fail(EXIT_USAGE, NULL, "--env %s: it is not set here; give NAME=VALUE",
                            item);
        }
        int length = value == NULL ? asprintf(&l->environment_items[i], "%s", item)
                                   : asprintf(&l->environment_items[i], "%s=%s", item, value);
        CHECK(length >= 0);
        l->spec.n_environment = i + 1;
    }
    l->spec.environment = l->environment_items;
    return EXIT_DONE;
}

static int check_values(const struct cli *cli, const struct launch *l)
{
    if (l->name != NULL && !text_is_name(l->name)) {
        return cli_fail(EXIT_USAGE, NULL,
                        "--name %s: names are lower-case letters, digits and \"-\", "
                        "63 at most, beginning with a letter or digit",
                        l->name);
    }
    if (l->directory[0] != '/') {
        return cli_fail(EXIT_USAGE, NULL, "--dir %s: wanted an absolute path in the guest",
                        l->directory);
    }
    if (l->detach && (l->attach || l->wait)) {
        return cli_fail(EXIT_USAGE, NULL, "--detach contradicts --attach and --wait");
    }
    if (l->pass_status && !l->attach && !l->wait) {
        return cli_fail(EXIT_USAGE, NULL, "--exit-status needs --wait or --attach");
    }
    if (l->attach && cli->output == CLI_OUTPUT_JSON) {
        return cli_fail(EXIT_USAGE, NULL,
                        "--attach gives stdout to the program: there is no room for json");
    }
    if (l->local_bytes_max != 0 && l->local_bytes_max < l->local_bytes) {
        return cli_fail(EXIT_USAGE, NULL, "--max-local-memory is less than --local-memory");
    }
    return EXIT_DONE;
}

static int make_spec(struct launch *l, const struct args_rest *rest)
{
    dilos__instance_spec__init(&l->spec);
    if (rest->items[0][0] == '\0') {
        return cli_fail(EXIT_USAGE, NULL, "launch: the program's name is empty");
    }
    if (l->name == NULL) {
        make_name(rest->items[0], l->default_name);
        l->name = l->default_name;
    }
    l->spec.name = (char *)(uintptr_t)l->name;
    l->spec.arguments = rest->items;
    l->spec.n_arguments = rest->count;
    l->spec.directory = (char *)(uintptr_t)l->directory;
    l->spec.local_bytes = l->local_bytes;
    l->spec.local_bytes_max = l->local_bytes_max;
    l->spec.far_bytes = l->far_bytes;
    l->spec.vcpus = l->vcpus;
    l->spec.image = (char *)(uintptr_t)l->image;
    l->spec.agent = (char *)(uintptr_t)l->agent;
    l->spec.prefetch = (char *)(uintptr_t)l->prefetch;
    l->spec.measure_device = l->measure_device;
    l->spec.device_only = l->device_only;
    int exit_code = make_environment(l);
    if (exit_code == EXIT_DONE) {
        exit_code = files_parse(&l->files, l->directory, &l->spec.files, &l->spec.n_files);
    }
    return exit_code;
}

static void free_spec(struct launch *l)
{
    files_free(l->spec.files, l->spec.n_files);
    for (size_t i = 0; i < l->spec.n_environment; i++) {
        free(l->environment_items[i]);
    }
}

static void print_state(const struct cli *cli, const Dilos__InstanceInfo *info)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        print_instance_json(info);
    } else if (cli->quiet) {
        printf("%s\n", info->name);
    } else if (follow_has_ended(info)) {
        char outcome[1024];
        print_outcome(info, outcome, sizeof(outcome));
        printf("%s %s\n", info->name, table_tame(outcome));
    } else {
        printf("%s %s on %s\n", info->name, words_instance_state(info->state), info->agent);
    }
}

/* The instance was accepted: stays with it as long as was asked for. */
static int stay_with(struct cli *cli, struct session *s, const char *name, enum stay stay,
                     bool pass_status)
{
    Dilos__InstanceInfo *info = NULL;
    int exit_code;
    if (stay == STAY_ATTACHED) {
        exit_code = follow_attach(s, name, &info);
    } else if (stay == STAY_END) {
        session_set_activity(s, "running");
        exit_code = follow_wait(s, name, 0, &info);
    } else {
        exit_code = follow_start(s, name, &info);
    }
    if (exit_code == EXIT_DONE) {
        session_set_activity(s, NULL);
        if (stay != STAY_ATTACHED) {
            print_state(cli, info);
            (void)fflush(stdout);
        }
        if (follow_has_ended(info)) {
            exit_code = follow_result(info, pass_status);
        }
    }
    dilos__instance_info__free_unpacked(info, NULL);
    return exit_code;
}

/* More virtual processors than its host has are allowed: they take turns. */
static void warn_of_vcpus(struct session *s, const struct launch *l, const char *agent)
{
    struct session_error error;
    Dilos__Empty request = DILOS__EMPTY__INIT;
    Dilos__Status *status;
    if (l->vcpus <= 1 ||
        session_try(s, DILOS__MESSAGE_TYPE__MESSAGE_STATUS, &request.base,
                    &dilos__status__descriptor, SESSION_TIMEOUT_MS, &status, &error) != EXIT_DONE) {
        return;
    }
    for (size_t i = 0; i < status->n_agents; i++) {
        if (strcmp(status->agents[i]->name, agent) == 0 &&
            l->vcpus > status->agents[i]->cpu_count) {
            fprintf(stderr,
                    "dilosctl: warning: %s has %" PRIu32 " virtual processors, and the host of "
                    "agent %s %" PRIu32 ": they take turns\n",
                    l->name, l->vcpus, agent, status->agents[i]->cpu_count);
        }
    }
    dilos__status__free_unpacked(status, NULL);
}

static int launch(struct cli *cli, struct launch *l, enum stay stay)
{
    struct session *s;
    int exit_code = session_open(cli, &s);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    /* The key makes it safe to repeat: the same key never launches twice. */
    uint8_t key[REQUEST_KEY_BYTES];
    sys_random(key, sizeof(key));
    Dilos__Launch request = DILOS__LAUNCH__INIT;
    request.spec = &l->spec;
    request.request_key.data = key;
    request.request_key.len = sizeof(key);
    session_set_activity(s, "launching");
    session_set_patience(s, LAUNCH_PATIENCE_MS, NULL);
    Dilos__InstanceInfo *info;
    exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_LAUNCH, &request.base,
                             &dilos__instance_info__descriptor, SESSION_TIMEOUT_MS, &info);
    if (exit_code == EXIT_DONE) {
        warn_of_vcpus(s, l, info->agent);
        dilos__instance_info__free_unpacked(info, NULL);
        session_set_patience(s, l->patience_ms, l->name);
        exit_code = stay_with(cli, s, l->name, stay, l->pass_status);
    }
    session_close(s);
    return exit_code;
}

int cmd_launch(struct cli *cli)
{
    struct launch l = {.directory = "/",
                       .agent = "",
                       .image = "",
                       .prefetch = "readahead",
                       .patience_ms = FOLLOW_PATIENCE_MS,
                       .local_bytes = 64 * MIB,
                       .far_bytes = GIB};
    const struct args_option options[] = {
        {"name", ARGS_TEXT, &l.name, "NAME", "default: the program's, and four random letters"},
        {"local-memory", ARGS_SIZE, &l.local_bytes, "SIZE", "RAM on its host; default: 64M"},
        {"max-local-memory", ARGS_SIZE, &l.local_bytes_max, "SIZE",
         "what resize can give it later; default: twice --local-memory"},
        {"far-memory", ARGS_SIZE, &l.far_bytes, "SIZE", "limit in the pool; default: 1G"},
        {"vcpus", ARGS_NUMBER, &l.vcpus, "COUNT", "virtual CPUs, 1 to 16; default: 1"},
        {"file", ARGS_LIST, &l.files, "HOST[:GUEST]", "a host file or folder to put in"},
        {"env", ARGS_LIST, &l.environment, "NAME[=VALUE]", "environment; no VALUE: ours"},
        {"dir", ARGS_TEXT, &l.directory, "PATH", "working directory in the guest; default: /"},
        {"image", ARGS_TEXT, &l.image, "NAME", "an image built before; default: make one"},
        {"agent", ARGS_TEXT, &l.agent, "NAME", "where to run; default: any agent"},
        {"prefetch", ARGS_TEXT, &l.prefetch, "KIND",
         "none, readahead or trend; default: readahead"},
        {"measure-device", ARGS_FLAG, &l.measure_device, NULL,
         "first time bare reads of the far device: JSON lines on stdout"},
        {"device-only", ARGS_FLAG, &l.device_only, NULL,
         "no VM: the agent serves far memory on a socket, named in the kernel log, for another "
         "VMM"},
        {"wait", ARGS_FLAG, &l.wait, NULL, "stay until the program ends"},
        {"attach", ARGS_FLAG, &l.attach, NULL,
         "copy its stdout and stderr to ours until it ends; Ctrl-C stops it"},
        {"detach", ARGS_FLAG, &l.detach, NULL, "return once it has started; the default"},
        {"patience", ARGS_SECONDS, &l.patience_ms, "SECONDS", FOLLOW_PATIENCE_HELP},
        {"exit-status", ARGS_FLAG, &l.pass_status, NULL,
         "exit with the program's own status (128 + n for signal n)"},
    };
    struct args_rest rest;
    int exit_code;
    if (!args_parse(cli, options, ARRAY_LEN(options), &rest, &exit_code)) {
        return exit_code;
    }
    exit_code = check_values(cli, &l);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    exit_code = make_spec(&l, &rest);
    if (exit_code == EXIT_DONE) {
        exit_code = launch(cli, &l, l.attach ? STAY_ATTACHED : l.wait ? STAY_END : STAY_START);
    }
    free_spec(&l);
    return exit_code;
}
