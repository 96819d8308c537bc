/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/agent/fake_fabric.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/steady.h"

#define FLIGHT_MAX 64u
#define GIVEN_MAX  32u

struct fake_fabric fake_fabric;
static uint8_t *slabs[FAKE_NODES][FAKE_NODE_SLABS];

struct operation {
    bool used;
    bool is_write, is_attach;
    uint8_t *at;
    struct iovec segments[FABRIC_SEGMENTS_MAX];
    uint32_t segment_count;
    uint64_t token;
    uint32_t polls;
};

struct fabric_peer {
    uint32_t node;
    bool unreachable;
    int fd; /* always readable: the fake never lets its user sleep with something in flight */
    uint64_t seed;
    uint32_t slab_index[4096];
    uint32_t slab_count;
    uint32_t in_flight;
    struct operation operations[FLIGHT_MAX];
    struct fabric_counters counters;
    uint64_t given[GIVEN_MAX]; /* tokens of the last completions */
    uint32_t given_count;
};

static bool node_is_dead(uint32_t node)
{
    return __atomic_load_n(&fake_fabric.dead[node], __ATOMIC_SEQ_CST);
}

static bool is_dead(const struct fabric_peer *peer)
{
    return peer->unreachable || node_is_dead(peer->node);
}

static uint32_t draw(struct fabric_peer *peer, uint32_t below)
{
    peer->seed = peer->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(peer->seed >> 33) % below;
}

void fake_fabric_reset(void)
{
    memset(&fake_fabric, 0, sizeof(fake_fabric));
    for (uint32_t node = 0; node < FAKE_NODES; node++) {
        for (uint32_t i = 0; i < FAKE_NODE_SLABS; i++) {
            if (slabs[node][i] != NULL) {
                memset(slabs[node][i], 0xa5, FAKE_SLAB_BYTES);
            }
        }
    }
}

int fabric_steady_open(const struct fabric_steady_config *config, struct fabric_peer **ret)
{
    uint32_t node = (uint32_t)atoi(config->endpoint.node + 2); /* "mn3" */
    CHECK(node < FAKE_NODES);
    struct fabric_peer *peer = calloc(1, sizeof(*peer));
    CHECK(peer != NULL);
    peer->unreachable = __atomic_load_n(&fake_fabric.refuses[node], __ATOMIC_SEQ_CST);
    peer->node = node;
    peer->seed = node + 1;
    peer->fd = eventfd(1, EFD_CLOEXEC);
    *ret = peer;
    return 0;
}

struct fabric_peer *fabric_close(struct fabric_peer *peer)
{
    if (peer != NULL) {
        (void)close(peer->fd);
        free(peer);
    }
    return NULL;
}

const char *fabric_name(const struct fabric_peer *peer)
{
    return "fake";
}

int fabric_register(struct fabric_peer *peer, void *base, uint64_t bytes)
{
    return base != NULL && bytes != 0 ? 0 : -ENOMEM;
}

static int post(struct fabric_peer *peer, const struct operation *operation)
{
    uint32_t busy = __atomic_load_n(&fake_fabric.busy_permille, __ATOMIC_SEQ_CST);
    if (peer->in_flight == FLIGHT_MAX ||
        (peer->in_flight > 0 && busy > 0 && draw(peer, 1000) < busy)) {
        return -EAGAIN;
    }
    for (uint32_t i = 0; i < FLIGHT_MAX; i++) {
        if (!peer->operations[i].used) {
            peer->operations[i] = *operation;
            peer->operations[i].used = true;
            uint32_t delay = __atomic_load_n(&fake_fabric.delay_polls_max, __ATOMIC_SEQ_CST);
            peer->operations[i].polls = delay == 0 ? 0 : draw(peer, delay);
            peer->in_flight++;
            return 0;
        }
    }
    return -EAGAIN;
}

void fabric_unregister_all(struct fabric_peer *peer)
{
    (void)peer;
}

void fabric_arm(struct fabric_peer *peer)
{
    (void)peer;
}

int fabric_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint64_t token,
                  uint32_t *ret_slab)
{
    CHECK(grant->slab_index < FAKE_NODE_SLABS);
    uint8_t **slab = &slabs[peer->node][grant->slab_index];
    if (*slab == NULL) {
        *slab = malloc(FAKE_SLAB_BYTES);
        CHECK(*slab != NULL);
        memset(*slab, 0xa5, FAKE_SLAB_BYTES);
    }
    if (node_is_dead(peer->node)) {
        return -ENOTCONN;
    }
    struct operation operation = {.is_attach = true, .token = token};
    int r = post(peer, &operation);
    if (r == 0) {
        CHECK(peer->slab_count < 4096);
        peer->slab_index[peer->slab_count] = grant->slab_index;
        *ret_slab = peer->slab_count++;
        (void)__atomic_add_fetch(&fake_fabric.attached, 1, __ATOMIC_SEQ_CST);
    }
    return r;
}

