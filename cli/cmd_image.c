/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/print.h"
#include "cli/query.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/words.h"

/* Reading all that a big program needs takes a while on a slow disk. */
#define BUILD_TIMEOUT_MS 600000u

static void print_image_json(struct json *j, const Dilos__ImageInfo *image)
{
    json_object(j, NULL);
    json_text(j, "name", image->name);
    json_text(j, "program", image->program);
    json_u64(j, "bytes", image->bytes);
    json_u64(j, "file_count", image->file_count);
    json_text(j, "agent", image->agent);
    json_u64(j, "created_ns", image->created_ns);
    json_object_end(j);
}

static void print_built(const struct cli *cli, const Dilos__ImageInfo *image)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, false);
        print_image_json(&j, image);
        json_fini(&j);
    } else if (cli->quiet) {
        printf("%s\n", image->name);
    } else {
        printf("image %s built on %s: %s, %" PRIu32 " files, %s\n", image->name, image->agent,
               image->program, image->file_count, print_size(image->bytes));
    }
}

int cmd_image_build(struct cli *cli)
{
    const char *agent = "";
    struct args_list files = {.count = 0};
    const struct args_option options[] = {
        {"file", ARGS_LIST, &files, "HOST[:GUEST]", "a host file or folder to put in"},
        {"agent", ARGS_TEXT, &agent, "NAME", "the agent that builds and keeps it; default: any"},
    };
    struct args_rest rest;
    int exit_code;
    if (!args_parse(cli, options, ARRAY_LEN(options), &rest, &exit_code)) {
        return exit_code;
    }
    Dilos__ImageBuild request = DILOS__IMAGE_BUILD__INIT;
    request.name = rest.items[0];
    request.program = rest.items[1];
    request.agent = (char *)(uintptr_t)agent;
    exit_code = files_parse(&files, "/", &request.files, &request.n_files);
    struct session *s = NULL;
    if (exit_code == EXIT_DONE) {
        exit_code = session_open(cli, &s);
    }
    if (exit_code == EXIT_DONE) {
        session_set_activity(s, "building the image");
        Dilos__ImageInfo *image;
        exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_IMAGE_BUILD, &request.base,
                                 &dilos__image_info__descriptor, BUILD_TIMEOUT_MS, &image);
        if (exit_code == EXIT_DONE) {
            print_built(cli, image);
            dilos__image_info__free_unpacked(image, NULL);
        }
    }
    session_close(s);
    files_free(request.files, request.n_files);
    return exit_code;
}

static void print_images_text(const struct cli *cli, const Dilos__ImageList *list)
{
    static const struct table_column columns[] = {{"NAME", false},  {"PROGRAM", false},
                                                  {"SIZE", true},   {"FILES", true},
                                                  {"AGENT", false}, {"CREATED", false}};
    struct table *t = table_open(columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < list->n_images; i++) {
        const Dilos__ImageInfo *image = list->images[i];
        char created[WORDS_TIME_BYTES];
        if (cli->quiet) {
            printf("%s\n", image->name);
            continue;
        }
        table_cell(t, "%s", image->name);
        table_cell(t, "%s", image->program);
        table_cell(t, "%s", print_size(image->bytes));
        table_cell(t, "%" PRIu32, image->file_count);
        table_cell(t, "%s", image->agent);
        table_cell(t, "%s", words_time(image->created_ns, created));
    }
    if (!cli->quiet) {
        table_print(t, stdout);
    }
    table_close(t);
}

static void print_images(const struct cli *cli, const void *reply)
{
    const Dilos__ImageList *list = reply;
    if (cli->output != CLI_OUTPUT_JSON) {
        print_images_text(cli, list);
        return;
    }
    struct json j;
    json_init(&j, stdout, false);
    json_object(&j, NULL);
    json_array(&j, "images");
    for (size_t i = 0; i < list->n_images; i++) {
        print_image_json(&j, list->images[i]);
    }
    json_array_end(&j);
    json_object_end(&j);
    json_fini(&j);
}

int cmd_image_list(struct cli *cli)
{
    static const struct query query = {DILOS__MESSAGE_TYPE__MESSAGE_IMAGE_LIST,
                                       &dilos__image_list__descriptor, print_images};
    return query_all(cli, &query);
}
