/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/session.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/table.h"
#include "lib/base/check.h"
#include "lib/rpc/rpc.h"
#include "lib/sys/sys.h"

#define DEFAULT_SOCKET   "/run/dilos/controller.sock"
#define DEFAULT_UNIX     "unix:" DEFAULT_SOCKET
#define DEFAULT_TCP      "127.0.0.1:7400"
#define CONNECT_MS       5000u
#define TICK_MS          100u
#define PROGRESS_MS      2000u
#define RECONNECT_MS     500u
#define INTERRUPTS_ABORT 2u

struct session {
    const char *address;
    bool show_progress; /* stderr is a terminal and --quiet was not given */
    struct event_base *base;
    struct event *tick;      /* so that the loop looks at the clock */
    struct event *interrupt; /* NULL: SIGINT ends the process */
    struct rpc_client *client;
    bool open;
    bool closed;
    char close_reason[512];
    char build[128];
    uint32_t patience_ms;
    const char *instance; /* that is followed, or NULL */
    bool quiet;
    uint32_t interrupt_count;
    const char *activity;
    uint64_t activity_ns;
    uint32_t progress_drawn_s;
};

/* One call in flight; `done` writes here. */
struct call {
    bool done;
    ProtobufCMessage *reply;
    struct session_error error;
};

static void on_open(void *context, struct rpc_connection *connection)
{
    struct session *s = context;
    const struct rpc_peer *peer = rpc_connection_peer(connection);
    s->open = true;
    snprintf(s->build, sizeof(s->build), "%s", peer->build == NULL ? "" : peer->build);
}

static void on_close(void *context, struct rpc_connection *connection, int error,
                     const char *reason)
{
    struct session *s = context;
    s->open = false;
    s->closed = true;
    if (reason != NULL && reason[0] != '\0') {
        snprintf(s->close_reason, sizeof(s->close_reason), "%s", reason);
    } else {
        snprintf(s->close_reason, sizeof(s->close_reason), "%s",
                 error == 0 ? "it closed the connection" : strerror(-error));
    }
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
}

static void on_interrupt(evutil_socket_t fd, short what, void *context)
{
    struct session *s = context;
    s->interrupt_count++;
}

static uint64_t now_ms(void)
{
    return sys_monotonic_ns() / 1000000u;
}

static void progress_clear(struct session *s)
{
    if (s->progress_drawn_s > 0) {
        fprintf(stderr, "\r\033[K");
        s->progress_drawn_s = 0;
    }
}

static void progress_draw(struct session *s)
{
    uint64_t elapsed_ms = (sys_monotonic_ns() - s->activity_ns) / 1000000u;
    uint32_t elapsed_s = (uint32_t)(elapsed_ms / 1000u);
    if (!s->show_progress || s->activity == NULL || elapsed_ms < PROGRESS_MS ||
        elapsed_s == s->progress_drawn_s) {
        return;
    }
    fprintf(stderr, "\r\033[K%s: %u s", s->activity, elapsed_s);
    (void)fflush(stderr);
    s->progress_drawn_s = elapsed_s;
}

static void turn(struct session *s)
{
    (void)event_base_loop(s->base, EVLOOP_ONCE);
    progress_draw(s);
}

void session_set_activity(struct session *s, const char *activity)
{
    progress_clear(s);
    s->activity = activity;
    s->activity_ns = sys_monotonic_ns();
}

void session_set_patience(struct session *s, uint32_t patience_ms, const char *instance)
{
    s->patience_ms = patience_ms;
    s->instance = instance;
}

