/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define OPTION_COUNT 15u

static const char examples[] =
    "  dilos-memnode --name mn1 --memory 4G\n"
    "  dilos-memnode --name mn2 --memory 512M --slab-size 4M --state /tmp/mn2 --no-shm\n"
    "  dilos-memnode --check --memory 64G\n";

/* The table lives as long as the program; there is one set of options in it. */
static const struct config_option *table(struct options *o)
{
    static struct config_option options[OPTION_COUNT];
    const struct config_option rows[OPTION_COUNT] = {
        {"name", CONFIG_TEXT, &o->name, "NAME", "Name in the pool; default: the host's name."},
        {"controller", CONFIG_TEXT, &o->controller, "ADDRESS",
         "The controller, HOST:PORT or unix:/PATH; default 127.0.0.1:7400."},
        {"state", CONFIG_TEXT, &o->state, "FOLDER",
         "Where the node's identity is kept; default /var/lib/dilos/memnode."},
        {"memory", CONFIG_SIZE, &o->memory_bytes, "SIZE", "Memory to offer; default 1G."},
        {"slab-size", CONFIG_SIZE, &o->slab_bytes, "SIZE",
         "Unit of allocation, a power of two from 1M to 1G; default 64M."},
        {"listen-tcp", CONFIG_TEXT, &o->listen_tcp, "ADDRESS:PORT",
         "Where pages are served over TCP; port 0: any; default 127.0.0.1:0."},
        {"no-tcp", CONFIG_FLAG, &o->no_tcp, NULL, "Don't serve over TCP."},
        {"listen-verbs", CONFIG_TEXT, &o->listen_verbs, "ADDRESS:PORT,...",
         "Where pages are served over RDMA; default: every active RDMA port, any TCP port."},
        {"no-verbs", CONFIG_FLAG, &o->no_verbs, NULL, "Don't serve over RDMA."},
        {"shm-socket", CONFIG_TEXT, &o->shm_socket, "PATH",
         "Unix socket for agents on this host; default \"shm\" in the state folder."},
        {"no-shm", CONFIG_FLAG, &o->no_shm, NULL, "Don't share memory with agents on this host."},
        {"host", CONFIG_TEXT, &o->host, "NAME",
         "Failure domain that this node is in; default: the host's name."},
        {"label", CONFIG_LIST, &o->labels, "KEY=VALUE", "Further failure domains, e.g. rack=r1."},
        {"insecure", CONFIG_FLAG, &o->insecure, NULL,
         "Serve pages to other machines without encryption."},
        {"check", CONFIG_FLAG, &o->check, NULL,
         "Say what this machine has and lacks for these settings, then exit."},
    };
    memcpy(options, rows, sizeof(options));
    return options;
}

static int wrong(const char *format, const char *value)
{
    (void)fputs("dilos-memnode: ", stderr);
    (void)fprintf(stderr, "%s \"%s\"\n", format, value);
    return -EINVAL;
}

static int check(struct options *o)
{
    if (!text_is_name(o->name)) {
        return wrong("--name has to be [a-z0-9][a-z0-9-]*, at most 63 characters, not", o->name);
    }
    if (o->host[0] == '\0') {
        return wrong("--host has to be a name, not", o->host);
    }
    if (o->no_tcp && o->no_shm && o->no_verbs) {
        return wrong("nobody could reach the memory: leave out one of --no-tcp, --no-verbs and",
                     "--no-shm");
    }
    if (o->no_verbs && o->listen_verbs != NULL) {
        return wrong("--no-verbs contradicts --listen-verbs", o->listen_verbs);
    }
    for (uint32_t i = 0; i < o->labels.count; i++) {
        const char *equals = strchr(o->labels.items[i], '=');
        if (equals == NULL || equals == o->labels.items[i] || equals[1] == '\0') {
            return wrong("--label has to be KEY=VALUE, not", o->labels.items[i]);
        }
    }
    return 0;
}

/* Agents in other folders have to find the socket: its path is made absolute. */
static int absolute_socket(struct options *o)
{
    char folder[OPTIONS_PATH_BYTES / 2] = "";
    const char *path = o->shm_socket != NULL ? o->shm_socket : o->state;
    if (path[0] != '/') {
        if (getcwd(folder, sizeof(folder) - 1) == NULL) {
            return wrong("the current folder has no path; give an absolute one instead of", path);
        }
        strcat(folder, "/");
    }
    int length = snprintf(o->shm_path, sizeof(o->shm_path), "%s%s%s", folder, path,
                          o->shm_socket != NULL ? "" : "/shm");
    if (length < 0 || (unsigned)length >= sizeof(o->shm_path)) {
        return wrong("too long is the path", path);
    }
    o->shm_socket = o->shm_path;
    return 0;
}

int options_load(struct options *options, int argc, char **argv)
{
    *options = (struct options){.controller = "127.0.0.1:7400",
                                .state = "/var/lib/dilos/memnode",
                                .memory_bytes = GIB,
                                .slab_bytes = 64 * MIB,
                                .listen_tcp = "127.0.0.1:0"};
    sys_host_name(options->name_default, "memnode");
    sys_host_name(options->host_default, "memnode");
    options->name = options->name_default;
    options->host = options->host_default;
    options->config = (struct config){
        .program = "dilos-memnode",
        .summary = "Offers memory of this machine to a DiLOS pool.",
        .examples = examples,
        .options = table(options),
        .option_count = OPTION_COUNT,
    };
    int answered = config_load(&options->config, "/etc/dilos/memnode.conf", argc, argv);
    if (answered != 0) {
        return answered;
    }
    int error = absolute_socket(options);
    if (error == 0) {
        error = check(options);
    }
    if (error != 0) {
        options_fini(options);
    }
    return error;
}

void options_fini(struct options *options)
{
    config_fini(&options->config);
}
