/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands that ask the controller one question and print the answer: all of them alike but for
 * the message and the way it is printed.
 */
#ifndef DILOS_CLI_QUERY_H
#define DILOS_CLI_QUERY_H

#include "cli/cli.h"
#include "lib/base/compiler.h"
#include "proto/dilos.pb-c.h"

struct query {
    Dilos__MessageType type;
    const ProtobufCMessageDescriptor *reply_type;
    /* `reply` is a message of reply_type. */
    void (*print)(const struct cli *cli, const void *reply);
};

/* Asks with an empty request; the command has no options. Returns an exit code. */
int query_all(struct cli *cli, const struct query *query) MUST_CHECK;

/* Asks about what the first argument names; the command has no options. Returns an exit code. */
int query_name(struct cli *cli, const struct query *query) MUST_CHECK;

#endif