/* 0, or negative errno with s->close_reason set. */
static int connect_once(struct session *s, const char *address)
{
    static const struct rpc_identity identity = {DILOS__ROLE__ROLE_OPERATOR, "dilosctl"};
    struct rpc_callbacks callbacks = {.on_open = on_open, .on_close = on_close, .context = s};
    s->client = rpc_client_close(s->client);
    s->open = s->closed = false;
    s->address = address;
    int rc = rpc_client_open(s->base, address, 0, &identity, &callbacks, &s->client);
    if (rc != 0) {
        snprintf(s->close_reason, sizeof(s->close_reason), "%s",
                 rc == -EINVAL ? "not an address (unix:/PATH or HOST:PORT)" : strerror(-rc));
        return rc;
    }
    uint64_t deadline_ms = now_ms() + CONNECT_MS;
    while (!s->open && !s->closed && now_ms() < deadline_ms) {
        turn(s);
    }
    if (s->open) {
        return 0;
    }
    if (!s->closed) {
        snprintf(s->close_reason, sizeof(s->close_reason), "no answer within %u s",
                 CONNECT_MS / 1000);
    }
    return -ECONNREFUSED;
}

static int fail_unreachable(const struct session *s, const char *address)
{
    return cli_fail(EXIT_UNREACHABLE,
                    "start dilos-controller, or name another one with --controller ADDRESS or "
                    "DILOS_CONTROLLER",
                    "can't reach the controller at %s: %s", address, s->close_reason);
}

static int connect_first(struct session *s, const char *wanted)
{
    int rc;
    if (wanted != NULL) {
        rc = connect_once(s, wanted);
        if (rc == -EINVAL) {
            return cli_fail(EXIT_USAGE, NULL, "--controller %s: %s", wanted, s->close_reason);
        }
        return rc == 0 ? EXIT_DONE : fail_unreachable(s, wanted);
    }
    if (access(DEFAULT_SOCKET, F_OK) == 0 && connect_once(s, DEFAULT_UNIX) == 0) {
        return EXIT_DONE;
    }
    rc = connect_once(s, DEFAULT_TCP);
    return rc == 0 ? EXIT_DONE : fail_unreachable(s, DEFAULT_UNIX " or " DEFAULT_TCP);
}

int session_open(struct cli *cli, struct session **ret)
{
    struct session *s = calloc(1, sizeof(*s));
    CHECK(s != NULL);
    s->quiet = cli->quiet;
    s->show_progress = !cli->quiet && isatty(STDERR_FILENO) == 1;
    session_set_activity(s, "connecting to the controller");
    s->base = event_base_new();
    CHECK(s->base != NULL);
    s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
    CHECK(s->tick != NULL);
    struct timeval period = {.tv_usec = TICK_MS * 1000};
    CHECK(event_add(s->tick, &period) == 0);
    int exit_code = connect_first(s, cli->controller);
    if (exit_code != EXIT_DONE) {
        session_close(s);
        return exit_code;
    }
    session_set_activity(s, "waiting for the controller");
    cli->address = s->address;
    *ret = s;
    return EXIT_DONE;
}

int session_start(struct cli *cli, const struct args_option *options, uint32_t option_count,
                  struct args_rest *ret_rest, struct session **ret)
{
    int exit_code;
    *ret = NULL;
    if (args_parse(cli, options, option_count, ret_rest, &exit_code)) {
        exit_code = session_open(cli, ret);
    }
    return exit_code;
}

struct session *session_close(struct session *s)
{
    if (s == NULL) {
        return NULL;
    }
    progress_clear(s);
    s->client = rpc_client_close(s->client);
    if (s->interrupt != NULL) {
        event_free(s->interrupt);
    }
    if (s->tick != NULL) {
        event_free(s->tick);
    }
    event_base_free(s->base);
    free(s);
    return NULL;
}

int session_catch_interrupt(struct session *s)
{
    s->interrupt = evsignal_new(s->base, SIGINT, on_interrupt, s);
    if (s->interrupt == NULL || event_add(s->interrupt, NULL) != 0) {
        return cli_fail(EXIT_FAILED, NULL, "can't catch SIGINT");
    }
    return EXIT_DONE;
}

uint32_t session_interrupt_count(const struct session *s)
{
    return s->interrupt_count;
}

