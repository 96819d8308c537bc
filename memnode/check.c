/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/fabric/fabric_verbs.h"
#include "lib/sys/text.h"
#include "memnode/arena.h"
#include "memnode/node.h"

#define DETAIL_BYTES    512u
#define VERBS_PORTS_MAX 32u

/* "ok", "missing": works, but not as well as it could; "FAILED": the node would not start. */
static void line(const char *state, const char *thing, const char *detail, const char *fix)
{
    printf("%-8s %-14s %s%s%s\n", state, thing, detail, fix[0] == '\0' ? "" : "; fix: ", fix);
}

static void check_huge_pages(const struct options *options)
{
    char detail[DETAIL_BYTES];
    char fix[DETAIL_BYTES] = "";
    struct arena_huge huge;
    arena_machine_huge(&huge);
    uint64_t wanted = huge.page_bytes == 0 ? 0 : options->memory_bytes / huge.page_bytes;
    bool good = huge.page_bytes != 0 && huge.free_count >= wanted &&
                IS_ALIGNED(options->slab_bytes, huge.page_bytes);
    (void)snprintf(detail, sizeof(detail), "%llu free of %lluM each, %llu wanted",
                   (unsigned long long)huge.free_count, (unsigned long long)(huge.page_bytes / MIB),
                   (unsigned long long)wanted);
    if (huge.page_bytes == 0) {
        (void)snprintf(fix, sizeof(fix), "a kernel with huge pages");
    } else if (!good) {
        (void)snprintf(fix, sizeof(fix),
                       "sysctl vm.nr_hugepages=%llu and a slab size of %lluM or more",
                       (unsigned long long)wanted, (unsigned long long)(huge.page_bytes / MIB));
    }
    line(good ? "ok" : "missing", "huge-pages", detail, fix);
}

static void check_locked_memory(const struct options *options)
{
    char detail[DETAIL_BYTES];
    char text[16];
    struct rlimit limit = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &limit);
    bool good = limit.rlim_max == RLIM_INFINITY || limit.rlim_max >= options->memory_bytes;
    if (limit.rlim_max == RLIM_INFINITY) {
        (void)snprintf(detail, sizeof(detail), "unlimited");
    } else {
        (void)snprintf(detail, sizeof(detail), "%s (only RDMA needs it)",
                       text_format_size(limit.rlim_max, text));
    }
    line(good ? "ok" : "missing", "locked-memory", detail,
         good ? "" : "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited");
}

static void check_numa(void)
{
    char detail[DETAIL_BYTES];
    unsigned count = 0;
    DIR *folder = opendir("/sys/devices/system/node");
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        count += strncmp(entry->d_name, "node", 4) == 0 && entry->d_name[4] >= '0' &&
                         entry->d_name[4] <= '9'
                     ? 1
                     : 0;
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    (void)snprintf(detail, sizeof(detail), "%u node(s)", count);
    line(count <= 1 ? "ok" : "missing", "numa", detail,
         count <= 1 ? "" : "start one memory node per NUMA node under numactl -N n -m n");
}

static const char *verbs_fix(const struct fabric_verbs_port *port)
{
    if (!port->active) {
        return "bring the link up (ip link set ... up, or the cable)";
    }
    if (port->address[0] == '\0') {
        return port->infiniband ? "name its IPoIB address with --listen-verbs"
                                : "give its network interface an IPv4 address";
    }
    if (port->mtu_bytes < port->mtu_bytes_max && !port->infiniband) {
        return "raise the MTU of its network interface and of the switches (4200 or more)";
    }
    if (!port->windows_2b) {
        return "none: a region is registered for each slab instead, which makes attaching slower";
    }
    return "";
}

static void check_verbs(void)
{
    struct fabric_verbs_port ports[VERBS_PORTS_MAX];
    uint32_t count = fabric_verbs_ports(ports, VERBS_PORTS_MAX);
    if (count == 0) {
        line("missing", "verbs", "no RDMA device", "none needed: shared memory and TCP serve");
    }
    for (uint32_t i = 0; i < count; i++) {
        char detail[FABRIC_VERBS_TEXT_BYTES];
        const char *fix = verbs_fix(&ports[i]);
        fabric_verbs_port_text(&ports[i], detail);
        line(fix[0] == '\0' ? "ok" : "missing", "verbs", detail, fix);
    }
}

/* Makes everything that the daemon would make, with its real settings, and drops it again. */
static bool check_start(const struct options *options)
{
    char error[NODE_ERROR_BYTES] = "";
    char detail[DETAIL_BYTES];
    char text[2][16];
    struct node *node = NULL;
    const struct node_config config = {
        .arena = {.slab_bytes = options->slab_bytes, .bytes = options->memory_bytes},
        .listen_tcp = options->no_tcp ? NULL : options->listen_tcp,
        .insecure = options->insecure,
        .verbs = !options->no_verbs,
        .listen_verbs = {.addresses = options->listen_verbs, .insecure = options->insecure},
        .verbs_wanted = options->listen_verbs != NULL,
    };
    (void)snprintf(detail, sizeof(detail), "%s wanted, %s available",
                   text_format_size(options->memory_bytes, text[0]),
                   text_format_size(arena_machine_available(), text[1]));
    if (node_open(&config, &node, error) != 0) {
        line("FAILED", "memory+ports", detail, error);
        return false;
    }
    line("ok", "memory", detail, "");
    line("ok", "ports", options->no_tcp ? "no TCP wanted" : node_tcp_address(node), "");
    if (node_verbs_addresses(node) != NULL) {
        line("ok", "rdma", node_verbs_addresses(node), node_verbs_reason(node));
    } else {
        line("missing", "rdma", "not served", node_verbs_reason(node));
    }
    (void)node_close(node);
    return true;
}

bool check_machine(const struct options *options)
{
    bool good = check_start(options);
    check_huge_pages(options);
    check_locked_memory(options);
    check_numa();
    check_verbs();
    return good;
}
