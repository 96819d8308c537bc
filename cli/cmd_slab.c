/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/words.h"
#include "lib/sys/text.h"

int cmd_slab_list(struct cli *cli)
{
    const char *node = "", *instance = "";
    const struct args_option options[] = {
        {"node", ARGS_TEXT, &node, "NAME", "only slabs of this memory node"},
        {"instance", ARGS_TEXT, &instance, "NAME", "only slabs of this instance"},
    };
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, options, ARRAY_LEN(options), &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    Dilos__SlabFilter request = DILOS__SLAB_FILTER__INIT;
    request.node = (char *)(uintptr_t)node;
    request.instance = (char *)(uintptr_t)instance;
    Dilos__SlabList *list;
    exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_LIST, &request.base,
                             &dilos__slab_list__descriptor, SESSION_TIMEOUT_MS, &list);
    if (exit_code == EXIT_DONE && cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, false);
        json_object(&j, NULL);
        print_extents(&j, "extents", list->extents, list->n_extents);
        json_object_end(&j);
        json_fini(&j);
    } else if (exit_code == EXIT_DONE) {
        print_extent_table(list->extents, list->n_extents);
    }
    if (exit_code == EXIT_DONE) {
        dilos__slab_list__free_unpacked(list, NULL);
    }
    session_close(s);
    return exit_code;
}

static void print_slab(const struct cli *cli, const Dilos__SlabInfo *slab, uint32_t index)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, false);
        json_object(&j, NULL);
        json_text(&j, "node", slab->node);
        json_u64(&j, "slab_index", index);
        json_text(&j, "state", words_slab_state(slab->state));
        json_text(&j, "instance", slab->instance);
        json_u64(&j, "generation", slab->generation);
        json_u64(&j, "slab_bytes", slab->slab_bytes);
        json_object_end(&j);
        json_fini(&j);
        return;
    }
    print_line("Slab", "%" PRIu32 " of %s", index, slab->node);
    print_line("Size", "%s", print_size(slab->slab_bytes));
    print_line("State", "%s", words_slab_state(slab->state));
    print_line("Instance", "%s", slab->instance[0] == '\0' ? "none" : slab->instance);
    print_line("Generation", "%" PRIu64, slab->generation);
}

int cmd_slab_inspect(struct cli *cli)
{
    struct args_rest rest;
    int exit_code;
    if (!args_parse(cli, NULL, 0, &rest, &exit_code)) {
        return exit_code;
    }
    uint64_t index;
    if (text_parse_u64(rest.items[1], UINT32_MAX, &index) != 0) {
        return cli_fail(EXIT_USAGE, NULL, "slab inspect: \"%s\" is not the index of a slab",
                        rest.items[1]);
    }
    struct session *s;
    exit_code = session_open(cli, &s);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    Dilos__SlabRef request = DILOS__SLAB_REF__INIT;
    request.node = rest.items[0];
    request.slab_index = (uint32_t)index;
    Dilos__SlabInfo *slab;
    exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_INSPECT, &request.base,
                             &dilos__slab_info__descriptor, SESSION_TIMEOUT_MS, &slab);
    if (exit_code == EXIT_DONE) {
        print_slab(cli, slab, (uint32_t)index);
        dilos__slab_info__free_unpacked(slab, NULL);
    }
    session_close(s);
    return exit_code;
}
