/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/session.h"
#include "cli/words.h"
#include "lib/base/check.h"
#include "lib/sys/text.h"

/* A pool of 1 TiB in slabs of 1 MiB that all belong to somebody else has 2^20 extents. */
#define PAGES_MAX 4096u

/* All extents: each page of the controller's answer is kept, the list points into them. */
struct extents {
    size_t count;
    Dilos__SlabInfo **list;
    uint32_t page_count;
    Dilos__SlabList *pages[PAGES_MAX];
};

static void extents_add(struct extents *extents, Dilos__SlabList *page)
{
    extents->list =
        realloc(extents->list, (extents->count + page->n_extents + 1) * sizeof(*extents->list));
    CHECK(extents->list != NULL);
    if (page->n_extents > 0) {
        memcpy(extents->list + extents->count, page->extents,
               page->n_extents * sizeof(*extents->list));
    }
    extents->count += page->n_extents;
    extents->pages[extents->page_count++] = page;
}

static void extents_free(struct extents *extents)
{
    for (uint32_t i = 0; i < extents->page_count; i++) {
        dilos__slab_list__free_unpacked(extents->pages[i], NULL);
    }
    free(extents->list);
    free(extents);
}

/* Asks until there is no further page. */
static int extents_ask(struct session *s, Dilos__SlabFilter *request, struct extents *extents)
{
    Dilos__SlabList *page = NULL;
    do {
        if (page != NULL) {
            request->from_node = page->next_node;
            request->from_slab = page->next_slab;
        }
        int exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_SLAB_LIST, &request->base,
                                     &dilos__slab_list__descriptor, SESSION_TIMEOUT_MS, &page);
        if (exit_code != EXIT_DONE) {
            return exit_code;
        }
        extents_add(extents, page);
    } while (page->next_node[0] != '\0' && extents->page_count < PAGES_MAX);
    if (page->next_node[0] != '\0') {
        return cli_fail(EXIT_FAILED, "ask with --node or --instance", "there are too many slabs");
    }
    return EXIT_DONE;
}

static void print_list(const struct cli *cli, const struct extents *extents)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, false);
        json_object(&j, NULL);
        print_extents(&j, "extents", extents->list, extents->count);
        json_object_end(&j);
        json_fini(&j);
    } else {
        print_extent_table(extents->list, extents->count);
    }
}

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
    struct extents *extents = calloc(1, sizeof(*extents));
    CHECK(extents != NULL);
    exit_code = extents_ask(s, &request, extents);
    if (exit_code == EXIT_DONE) {
        print_list(cli, extents);
    }
    extents_free(extents);
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
