/* SPDX-License-Identifier: Apache-2.0 */
/* Live figures of an instance: the guest's counters, the device's, and the fabrics'. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent_internal.h"
#include "lib/base/check.h"

#define COUNTERS_MAX 384u /* seven histograms, and what there is besides */
#define NAME_BYTES   48u

struct counter_list {
    size_t count;
    Dilos__Counter items[COUNTERS_MAX];
    Dilos__Counter *list[COUNTERS_MAX];
    char names[COUNTERS_MAX][NAME_BYTES];
};

struct live_call {
    struct rpc_request *request;
    struct member *member;
    struct counter_list counters;
    Dilos__FabricUse fabrics[SLAB_POOL_PEERS_MAX];
    Dilos__FabricUse *fabric_list[SLAB_POOL_PEERS_MAX];
    char syscalls[INSTANCE_SYSCALLS_MAX][INSTANCE_SYSCALL_BYTES];
    char *syscall_list[INSTANCE_SYSCALLS_MAX];
    Dilos__Health health[SLAB_POOL_PEERS_MAX];
    Dilos__Health *health_list[SLAB_POOL_PEERS_MAX];
};

static void add(struct counter_list *counters, const char *name, uint64_t value, const char *unit)
{
    CHECK(counters->count < COUNTERS_MAX);
    Dilos__Counter *counter = &counters->items[counters->count];
    dilos__counter__init(counter);
    (void)snprintf(counters->names[counters->count], NAME_BYTES, "%s", name);
    counter->name = counters->names[counters->count];
    counter->value = value;
    counter->unit = (char *)(uintptr_t)unit;
    counters->list[counters->count++] = counter;
}

/* Histograms: one counter a bucket that is not empty, named by its lower bound. */
static void add_buckets(struct counter_list *counters, const char *name, const uint64_t *buckets)
{
    char text[NAME_BYTES];
    for (uint32_t i = 0; i < GUESTSTATS_BUCKETS; i++) {
        if (buckets[i] != 0 && counters->count < COUNTERS_MAX) {
            (void)snprintf(text, sizeof(text), "%s_%lluns", name, 1ull << i);
            add(counters, text, buckets[i], "events");
        }
    }
}

static void add_guest(struct counter_list *counters, const struct gueststats *stats)
{
#define ADD(field, unit) add(counters, #field, stats->field, unit)
    ADD(frames_total, "pages");
    ADD(frames_free, "pages");
    ADD(frames_kernel, "pages");
    ADD(pages_local, "pages");
    ADD(pages_remote, "pages");
    ADD(faults_zero, "faults");
    ADD(faults_remote, "faults");
    ADD(faults_file, "faults");
    ADD(faults_wait, "faults");
    ADD(faults_cow, "faults");
    ADD(faults_failed, "faults");
    ADD(far_pages_read, "pages");
    ADD(far_pages_written, "pages");
    ADD(far_pages_discarded, "pages");
    ADD(far_errors, "requests");
    ADD(far_repeats, "completions");
    ADD(reclaim_scanned, "pages");
    ADD(reclaim_evicted_clean, "pages");
    ADD(reclaim_evicted_file, "pages");
    ADD(reclaim_direct, "events");
    ADD(tlb_flush_pages, "events");
    ADD(tlb_flush_all, "events");
    ADD(prefetch_issued, "pages");
    ADD(prefetch_used, "pages");
    ADD(prefetch_late, "pages");
    ADD(prefetch_wasted, "pages");
    ADD(writeback_batches, "requests");
    ADD(syscalls, "calls");
    ADD(syscalls_unknown, "calls");
#undef ADD
    add_buckets(counters, "fault_remote", stats->fault_remote_ns);
    add_buckets(counters, "device_read", stats->device_read_ns);
    add_buckets(counters, "stage_entry", stats->stage_entry_ns);
    add_buckets(counters, "stage_claim", stats->stage_claim_ns);
    add_buckets(counters, "stage_queue", stats->stage_queue_ns);
    add_buckets(counters, "stage_device", stats->stage_device_ns);
    add_buckets(counters, "stage_publish", stats->stage_publish_ns);
    add_buckets(counters, "stall_direct", stats->stall_direct_ns);
}

