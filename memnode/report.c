/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/report.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/sys/sys.h"

#define VIOLATION_SHOWN_NS (600ull * 1000000000ull)

static void add_counter(struct report *report, const char *name, uint64_t value, const char *unit)
{
    CHECK(report->counter_count < REPORT_COUNTERS);
    Dilos__Counter *counter = &report->counters[report->counter_count];
    dilos__counter__init(counter);
    counter->name = (char *)(uintptr_t)name;
    counter->value = value;
    counter->unit = (char *)(uintptr_t)unit;
    report->counter_list[report->counter_count++] = counter;
}

/* Returns where detail and remedy go (REPORT_TEXT_BYTES each). */
static void add_health(struct report *report, const char *code, char **ret_detail,
                       char **ret_remedy)
{
    CHECK(report->health_count < REPORT_HEALTH);
    uint32_t index = report->health_count++;
    Dilos__Health *health = &report->health[index];
    dilos__health__init(health);
    health->code = (char *)(uintptr_t)code;
    health->detail = report->detail[index];
    health->remedy = report->remedy[index];
    report->health_list[index] = health;
    *ret_detail = report->detail[index];
    *ret_remedy = report->remedy[index];
}

static void fill_counters(struct report *report, const struct node *node)
{
    const struct export_counters *counters = node_counters(node);
    const struct arena *arena = node_arena(node);
    add_counter(report, "slabs", arena_slab_count(arena), "slabs");
    add_counter(report, "slabs_granted", grants_held_count(node_grants(node)), "slabs");
    add_counter(report, "slabs_huge", arena_huge_count(arena), "slabs");
    add_counter(report, "tcp_bytes_read", export_counter(&counters->bytes_read), "bytes");
    add_counter(report, "tcp_bytes_written", export_counter(&counters->bytes_written), "bytes");
    add_counter(report, "tcp_requests", export_counter(&counters->requests), "requests");
    add_counter(report, "attaches", export_counter(&counters->attaches), "requests");
    add_counter(report, "requests_refused", export_counter(&counters->refused), "requests");
    add_counter(report, "accesses_refused", incidents_count(node_incidents(node)), "requests");
    add_counter(report, "connections", export_counter(&counters->connections), "connections");
    add_counter(report, "connections_open", export_counter(&counters->connections_open),
                "connections");
    add_counter(report, "closed_hello", export_counter(&counters->closed_hello), "connections");
    add_counter(report, "closed_idle", export_counter(&counters->closed_idle), "connections");
    add_counter(report, "closed_protocol", export_counter(&counters->closed_protocol),
                "connections");
    add_counter(report, "closed_limit", export_counter(&counters->closed_limit), "connections");
    add_counter(report, "closed_silent", export_counter(&counters->closed_silent), "connections");
}

static void fill_huge_pages(struct report *report, const struct node *node)
{
    const struct arena *arena = node_arena(node);
    struct arena_huge huge;
    char *detail;
    char *remedy;
    uint32_t count = arena_slab_count(arena);
    if (arena_huge_count(arena) == count) {
        return;
    }
    arena_machine_huge(&huge);
    add_health(report, "NO_HUGE_PAGES", &detail, &remedy);
    (void)snprintf(detail, REPORT_TEXT_BYTES, "%u of %u slabs are on huge pages",
                   arena_huge_count(arena), count);
    if (huge.page_bytes == 0) {
        (void)snprintf(remedy, REPORT_TEXT_BYTES,
                       "this kernel has no huge pages (CONFIG_HUGETLBFS)");
        return;
    }
    (void)snprintf(remedy, REPORT_TEXT_BYTES,
                   "before the node starts: sysctl vm.nr_hugepages=%llu (and --slab-size of %lluM "
                   "or more)",
                   (unsigned long long)(count * arena_slab_bytes(arena) / huge.page_bytes),
                   (unsigned long long)(huge.page_bytes / MIB));
}

