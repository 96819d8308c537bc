/* SPDX-License-Identifier: Apache-2.0 */
/* dilos-controller: settings, the lock on its state, signals; the rest is a library. */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "controller/controller.h"
#include "lib/base/check.h"
#include "lib/sys/config.h"
#include "lib/sys/log.h"
#include "lib/sys/sys.h"

#define PATH_BYTES 4096

struct settings {
    struct config_list listen;
    const char *state;
    bool insecure;
    bool check;
    uint64_t heartbeat_ms, suspect_ms, down_ms, grace_ms;
};

struct program {
    struct event_base *base;
    int exit_code;
};

static int load_settings(struct settings *s, struct config *config, int argc, char **argv)
{
    static struct config_option options[8];
    const struct config_option table[ARRAY_LEN(options)] = {
        {"listen", CONFIG_LIST, &s->listen, "ADDRESS",
         "where to listen, may be repeated (default unix:/run/dilos/controller.sock and "
         "127.0.0.1:7400)"},
        {"state", CONFIG_TEXT, &s->state, "PATH",
         "folder of the database (/var/lib/dilos/controller)"},
        {"insecure", CONFIG_FLAG, &s->insecure, NULL,
         "listen on other than loopback addresses without TLS: anyone who reaches them is trusted"},
        {"heartbeat-ms", CONFIG_NUMBER, &s->heartbeat_ms, "NUMBER",
         "how often members speak (1000)"},
        {"suspect-ms", CONFIG_NUMBER, &s->suspect_ms, "NUMBER",
         "silence after which a memory node gets no new slabs (3000)"},
        {"down-ms", CONFIG_NUMBER, &s->down_ms, "NUMBER",
         "silence after which a member's connection is closed (10000)"},
        {"agent-grace-ms", CONFIG_NUMBER, &s->grace_ms, "NUMBER",
         "how long an agent may be away until its instances are given up (10000)"},
        {"check", CONFIG_FLAG, &s->check, NULL, "say what is missing to run, then exit"},
    };
    memcpy(options, table, sizeof(options));
    *config = (struct config){
        .program = "dilos-controller",
        .summary = "Owns the pool: members, slabs, grants, instances.",
        .examples = "  dilos-controller\n"
                    "  dilos-controller --state /tmp/c --listen unix:/tmp/c/sock --listen "
                    "127.0.0.1:0\n",
        .options = options,
        .option_count = ARRAY_LEN(options)};
    return config_load(config, "/etc/dilos/controller.conf", argc, argv);
}

static bool is_usable(const struct settings *s)
{
    if (s->heartbeat_ms < 10 || s->heartbeat_ms > 3600000 || s->suspect_ms <= s->heartbeat_ms ||
        s->down_ms <= s->suspect_ms || s->down_ms > 86400000 || s->grace_ms > 86400000) {
        (void)fprintf(stderr, "dilos-controller: times must be heartbeat-ms (10 or more) < "
                              "suspect-ms < down-ms, and at most a day\n");
        return false;
    }
    if (s->listen.count > CONTROLLER_LISTEN_MAX) {
        (void)fprintf(stderr, "dilos-controller: at most %u --listen are possible\n",
                      CONTROLLER_LISTEN_MAX);
        return false;
    }
    return true;
}

/* The folder of a unix socket must be there; /run/dilos is made anew after each boot. */
static int make_socket_folder(const char *address)
{
    char path[PATH_BYTES];
    if (strncmp(address, "unix:", 5) != 0 || strlen(address + 5) >= sizeof(path)) {
        return 0;
    }
    core_text(path, sizeof(path), address + 5);
    char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return 0;
    }
    *slash = '\0';
    int result = sys_make_folders(path);
    if (result != 0) {
        (void)fprintf(stderr,
                      "dilos-controller: the folder %s can't be made: %s; run as root, make it, or "
                      "use another --listen unix:PATH\n",
                      path, strerror(-result));
    }
    return result;
}

static int take_state(const struct settings *s, int *ret_lock)
{
    char path[PATH_BYTES];
    int pid = 0;
    int result = sys_make_folders(s->state);
    if (result != 0) {
        (void)fprintf(stderr,
                      "dilos-controller: the state folder %s can't be made: %s; make it, or use "
                      "another --state\n",
                      s->state, strerror(-result));
        return result;
    }
    (void)snprintf(path, sizeof(path), "%s/lock", s->state);
    result = sys_lock_file(path, ret_lock, &pid);
    if (result == -EWOULDBLOCK) {
        (void)fprintf(stderr,
                      "dilos-controller: process %d uses the state folder %s already; stop it, or "
                      "use another --state\n",
                      pid, s->state);
    } else if (result != 0) {
        (void)fprintf(stderr,
                      "dilos-controller: %s can't be locked: %s; give this user the right to write "
                      "there, or use another --state\n",
                      path, strerror(-result));
    }
    return result;
}

static int open_store(const struct settings *s, struct store **ret)
{
    char path[PATH_BYTES];
    char error[STORE_ERROR_BYTES] = "out of memory";
    (void)snprintf(path, sizeof(path), "%s/controller.db", s->state);
    int result = store_sqlite_open(path, ret, error);
    if (result != 0) {
        (void)fprintf(stderr, "dilos-controller: %s\n", error);
    }
    return result;
}