void fabric_detach(struct fabric_peer *peer, uint32_t slab)
{
    CHECK(slab < peer->slab_count);
    CHECK(__atomic_fetch_sub(&fake_fabric.attached, 1, __ATOMIC_SEQ_CST) > 0);
}

static int transfer(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                    const struct iovec *segments, uint32_t count, uint64_t token, bool is_write)
{
    if (is_dead(peer)) {
        return -ENOTCONN;
    }
    CHECK(slab < peer->slab_count);
    CHECK(count > 0 && count <= FABRIC_SEGMENTS_MAX);
    struct operation operation = {.is_write = is_write,
                                  .at = slabs[peer->node][peer->slab_index[slab]] + offset,
                                  .segment_count = count,
                                  .token = token};
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        operation.segments[i] = segments[i];
        bytes += segments[i].iov_len;
    }
    CHECK(bytes > 0 && bytes <= FABRIC_REQUEST_BYTES_MAX);
    CHECK(offset + bytes <= FAKE_SLAB_BYTES);
    int r = post(peer, &operation);
    if (r == 0) {
        (void)__atomic_add_fetch(is_write ? &fake_fabric.writes : &fake_fabric.reads, 1,
                                 __ATOMIC_SEQ_CST);
        (void)__atomic_add_fetch(is_write ? &fake_fabric.bytes_written : &fake_fabric.bytes_read,
                                 bytes, __ATOMIC_SEQ_CST);
    }
    return r;
}

int fabric_read(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                const struct iovec *segments, uint32_t segment_count, uint64_t token)
{
    return transfer(peer, slab, offset, segments, segment_count, token, false);
}

int fabric_write(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                 const struct iovec *segments, uint32_t segment_count, uint64_t token)
{
    return transfer(peer, slab, offset, segments, segment_count, token, true);
}

static void carry_out(const struct operation *operation)
{
    uint8_t *at = operation->at;
    for (uint32_t i = 0; i < operation->segment_count; i++) {
        const struct iovec *segment = &operation->segments[i];
        memcpy(operation->is_write ? at : segment->iov_base,
               operation->is_write ? segment->iov_base : at, segment->iov_len);
        at += segment->iov_len;
    }
}

uint32_t fabric_poll(struct fabric_peer *peer, struct fabric_done *ret, uint32_t max)
{
    uint32_t count = 0;
    bool dead = is_dead(peer);
    if (__atomic_load_n(&fake_fabric.silent, __ATOMIC_SEQ_CST)) {
        return 0;
    }
    for (uint32_t i = 0; i < FLIGHT_MAX && count < max; i++) {
        struct operation *operation = &peer->operations[i];
        if (!operation->used || (operation->polls > 0 && !dead)) {
            operation->polls -= operation->polls > 0 ? 1 : 0;
            continue;
        }
        if (!dead) {
            carry_out(operation);
        }
        ret[count++] =
            (struct fabric_done){.token = operation->token, .status = dead ? -ENOTCONN : 0};
        peer->given[peer->given_count++ % GIVEN_MAX] = operation->token;
        operation->used = false;
        peer->in_flight--;
    }
    uint32_t known = peer->given_count < GIVEN_MAX ? peer->given_count : GIVEN_MAX;
    uint32_t repeat = __atomic_load_n(&fake_fabric.repeat_permille, __ATOMIC_SEQ_CST);
    if (known > 0 && count < max && repeat > 0 && draw(peer, 1000) < repeat) {
        ret[count++] = (struct fabric_done){.token = peer->given[draw(peer, known)],
                                            .status = draw(peer, 2) == 0 ? 0 : -EIO};
        (void)__atomic_add_fetch(&fake_fabric.repeats, 1, __ATOMIC_SEQ_CST);
    }
    return count;
}

bool fabric_alive(const struct fabric_peer *peer)
{
    return !is_dead(peer);
}

int fabric_poll_fd(const struct fabric_peer *peer)
{
    return peer->in_flight > 0 ? peer->fd : -1;
}

uint32_t fabric_poll_events(const struct fabric_peer *peer)
{
    return POLLIN;
}

void fabric_counters(const struct fabric_peer *peer, struct fabric_counters *ret)
{
    *ret = peer->counters;
}

const char *fabric_steady_reason(const struct fabric_peer *peer)
{
    return "";
}

enum fabric_fallback fabric_steady_fallback(const struct fabric_peer *peer)
{
    (void)peer;
    return FABRIC_FALLBACK_NONE;
}

uint32_t fabric_steady_breaks(const struct fabric_peer *peer)
{
    return 0;
}

bool fabric_steady_is_at(const struct fabric_peer *peer, const struct fabric_endpoint *endpoint)
{
    return true;
}
