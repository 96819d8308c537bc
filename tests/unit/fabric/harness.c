/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fabric/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/steady.h"
#include "lib/sys/sys.h"

#define NS_PER_MS 1000000ull

void harness_open(struct harness *harness, const char *fabric)
{
    char error[NODE_ERROR_BYTES] = "";
    bool verbs = strstr(fabric, "verbs") != NULL;
    bool regions = strcmp(fabric, "verbs-regions") == 0;
    bool one = strcmp(fabric, "verbs-one") == 0;
    *harness = (struct harness){.fabric = regions || one ? "verbs" : fabric};
    (void)snprintf(harness->folder, sizeof(harness->folder), "/tmp/dilos-fabric-XXXXXX");
    CHECK(mkdtemp(harness->folder) != NULL);
    (void)snprintf(harness->socket, sizeof(harness->socket), "%s/shm", harness->folder);
    const struct node_config config = {
        .arena = {.slab_bytes = SLAB_BYTES, .bytes = SLAB_BYTES * SLAB_COUNT},
        .listen_tcp = "127.0.0.1:0",
        .shm_socket = harness->socket,
        .verbs = verbs,
        .verbs_wanted = verbs,
        .listen_verbs = {.addresses = getenv("DILOS_TEST_VERBS"),
                         .insecure = true,
                         .without_windows = regions,
                         .windows_max = one ? 1 : 0},
    };
    if (node_open(&config, &harness->node, error) != 0) {
        printf("Bail out! %s\n", error);
        exit(1);
    }
}

void harness_close(struct harness *harness)
{
    harness->node = node_close(harness->node);
    (void)unlink(harness->socket);
    (void)rmdir(harness->folder);
}

const char *harness_fabric(const struct harness *harness)
{
    return harness->fabric + (strncmp(harness->fabric, "steady-", 7) == 0 ? 7 : 0);
}

bool harness_wait_death(struct fabric_peer *peer)
{
    struct fabric_done done;
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (fabric_alive(peer) && sys_monotonic_ns() < deadline_ns) {
        (void)fabric_poll(peer, &done, 1);
    }
    return !fabric_alive(peer);
}

struct fabric_peer *harness_connect(const struct harness *harness)
{
    char reason[128];
    struct fabric_peer *peer = NULL;
    const struct fabric_endpoint endpoint = {.node = "test",
                                             .host_id = "here",
                                             .tcp_address = node_tcp_address(harness->node),
                                             .shm_path = harness->socket,
                                             .verbs_address = node_verbs_addresses(harness->node)};
    const struct fabric_choice choice = {.local_host_id = "here", .only = harness_fabric(harness)};
    if (choice.only != harness->fabric) {
        const struct fabric_steady_config config = {.endpoint = endpoint,
                                                    .choice = choice,
                                                    .times = {.connect_ms = WAIT_MS,
                                                              .stall_ms = WAIT_MS,
                                                              .refused_ms = 50,
                                                              .patience_ms = WAIT_MS}};
        CHECK(fabric_steady_open(&config, &peer) == 0);
        return peer;
    }
    if (fabric_connect(&endpoint, &choice, WAIT_MS, &peer, reason) != 0) {
        printf("Bail out! connect: %s\n", reason);
        exit(1);
    }
    return peer;
}

struct fabric_grant harness_grant(struct harness *harness, uint32_t slab, bool read_only)
{
    uint32_t culprit;
    struct fabric_grant grant = {
        .slab_index = slab, .generation = ++harness->generation, .slab_bytes = SLAB_BYTES};
    CHECK(node_grant(harness->node, "instance", grant.generation, read_only, &slab, 1, grant.key,
                     &culprit) == 0);
    return grant;
}

int harness_revoke(struct harness *harness, const struct fabric_grant *grant)
{
    return node_revoke(harness->node, &grant->slab_index, &grant->generation, 1);
}

uint32_t harness_wait(struct fabric_peer *peer, struct fabric_done *done, uint32_t count)
{
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_MS * NS_PER_MS;
    uint32_t got = 0;
    while (got < count && sys_monotonic_ns() < deadline_ns) {
        fabric_arm(peer);
        uint32_t more = fabric_poll(peer, done + got, count - got);
        got += more;
        if (more == 0 && fabric_alive(peer)) {
            struct pollfd item = {.fd = fabric_poll_fd(peer),
                                  .events = (short)fabric_poll_events(peer)};
            (void)poll(&item, 1, 100);
        }
    }
    return got;
}

int harness_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t *ret_slab)
{
    struct fabric_done done;
    int error = fabric_attach(peer, grant, 77, ret_slab);
    if (error != 0) {
        return error;
    }
    if (harness_wait(peer, &done, 1) != 1 || done.token != 77) {
        return -ETIMEDOUT;
    }
    return done.status;
}

int harness_transfer(struct fabric_peer *peer, bool write, uint32_t slab, uint64_t offset,
                     void *data, uint32_t bytes)
{
    struct fabric_done done;
    const struct iovec segment = {.iov_base = data, .iov_len = bytes};
    int error = write ? fabric_write(peer, slab, offset, &segment, 1, 78)
                      : fabric_read(peer, slab, offset, &segment, 1, 78);
    if (error != 0) {
        return error;
    }
    if (harness_wait(peer, &done, 1) != 1 || done.token != 78) {
        return -ETIMEDOUT;
    }
    return done.status;
}

uint64_t harness_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