static void fill_violation(struct report *report, const struct export_verbs_status *status)
{
    char *detail;
    char *remedy;
    if (status->violations == 0 || sys_monotonic_ns() - status->violation_ns > VIOLATION_SHOWN_NS) {
        return;
    }
    add_health(report, "VERBS_ACCESS_REFUSED", &detail, &remedy);
    (void)snprintf(detail, REPORT_TEXT_BYTES,
                   "%llu times the device refused an access and broke that queue pair, last one of "
                   "instance %s",
                   (unsigned long long)status->violations,
                   status->violator[0] == '\0' ? "(unknown)" : status->violator);
    (void)snprintf(
        remedy, REPORT_TEXT_BYTES,
        "expected right after slabs were taken back; else look at that instance's agent");
}

static void fill_exhausted(struct report *report, const struct node *node)
{
    char *detail;
    char *remedy;
    uint64_t count = export_counter(&node_counters(node)->exhausted);
    if (count == 0) {
        return;
    }
    add_health(report, "VERBS_EXHAUSTED", &detail, &remedy);
    (void)snprintf(detail, REPORT_TEXT_BYTES,
                   "%llu times since the start the RDMA device had no queue pair, window or region "
                   "left: those clients use TCP",
                   (unsigned long long)count);
    (void)snprintf(remedy, REPORT_TEXT_BYTES,
                   "larger slabs or fewer instances on this node, a device that has more (dilosctl "
                   "node inspect), or more nodes");
}

static void fill_verbs(struct report *report, const struct node *node)
{
    struct export_verbs_status status;
    char *detail;
    char *remedy;
    const char *reason = node_verbs_reason(node);
    if (reason[0] != '\0') {
        bool none = strcmp(reason, NODE_NO_DEVICE) == 0;
        add_health(report, none ? "NO_VERBS_DEVICE" : "VERBS_UNUSABLE", &detail, &remedy);
        (void)snprintf(detail, REPORT_TEXT_BYTES, "%s", reason);
        (void)snprintf(remedy, REPORT_TEXT_BYTES,
                       none ? "nothing to do: pages move by shared memory and TCP"
                            : "dilos-memnode --check says more; pages move by the other fabrics");
    }
    if (!node_verbs_status(node, &status)) {
        return;
    }
    if (!status.windows) {
        add_health(report, "VERBS_NO_WINDOWS", &detail, &remedy);
        (void)snprintf(detail, REPORT_TEXT_BYTES,
                       "a device has no memory windows of type 2B: a region is registered whenever "
                       "a slab is attached, which takes longer");
        (void)snprintf(remedy, REPORT_TEXT_BYTES, "none needed, or another device");
    }
    if (status.windows && !status.bounds) {
        add_health(report, "VERBS_WINDOW_BOUNDS", &detail, &remedy);
        (void)snprintf(detail, REPORT_TEXT_BYTES,
                       "a device lets windows reach beyond their ends (tried at the start): each "
                       "slab is registered on its own, whose ends it respects");
        (void)snprintf(remedy, REPORT_TEXT_BYTES,
                       "none needed (Soft-RoCE is like that): it takes a region for each slab");
    }
    if (status.device_lost) {
        add_health(report, "VERBS_DEVICE_LOST", &detail, &remedy);
        (void)snprintf(detail, REPORT_TEXT_BYTES, "an RDMA device has gone away");
        (void)snprintf(remedy, REPORT_TEXT_BYTES,
                       "bring it back and restart this node; pages move by the other fabrics");
    }
    fill_exhausted(report, node);
    fill_violation(report, &status);
}

static void fill_fabrics(struct report *report, const struct node *node)
{
    struct fabric_address address;
    char *detail;
    char *remedy;
    const char *text = node_tcp_address(node);
    if (text != NULL && fabric_address_parse(text, &address) == 0 &&
        !fabric_address_is_loopback(&address)) {
        add_health(report, "TCP_INSECURE", &detail, &remedy);
        (void)snprintf(detail, REPORT_TEXT_BYTES, "pages cross the network at %.64s unencrypted",
                       text);
        (void)snprintf(remedy, REPORT_TEXT_BYTES, "use a network that only the pool can reach");
    }
}

void report_fill(struct report *report, const struct node *node)
{
    report->counter_count = 0;
    report->health_count = 0;
    fill_verbs(report, node);
    fill_counters(report, node);
    fill_huge_pages(report, node);
    fill_fabrics(report, node);
}
