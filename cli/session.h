/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection to the controller, used one call at a time: each call runs the event loop until its
 * answer is there. While it runs, progress is shown on a terminal once two seconds have passed.
 *
 * Functions that return `int` return an exit code (cli/cli.h).
 */
#ifndef DILOS_CLI_SESSION_H
#define DILOS_CLI_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "lib/base/compiler.h"
#include "proto/dilos.pb-c.h"

struct session;

/* Why a call failed. */
struct session_error {
    Dilos__ErrorCode code;
    bool lost;   /* the connection broke: the controller may or may not have done it */
    bool silent; /* the controller has not said a word in time */
    bool interrupted;
    char message[1024];
    char remedy[512];
};

/* Connects, and sets cli->address. On failure that was printed and *ret is untouched. */
int session_open(struct cli *cli, struct session **ret) MUST_CHECK;

/*
 * How most commands begin: args_parse(), then session_open(). Returns an exit code; with *ret NULL
 * the command ends with it: --help was answered, or an error printed.
 */
int session_start(struct cli *cli, const struct args_option *options, uint32_t option_count,
                  struct args_rest *ret_rest, struct session **ret) MUST_CHECK;

struct session *session_close(struct session *s);

/*
 * Calls that are safe to repeat (reads; requests with a key of their own) may set a patience: when
 * the connection breaks, or the controller restarts, the session says so on stderr, connects again
 * and repeats the call for that long. 0 (the default): no repetition. `instance`: whom the user
 * follows, so that they read what becomes of it; NULL: nobody.
 */
void session_set_patience(struct session *s, uint32_t patience_ms, const char *instance);

/* What progress says from now on ("launching idx"); NULL: nothing. Restarts the two seconds. */
void session_set_activity(struct session *s, const char *activity);

/* From now on SIGINT does not end the process; it ends the pause and is counted. */
int session_catch_interrupt(struct session *s) MUST_CHECK;
uint32_t session_interrupt_count(const struct session *s);

/*
 * Sends a request and waits for its reply, at most timeout_ms. *ret is the caller's to free with
 * protobuf_c_message_free_unpacked(); it is set when EXIT_DONE is returned. Otherwise *ret_error
 * says why and nothing was printed.
 */
int session_try(struct session *s, Dilos__MessageType type, const ProtobufCMessage *body,
                const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms, void *ret,
                struct session_error *ret_error) MUST_CHECK;

/* As session_try, but prints the error. */
int session_call(struct session *s, Dilos__MessageType type, const ProtobufCMessage *body,
                 const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms,
                 void *ret) MUST_CHECK;

int session_print_error(const struct session_error *error);

/* Waits, with the loop running. Ends early at an interrupt that is caught. */
void session_pause(struct session *s, uint32_t pause_ms);

/* The controller's name and build as it announced them; "" before that. */
const char *session_peer_build(const struct session *s);

/* Long enough for anything that the controller has to ask others for. */
#define SESSION_TIMEOUT_MS 30000u

#endif