static void set_error(struct session_error *e, Dilos__ErrorCode code, const char *message)
{
    memset(e, 0, sizeof(*e));
    e->code = code;
    snprintf(e->message, sizeof(e->message), "%s", message);
}

static ProtobufCMessage *copy_message(const ProtobufCMessage *message)
{
    size_t length = protobuf_c_message_get_packed_size(message);
    uint8_t *data = malloc(length + 1);
    CHECK(data != NULL);
    protobuf_c_message_pack(message, data);
    ProtobufCMessage *copy = protobuf_c_message_unpack(message->descriptor, NULL, length, data);
    free(data);
    CHECK(copy != NULL);
    return copy;
}

static void on_done(void *context, const ProtobufCMessage *reply, const Dilos__Error *error)
{
    struct call *call = context;
    call->done = true;
    if (reply != NULL) {
        call->reply = copy_message(reply);
        return;
    }
    set_error(&call->error, error->code, error->message);
    snprintf(call->error.remedy, sizeof(call->error.remedy), "%s", error->remedy);
}

/*
 * Runs the loop until the call is answered. A call must not be left behind in flight, since its
 * memory is on our stack: giving up closes the client, which fails it.
 */
static void wait_for_call(struct session *s, struct call *call)
{
    while (!call->done && s->interrupt_count < INTERRUPTS_ABORT) {
        turn(s);
    }
    if (!call->done) {
        s->client = rpc_client_close(s->client);
        s->open = false;
        for (uint32_t i = 0; i < 16 && !call->done; i++) {
            turn(s);
        }
        CHECK(call->done);
        call->error.interrupted = true;
    }
}

static int call_once(struct session *s, Dilos__MessageType type, const ProtobufCMessage *body,
                     const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms,
                     struct call *call)
{
    memset(call, 0, sizeof(*call));
    struct rpc_connection *connection =
        s->open && s->client != NULL ? rpc_client_connection(s->client) : NULL;
    if (connection == NULL) {
        set_error(&call->error, DILOS__ERROR_CODE__ERROR_UNAVAILABLE, s->close_reason);
        call->error.lost = true;
        return -ENOTCONN;
    }
    int rc = rpc_call(connection, (uint16_t)type, body, reply_type, timeout_ms, on_done, call);
    if (rc != 0) {
        set_error(&call->error,
                  rc == -EMSGSIZE ? DILOS__ERROR_CODE__ERROR_INVALID
                                  : DILOS__ERROR_CODE__ERROR_UNAVAILABLE,
                  rc == -EMSGSIZE ? "the request is too large" : strerror(-rc));
        call->error.lost = rc == -ENOTCONN;
        return rc;
    }
    const uint64_t frames = rpc_connection_frames(connection);
    wait_for_call(s, call);
    if (call->reply != NULL) {
        return 0;
    }
    /* Not by the clock: libevent's own is coarser, and ends a call some milliseconds early. */
    call->error.silent = call->error.code == DILOS__ERROR_CODE__ERROR_TIMEOUT && s->open &&
                         rpc_connection_frames(connection) == frames;
    call->error.lost = s->closed && call->error.code == DILOS__ERROR_CODE__ERROR_UNAVAILABLE;
    if (call->error.lost) {
        snprintf(call->error.message, sizeof(call->error.message),
                 "the connection to the controller at %s broke: %s", s->address, s->close_reason);
        snprintf(call->error.remedy, sizeof(call->error.remedy), "%s",
                 "see whether dilos-controller still runs; dilosctl ps tells what was done");
    }
    return -EIO;
}

/* Refused, not found, ... as the exit code that scripts see. */
static int exit_code_of(const struct session_error *error)
{
    switch (error->code) {
    case DILOS__ERROR_CODE__ERROR_INVALID:
        return EXIT_USAGE;
    case DILOS__ERROR_CODE__ERROR_NOT_FOUND:
        return EXIT_NOT_FOUND;
    case DILOS__ERROR_CODE__ERROR_EXISTS:
    case DILOS__ERROR_CODE__ERROR_REFUSED:
        return EXIT_REFUSED;
    case DILOS__ERROR_CODE__ERROR_UNAVAILABLE:
    case DILOS__ERROR_CODE__ERROR_TIMEOUT:
        return EXIT_UNREACHABLE;
    default:
        return EXIT_FAILED;
    }
}

