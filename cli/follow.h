/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following an instance: until it has started, until it has ended, its output while it runs.
 * Survives a restart of the controller, if the session has patience. Functions return exit
 * codes; an instance that they return is freed with dilos__instance_info__free_unpacked().
 */
#ifndef DILOS_CLI_FOLLOW_H
#define DILOS_CLI_FOLLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/cli.h"
#include "cli/session.h"

/* The streams of LogRead, numbered as in proto/dilos.proto. */
enum follow_log { FOLLOW_KERNEL = 0, FOLLOW_STDOUT = 1, FOLLOW_STDERR = 2, FOLLOW_ALL = 3 };

struct follow_stream {
    const char *instance;
    enum follow_log log;
    int fd; /* where it goes */
    uint64_t offset;
    bool end; /* the instance has ended and all was read */
};

bool follow_has_started(const Dilos__InstanceInfo *info);
bool follow_has_ended(const Dilos__InstanceInfo *info);

/*
 * Waits until the instance has ended, at most timeout_ms (0: no limit). *ret has the state then,
 * ended or not.
 */
int follow_wait(struct session *s, const char *name, uint32_t timeout_ms,
                Dilos__InstanceInfo **ret) MUST_CHECK;
/* Waits until the instance runs or has ended. */
int follow_start(struct session *s, const char *name, Dilos__InstanceInfo **ret) MUST_CHECK;

/*
 * Copies what the stream has now, waiting wait_ms for the first of it. On failure *ret_error says
 * why and nothing was printed, except for a failed write, which was (ret_error->message is "").
 */
int follow_copy(struct session *s, struct follow_stream *stream, uint32_t wait_ms,
                struct session_error *ret_error) MUST_CHECK;

/*
 * Copies stdout and stderr of the instance to ours until it ends. The first SIGINT stops the
 * instance, the second detaches: then *ret is NULL and EXIT_FAILED is returned.
 */
int follow_attach(struct session *s, const char *name, Dilos__InstanceInfo **ret) MUST_CHECK;

/*
 * The exit code for an instance that has ended: EXIT_DONE if the program exited with 0; else the
 * reason is printed on stderr and it is EXIT_REFUSED for a program that can't be run, EXIT_FAILED
 * for all others. With pass_status: the program's own status, and 128 + n for signal n.
 */
int follow_result(const Dilos__InstanceInfo *info, bool pass_status);

#define FOLLOW_PATIENCE_MS   60000u
#define FOLLOW_PATIENCE_HELP "how long to try again if the controller is lost; default: 60"

#endif