static void add_device(struct counter_list *counters, const struct far_live *live)
{
    const struct far_counters *device = &live->counters;
    add(counters, "device_reads", device->reads, "requests");
    add(counters, "device_writes", device->writes, "requests");
    add(counters, "device_discards", device->discards, "requests");
    add(counters, "device_bytes_read", device->bytes_read, "bytes");
    add(counters, "device_bytes_written", device->bytes_written, "bytes");
    add(counters, "device_bytes_zero", device->bytes_zero, "bytes");
    add(counters, "device_bytes_discarded", device->bytes_discarded, "bytes");
    add(counters, "device_failed", device->failed, "requests");
    add(counters, "device_no_space", device->no_space, "requests");
    add(counters, "device_slab_waits", device->slab_waits, "requests");
    uint64_t repeats = device->repeats;
    for (uint32_t i = 0; i < live->peer_count; i++) {
        repeats += live->peers[i].counters.repeats;
    }
    add(counters, "device_repeats", repeats, "completions");
    add(counters, "slabs_held", live->slabs_held, "slabs");
    add(counters, "slabs_mapped", live->slabs_mapped, "slabs");
    add(counters, "slabs_spare", live->slabs_spare, "slabs");
}

static const char *fallback_remedy(enum fabric_fallback fallback)
{
    if (fallback != FABRIC_FALLBACK_RDMA) {
        return "see dilosctl node inspect for what the node offers";
    }
    return "see to what is said of verbs (dilosctl node inspect, dilos-memnode --check); after a "
           "fall-back from RDMA it is tried again within a minute, later within ten";
}

static void fill_fabrics(struct live_call *call, const struct far_live *live,
                         Dilos__InstanceLive *body)
{
    for (uint32_t i = 0; i < live->peer_count; i++) {
        const struct far_live_peer *peer = &live->peers[i];
        Dilos__FabricUse *use = &call->fabrics[i];
        dilos__fabric_use__init(use);
        use->node = (char *)(uintptr_t)peer->node;
        use->fabric = (char *)(uintptr_t)peer->fabric;
        use->slabs = peer->slab_count;
        use->breaks = peer->breaks;
        use->bytes_read = peer->counters.bytes_read;
        use->bytes_written = peer->counters.bytes_written;
        use->fallback_reason = (char *)(uintptr_t)peer->fallback_reason;
        call->fabric_list[i] = use;
        if (peer->fallback_reason[0] != '\0') {
            Dilos__Health *health = &call->health[body->n_health];
            dilos__health__init(health);
            health->code = (char *)(uintptr_t) "FABRIC_FALLBACK";
            health->detail = (char *)(uintptr_t)peer->fallback_reason;
            health->remedy = (char *)(uintptr_t)fallback_remedy(peer->fallback);
            call->health_list[body->n_health++] = health;
        }
    }
    body->n_fabrics = live->peer_count;
    body->fabrics = call->fabric_list;
    body->health = call->health_list;
}

static void on_live(void *context, const struct far_live *live)
{
    struct live_call *call = context;
    if (live == NULL) {
        rpc_fail(call->request, DILOS__ERROR_CODE__ERROR_UNAVAILABLE,
                 instance_state(call->member->instance) == INSTANCE_ENDED
                     ? "the instance ended before it ran: there are no figures"
                     : "the instance has no live figures: it is starting, or ending",
                 "try again when it runs");
        free(call);
        return;
    }
    Dilos__InstanceLive body = DILOS__INSTANCE_LIVE__INIT;
    if (live->has_stats) {
        add_guest(&call->counters, &live->stats);
    }
    if (call->counters.count + 16 < COUNTERS_MAX) {
        add_device(&call->counters, live);
    }
    body.n_counters = call->counters.count;
    body.counters = call->counters.list;
    fill_fabrics(call, live, &body);
    struct instance_sizes sizes;
    instance_sizes(call->member->instance, &sizes);
    body.local_bytes = sizes.local_bytes;
    body.local_bytes_max = sizes.local_bytes_max;
    body.far_bytes = sizes.far_bytes;
    body.prefetch = (char *)(uintptr_t)sizes.prefetch;
    body.n_unknown_syscalls = instance_syscalls(call->member->instance, call->syscalls);
    for (size_t i = 0; i < body.n_unknown_syscalls; i++) {
        call->syscall_list[i] = call->syscalls[i];
    }
    body.unknown_syscalls = call->syscall_list;
    rpc_reply(call->request, &body.base);
    free(call);
}

void live_request(struct member *member, struct rpc_request *request)
{
    struct live_call *call = calloc(1, sizeof(*call));
    if (call == NULL) {
        rpc_fail(request, DILOS__ERROR_CODE__ERROR_INTERNAL, "the agent is out of memory",
                 "give its host more memory");
        return;
    }
    call->request = request;
    call->member = member;
    instance_live(member->instance, on_live, call);
}
