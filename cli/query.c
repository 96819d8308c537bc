/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/query.h"

#include "cli/args.h"
#include "cli/session.h"

static int ask(struct session *s, struct cli *cli, const struct query *query,
               const ProtobufCMessage *request)
{
    ProtobufCMessage *reply;
    int exit_code =
        session_call(s, query->type, request, query->reply_type, SESSION_TIMEOUT_MS, &reply);
    if (exit_code == EXIT_DONE) {
        query->print(cli, reply);
        protobuf_c_message_free_unpacked(reply, NULL);
    }
    session_close(s);
    return exit_code;
}

int query_all(struct cli *cli, const struct query *query)
{
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, NULL, 0, &rest, &s);
    Dilos__Empty request = DILOS__EMPTY__INIT;
    return s == NULL ? exit_code : ask(s, cli, query, &request.base);
}

int query_name(struct cli *cli, const struct query *query)
{
    struct args_rest rest;
    struct session *s;
    int exit_code = session_start(cli, NULL, 0, &rest, &s);
    if (s == NULL) {
        return exit_code;
    }
    Dilos__NameRef request = DILOS__NAME_REF__INIT;
    request.name = rest.items[0];
    return ask(s, cli, query, &request.base);
}
