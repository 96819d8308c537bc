/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/follow.h"
#include "cli/session.h"

#define FOLLOW_WAIT_MS 5000u

/* Returns an exit code. */
static int parse_stream(const char *word, enum follow_log *ret)
{
    static const char *const words[] = {[FOLLOW_KERNEL] = "kernel",
                                        [FOLLOW_STDOUT] = "stdout",
                                        [FOLLOW_STDERR] = "stderr",
                                        [FOLLOW_ALL] = "all"};
    for (uint32_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i], word) == 0) {
            *ret = (enum follow_log)i;
            return EXIT_DONE;
        }
    }
    return cli_fail(EXIT_USAGE, NULL, "--stream %s: the streams are kernel, stdout, stderr and all",
                    word);
}

int cmd_logs(struct cli *cli)
{
    bool follow = false;
    uint32_t patience_ms = FOLLOW_PATIENCE_MS;
    const char *stream_word = "all";
    const struct args_option options[] = {
        {"follow", ARGS_FLAG, &follow, NULL, "go on until the instance ends"},
        {"patience", ARGS_SECONDS, &patience_ms, "SECONDS", FOLLOW_PATIENCE_HELP},
        {"stream", ARGS_TEXT, &stream_word, "STREAM",
         "stdout, stderr, all (both, in order), or kernel; default: all"},
    };
    struct args_rest rest;
    int exit_code;
    if (!args_parse(cli, options, ARRAY_LEN(options), &rest, &exit_code)) {
        return exit_code;
    }
    struct follow_stream stream = {.instance = rest.items[0], .fd = STDOUT_FILENO};
    exit_code = parse_stream(stream_word, &stream.log);
    if (exit_code == EXIT_DONE && cli->output == CLI_OUTPUT_JSON) {
        exit_code = cli_fail(EXIT_USAGE, NULL, "logs are the program's bytes: there is no json");
    }
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    struct session *s;
    exit_code = session_open(cli, &s);
    if (exit_code != EXIT_DONE) {
        return exit_code;
    }
    session_set_activity(s, NULL);
    session_set_patience(s, follow ? patience_ms : 0, stream.instance);
    struct session_error error;
    do {
        exit_code = follow_copy(s, &stream, follow ? FOLLOW_WAIT_MS : 0, &error);
    } while (exit_code == EXIT_DONE && follow && !stream.end);
    session_close(s);
    if (exit_code != EXIT_DONE && error.message[0] != '\0') {
        return session_print_error(&error);
    }
    return exit_code;
}
