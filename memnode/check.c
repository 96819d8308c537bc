/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/fabric/fabric_verbs.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"
#include "memnode/arena.h"
#include "memnode/node.h"

#define VERBS_PORTS_MAX 32u

static void add(struct check_report *report, const char *state, const char *thing,
                const char *detail, const char *fix)
{
    if (report->count == CHECK_ITEMS_MAX) {
        return;
    }
    struct check_item *item = &report->items[report->count++];
    item->state = state;
    item->thing = thing;
    (void)snprintf(item->detail, sizeof(item->detail), "%s", detail);
    (void)snprintf(item->fix, sizeof(item->fix), "%s", fix);
}

static void check_huge_pages(struct check_report *report, const struct options *options)
{
    char detail[CHECK_TEXT_BYTES];
    char fix[CHECK_TEXT_BYTES] = "";
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
    add(report, good ? "ok" : "missing", "huge-pages", detail, fix);
}

static void check_locked_memory(struct check_report *report, const struct options *options)
{
    char detail[CHECK_TEXT_BYTES];
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
    add(report, good ? "ok" : "missing", "locked-memory", detail,
        good ? "" : "LimitMEMLOCK=infinity in the unit, or ulimit -l unlimited");
}

/* "10 21": how far the node is from each. */
static void numa_distances(const char *node, char *to, size_t bytes)
{
    char path[128];
    char *text = NULL;
    size_t length = 0;
    (void)snprintf(path, sizeof(path), "/sys/devices/system/node/%.16s/distance", node);
    to[0] = '\0';
    if (sys_read_file(path, 256, &text, &length) == 0) {
        text[strcspn(text, "\n")] = '\0';
        (void)snprintf(to, bytes, "%s", text);
        free(text);
    }
}

static bool is_numa_node(const char *name)
{
    return strncmp(name, "node", 4) == 0 && name[4] >= '0' && name[4] <= '9';
}

static void check_numa(struct check_report *report)
{
    char detail[CHECK_TEXT_BYTES] = "";
    size_t used = 0;
    unsigned count = 0;
    DIR *folder = opendir("/sys/devices/system/node");
    for (struct dirent *entry = folder == NULL ? NULL : readdir(folder); entry != NULL;
         entry = readdir(folder)) {
        char distances[64];
        if (!is_numa_node(entry->d_name) || used >= sizeof(detail)) {
            continue;
        }
        numa_distances(entry->d_name, distances, sizeof(distances));
        used += (size_t)snprintf(detail + used, sizeof(detail) - used, "%s%.16s at distances %s",
                                 count == 0 ? "" : ", ", entry->d_name, distances);
        count++;
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    add(report, count <= 1 ? "ok" : "missing", "numa", count == 0 ? "one node" : detail,
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

static void check_verbs(struct check_report *report)
{
    struct fabric_verbs_port ports[VERBS_PORTS_MAX];
    uint32_t count = fabric_verbs_ports(ports, VERBS_PORTS_MAX);
    if (count == 0) {
        add(report, "missing", "verbs", "no RDMA device",
            "none needed: shared memory and TCP serve");
    }
    for (uint32_t i = 0; i < count; i++) {
        char detail[FABRIC_VERBS_TEXT_BYTES];
        const char *fix = verbs_fix(&ports[i]);
        fabric_verbs_port_text(&ports[i], detail);
        add(report, fix[0] == '\0' ? "ok" : "missing", "verbs", detail, fix);
    }
}

/* Makes everything that the daemon would make, with its real settings, and drops it again. */
static bool check_start(struct check_report *report, const struct options *options)
{
    char error[NODE_ERROR_BYTES] = "";
    char detail[CHECK_TEXT_BYTES];
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
        add(report, "FAILED", "memory+ports", detail, error);
        return false;
    }
    add(report, "ok", "memory", detail, "");
    add(report, "ok", "ports", options->no_tcp ? "no TCP wanted" : node_tcp_address(node), "");
    if (node_verbs_addresses(node) != NULL) {
        add(report, "ok", "rdma", node_verbs_addresses(node), node_verbs_reason(node));
    } else {
        add(report, "missing", "rdma", "not served", node_verbs_reason(node));
    }
    (void)node_close(node);
    return true;
}

void check_collect(const struct options *options, struct check_report *ret)
{
    ret->count = 0;
    check_huge_pages(ret, options);
    check_locked_memory(ret, options);
    check_numa(ret);
    check_verbs(ret);
}

static void print(const struct check_report *report)
{
    for (uint32_t i = 0; i < report->count; i++) {
        const struct check_item *item = &report->items[i];
        printf("%-8s %-14s %s%s%s\n", item->state, item->thing, item->detail,
               item->fix[0] == '\0' ? "" : "; fix: ", item->fix);
    }
}

bool check_machine(const struct options *options)
{
    static struct check_report report;
    bool good = check_start(&report, options);
    print(&report);
    check_collect(options, &report);
    print(&report);
    return good;
}