static void on_signal(evutil_socket_t signal, short what, void *context)
{
    struct program *program = context;
    log_info("stopping", "signal=%d", (int)signal);
    (void)event_base_loopbreak(program->base);
    (void)what;
}

static void on_broken(void *context, int error)
{
    struct program *program = context;
    log_error("store-failed",
              "error=\"%s\" remedy=\"make room and see to the disk of --state, then start again; "
              "nothing that was answered is lost\"",
              strerror(-error));
    program->exit_code = 1;
    (void)event_base_loopbreak(program->base);
}

static void explain_start(const char *address, int error)
{
    const char *remedy = "use another --listen";
    if (address == NULL) {
        (void)fprintf(
            stderr,
            "dilos-controller: the state can't be loaded: %s; restore controller.db from a "
            "backup, or use another --state\n",
            error == -EBADMSG ? "its records are damaged" : strerror(-error));
        return;
    }
    if (error == -EADDRINUSE) {
        remedy = "another program listens there: stop it, or use another --listen";
    } else if (error == -EACCES) {
        remedy =
            "there is no TLS yet: use unix:PATH or a loopback address, or accept the risk with "
            "--insecure; for a path, check its permissions";
    }
    (void)fprintf(stderr, "dilos-controller: can't listen on %s: %s; %s\n", address,
                  strerror(-error), remedy);
}

static void log_ready(const struct controller *controller, const struct settings *s)
{
    char addresses[PATH_BYTES] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < s->listen.count && used < sizeof(addresses); i++) {
        used += (size_t)snprintf(addresses + used, sizeof(addresses) - used, "%s%s",
                                 i == 0 ? "" : ",", controller_address(controller, i));
    }
    log_info("ready", "addresses=%s epoch=%llu cluster=%s state=%s", addresses,
             (unsigned long long)controller_core(controller)->meta.epoch,
             controller_core(controller)->meta.cluster_id, s->state);
}

static int run(const struct settings *s, struct store *store, struct event_base *base)
{
    struct program program = {.base = base};
    const struct controller_config config = {.times = {.heartbeat_ms = (uint32_t)s->heartbeat_ms,
                                                       .suspect_ms = (uint32_t)s->suspect_ms,
                                                       .down_ms = (uint32_t)s->down_ms,
                                                       .agent_grace_ms = (uint32_t)s->grace_ms},
                                             .slabs_per_node = CORE_SLABS_PER_NODE_MAX,
                                             .store = store,
                                             .addresses = (const char *const *)s->listen.items,
                                             .address_count = s->listen.count,
                                             .insecure = s->insecure,
                                             .on_broken = on_broken,
                                             .context = &program};
    struct controller *controller = NULL;
    const char *address = NULL;
    int result = controller_open(base, &config, &controller, &address);
    if (result != 0) {
        explain_start(address, result);
        return 1;
    }
    struct event *term = evsignal_new(base, SIGTERM, on_signal, &program);
    struct event *interrupt = evsignal_new(base, SIGINT, on_signal, &program);
    if (term != NULL && interrupt != NULL && event_add(term, NULL) == 0 &&
        event_add(interrupt, NULL) == 0) {
        log_ready(controller, s);
        (void)event_base_dispatch(base);
    }
    event_free(term);
    event_free(interrupt);
    (void)controller_close(controller);
    return program.exit_code;
}

int main(int argc, char **argv)
{
    struct settings s = {.state = "/var/lib/dilos/controller",
                         .heartbeat_ms = 1000,
                         .suspect_ms = 3000,
                         .down_ms = 10000,
                         .grace_ms = 10000};
    struct config config;
    struct store *store = NULL;
    int lock = -1;
    int result = load_settings(&s, &config, argc, argv);
    if (result != 0) {
        return result > 0 ? 0 : 2;
    }
    if (s.listen.count == 0) {
        s.listen.items[s.listen.count++] = "unix:/run/dilos/controller.sock";
        s.listen.items[s.listen.count++] = "127.0.0.1:7400";
    }
    log_init("controller", LOG_LEVEL_INFO);
    sys_forbid_dumps();
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077); /* the database is ours alone */
    int exit_code = is_usable(&s) ? 0 : 2;
    for (uint32_t i = 0; i < s.listen.count && exit_code == 0; i++) {
        exit_code = make_socket_folder(s.listen.items[i]) == 0 ? 0 : 1;
    }
    if (exit_code == 0 && (take_state(&s, &lock) != 0 || open_store(&s, &store) != 0)) {
        exit_code = 1;
    }
    if (exit_code == 0 && s.check) {
        (void)printf("dilos-controller: nothing is missing\n");
    } else if (exit_code == 0) {
        struct event_base *base = event_base_new();
        CHECK(base != NULL);
        exit_code = run(&s, store, base);
        event_base_free(base);
    }
    if (store != NULL) {
        (void)store->ops->close(store);
    }
    sys_close(&lock);
    config_fini(&config);
    return exit_code;
}