/* The connection broke, but there is patience left: whoever waits must know why nothing happens. */
static void tell_lost(struct session *s, const struct session_error *error)
{
    char text[sizeof(error->message)];
    progress_clear(s);
    if (s->quiet || s->patience_ms == 0) {
        return;
    }
    snprintf(text, sizeof(text), "%s", error->message);
    fprintf(stderr, "dilosctl: %s; trying again for %" PRIu32 " s", table_tame(text),
            s->patience_ms / 1000);
    if (s->instance != NULL) {
        fprintf(stderr, " (%s goes on without it)", s->instance);
    }
    fprintf(stderr, "\n");
}

static void tell_back(struct session *s)
{
    if (!s->quiet) {
        fprintf(stderr, "dilosctl: connected to the controller again\n");
    }
}

static void give_up(struct session *s, struct session_error *error)
{
    if ((!error->lost && !error->silent) || error->interrupted) {
        return;
    }
    if (error->lost && s->patience_ms != 0) {
        snprintf(error->message, sizeof(error->message),
                 "the connection to the controller at %s broke and could not be made again within "
                 "%" PRIu32 " s: %s",
                 s->address, s->patience_ms / 1000, s->close_reason);
    }
    if (s->instance != NULL) {
        snprintf(error->remedy, sizeof(error->remedy),
                 "%s goes on without the controller; start dilos-controller, then dilosctl "
                 "inspect %s tells how it goes on",
                 s->instance, s->instance);
    }
}

int session_try(struct session *s, Dilos__MessageType type, const ProtobufCMessage *body,
                const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms, void *ret,
                struct session_error *ret_error)
{
    struct call call;
    uint64_t give_up_ms = 0; /* 0: not lost so far */
    while (call_once(s, type, body, reply_type, timeout_ms, &call) != 0) {
        uint64_t at_ms = now_ms();
        if (give_up_ms == 0 && call.error.lost && !call.error.interrupted) {
            give_up_ms = at_ms + s->patience_ms;
            tell_lost(s, &call.error);
        }
        if (!call.error.lost || call.error.interrupted || at_ms >= give_up_ms) {
            give_up(s, &call.error);
            *ret_error = call.error;
            return exit_code_of(&call.error);
        }
        session_pause(s, RECONNECT_MS);
        /* A failure shows in the next round, as a lost call. */
        (void)connect_once(s, s->address);
    }
    if (give_up_ms != 0) {
        tell_back(s);
    }
    progress_clear(s);
    *(ProtobufCMessage **)ret = call.reply;
    return EXIT_DONE;
}

int session_print_error(const struct session_error *error)
{
    if (error->interrupted) {
        return cli_fail(EXIT_FAILED, NULL, "interrupted");
    }
    return cli_fail((enum cli_exit)exit_code_of(error), error->remedy, "%s", error->message);
}

int session_call(struct session *s, Dilos__MessageType type, const ProtobufCMessage *body,
                 const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms, void *ret)
{
    struct session_error error;
    int exit_code = session_try(s, type, body, reply_type, timeout_ms, ret, &error);
    if (exit_code != EXIT_DONE) {
        progress_clear(s);
        return session_print_error(&error);
    }
    return EXIT_DONE;
}

void session_pause(struct session *s, uint32_t pause_ms)
{
    uint64_t until_ms = now_ms() + pause_ms;
    uint32_t interrupts = s->interrupt_count;
    while (now_ms() < until_ms && s->interrupt_count == interrupts) {
        turn(s);
    }
}

const char *session_peer_build(const struct session *s)
{
    return s->build;
}
