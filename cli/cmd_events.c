/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/json.h"
#include "cli/session.h"
#include "cli/table.h"
#include "cli/words.h"

#define PAGE_EVENTS     256u
#define FOLLOW_PAUSE_MS 500u
#define PATIENCE_MS     60000u

static void print_event(const struct cli *cli, const Dilos__EventInfo *event)
{
    if (cli->output == CLI_OUTPUT_JSON) {
        struct json j;
        json_init(&j, stdout, true);
        json_object(&j, NULL);
        json_u64(&j, "index", event->index);
        json_u64(&j, "time_ns", event->time_ns);
        json_text(&j, "kind", event->kind);
        json_text(&j, "subject", event->subject);
        json_text(&j, "detail", event->detail);
        json_object_end(&j);
        json_fini(&j);
        return;
    }
    char time[WORDS_TIME_BYTES];
    printf("%6" PRIu64 "  %s  %-20s  %-16s  %s\n", event->index, words_time(event->time_ns, time),
           table_tame(event->kind), table_tame(event->subject), table_tame(event->detail));
}

/* Prints all events after *after and moves it. Returns an exit code. */
static int print_new_events(struct cli *cli, struct session *s, uint64_t *after)
{
    for (;;) {
        Dilos__EventFilter request = DILOS__EVENT_FILTER__INIT;
        request.after = *after;
        request.count_max = PAGE_EVENTS;
        Dilos__EventList *list;
        int exit_code = session_call(s, DILOS__MESSAGE_TYPE__MESSAGE_EVENT_LIST, &request.base,
                                     &dilos__event_list__descriptor, SESSION_TIMEOUT_MS, &list);
        if (exit_code != EXIT_DONE) {
            return exit_code;
        }
        uint64_t before = *after;
        for (size_t i = 0; i < list->n_events; i++) {
            print_event(cli, list->events[i]);
            *after = list->events[i]->index > *after ? list->events[i]->index : *after;
        }
        dilos__event_list__free_unpacked(list, NULL);
        if (*after == before) {
            return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
        }
    }
}

int cmd_events(struct cli *cli)
{
    bool follow = false;
    uint32_t after = 0;
    const struct args_option options[] = {
        {"follow", ARGS_FLAG, &follow, NULL, "keep printing what happens, until Ctrl-C"},
        {"after", ARGS_NUMBER, &after, "INDEX", "only what came after this event; default: all"},
    };
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, options, ARRAY_LEN(options), &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    session_set_activity(s, NULL);
    session_set_patience(s, follow ? PATIENCE_MS : 0, NULL);
    uint64_t position = after;
    exit_code = print_new_events(cli, s, &position);
    while (exit_code == EXIT_DONE && follow) {
        session_pause(s, FOLLOW_PAUSE_MS);
        exit_code = print_new_events(cli, s, &position);
    }
    session_close(s);
    return exit_code;
}
