/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sys/log.h"
#include "lib/sys/sys.h"
#include "memnode/check.h"
#include "memnode/node.h"
#include "memnode/options.h"
#include "memnode/session.h"
#include "memnode/state.h"

static void on_signal(evutil_socket_t number, short events, void *context)
{
    (void)events;
    log_info("stopping", "signal=%d", (int)number);
    (void)event_base_loopbreak(context);
}

static int fail(const char *what, const char *reason)
{
    log_error("start-failed", "what=%s reason=\"%s\"", what, reason);
    return EXIT_FAILURE;
}

/* Runs until a signal says stop. */
static int serve(const struct options *options, struct node *node, struct state *state)
{
    static struct check_report machine;
    int status = EXIT_FAILURE;
    struct session *session = NULL;
    struct event_base *base = event_base_new();
    struct event *term = base == NULL ? NULL : evsignal_new(base, SIGTERM, on_signal, base);
    struct event *interrupt = base == NULL ? NULL : evsignal_new(base, SIGINT, on_signal, base);
    const struct session_config config = {.base = base,
                                          .controller = options->controller,
                                          .name = options->name,
                                          .host = options->host,
                                          .labels = &options->labels,
                                          .machine = &machine,
                                          .node = node,
                                          .state = state};
    if (term == NULL || interrupt == NULL || event_add(term, NULL) != 0 ||
        event_add(interrupt, NULL) != 0) {
        status = fail("loop", "out of memory");
        goto out;
    }
    check_collect(options, &machine);
    int error = session_open(&config, &session);
    if (error != 0) {
        char reason[256];
        (void)snprintf(reason, sizeof(reason), "--controller %.128s: %s", options->controller,
                       error == -EINVAL ? "not HOST:PORT or unix:/PATH" : strerror(-error));
        status = fail("session", reason);
        goto out;
    }
    (void)event_base_dispatch(base);
    status = EXIT_SUCCESS;
out:
    (void)session_close(session);
    if (term != NULL) {
        event_free(term);
    }
    if (interrupt != NULL) {
        event_free(interrupt);
    }
    if (base != NULL) {
        event_base_free(base);
    }
    return status;
}

static int run(const struct options *options)
{
    char error[NODE_ERROR_BYTES] = "";
    struct state *state = NULL;
    struct node *node = NULL;
    if (state_open(options->state, &state, error) != 0) {
        return fail("state", error);
    }
    const struct node_config config = {
        .arena = {.slab_bytes = options->slab_bytes, .bytes = options->memory_bytes, .huge = true},
        .listen_tcp = options->no_tcp ? NULL : options->listen_tcp,
        .insecure = options->insecure,
        .shm_socket = options->no_shm ? NULL : options->shm_socket,
        .verbs = !options->no_verbs,
        .listen_verbs = {.addresses = options->listen_verbs, .insecure = options->insecure},
        .verbs_wanted = options->listen_verbs != NULL,
    };
    if (node_open(&config, &node, error) != 0) {
        (void)state_close(state);
        return fail("node", error);
    }
    const char *tcp = node_tcp_address(node);
    const char *shm = node_shm_path(node);
    const char *verbs = node_verbs_addresses(node);
    log_info("started",
             "name=%s node_id=%s slabs=%u slab_bytes=%llu huge_slabs=%u tcp=%s shm=%s verbs=%s",
             options->name, state_node_id(state), arena_slab_count(node_arena(node)),
             (unsigned long long)arena_slab_bytes(node_arena(node)),
             arena_huge_count(node_arena(node)), tcp == NULL ? "none" : tcp,
             shm == NULL ? "none" : shm, verbs == NULL ? "none" : verbs);
    int status = serve(options, node, state);
    (void)node_close(node);
    (void)state_close(state);
    return status;
}

int main(int argc, char **argv)
{
    struct options options;
    int answered = options_load(&options, argc, argv);
    if (answered != 0) {
        return answered == 1 ? EXIT_SUCCESS : 2;
    }
    log_init("memnode", LOG_LEVEL_INFO);
    sys_forbid_dumps();
    int status;
    if (options.check) {
        status = check_machine(&options) ? EXIT_SUCCESS : EXIT_FAILURE;
    } else {
        status = run(&options);
    }
    options_fini(&options);
    return status;
}
