/* SPDX-License-Identifier: Apache-2.0 */
/* The part that all providers share: the choice among them and the checks of every argument. */
#include "lib/fabric/fabric.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "lib/base/check.h"
#include "lib/fabric/fabric_test.h"
#include "lib/fabric/provider.h"
#include "lib/sys/sys.h"

#define NS_PER_MS 1000000ull

static fabric_wrap *test_wrap;
static void *test_wrap_context;

void fabric_set_test_wrap(fabric_wrap *wrap, void *context)
{
    test_wrap = wrap;
    test_wrap_context = context;
}

void fabric_peer_init(struct fabric_peer *peer, const struct fabric_provider *provider)
{
    *peer = (struct fabric_peer){.provider = provider};
    fabric_slabs_init(&peer->slabs);
}

void fabric_peer_fini(struct fabric_peer *peer)
{
    fabric_slabs_fini(&peer->slabs);
}

/* The poll before the sleep, and the one after it. */
void fabric_look_arm(struct fabric_look *look)
{
    look->due = 2;
}

bool fabric_look_due(struct fabric_look *look)
{
    if (look->due != 0) {
        look->due--;
        return true;
    }
    uint64_t now_ns = sys_monotonic_ns();
    if (now_ns - look->last_ns < FABRIC_LOOK_NS) {
        return false;
    }
    look->last_ns = now_ns;
    return true;
}

static void add_reason(char *reasons, const char *name, const char *reason)
{
    size_t used = strlen(reasons);
    (void)snprintf(reasons + used, FABRIC_REASON_BYTES - used, "%s%s: %s", used == 0 ? "" : "; ",
                   name, reason);
}

typedef int connect_function(const struct fabric_endpoint *endpoint, uint64_t deadline_ns,
                             struct fabric_peer **ret, char *ret_reason);

struct candidate {
    const char *name;
    const char *address; /* NULL: not offered */
    const char *obstacle;
    connect_function *connect;
};

static int try_candidate(const struct candidate *candidate, const struct fabric_endpoint *endpoint,
                         uint64_t deadline_ns, struct fabric_peer **ret, char *reasons)
{
    char reason[FABRIC_REASON_BYTES] = "";
    if (candidate->address == NULL || candidate->address[0] == '\0') {
        add_reason(reasons, candidate->name, "not offered");
        return -EHOSTUNREACH;
    }
    if (candidate->obstacle != NULL) {
        add_reason(reasons, candidate->name, candidate->obstacle);
        return -EHOSTUNREACH;
    }
    int error = candidate->connect(endpoint, deadline_ns, ret, reason);
    if (error != 0) {
        add_reason(reasons, candidate->name, reason);
    }
    return error;
}

static const char *other_host(const struct fabric_endpoint *endpoint,
                              const struct fabric_choice *choice)
{
    if (endpoint->host_id == NULL || choice->local_host_id == NULL ||
        strcmp(endpoint->host_id, choice->local_host_id) != 0) {
        return "the memory node is on another host";
    }
    return NULL;
}

static int wrap_for_test(struct fabric_peer *peer, struct fabric_peer **ret)
{
    if (test_wrap == NULL) {
        *ret = peer;
        return 0;
    }
    return test_wrap(test_wrap_context, peer, ret);
}

uint64_t fabric_connect_share(uint64_t deadline_ns, uint64_t left)
{
    uint64_t now_ns = sys_monotonic_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    return now_ns + left_ns / left;
}

int fabric_connect(const struct fabric_endpoint *endpoint, const struct fabric_choice *choice,
                   uint32_t timeout_ms, struct fabric_peer **ret, char *ret_reason)
{
    const struct candidate candidates[] = {
        {"shm", endpoint->shm_path, other_host(endpoint, choice), fabric_shm_connect},
        {"verbs", endpoint->verbs_address, NULL, fabric_verbs_connect},
        {"tcp", endpoint->tcp_address, NULL, fabric_tcp_connect},
    };
    uint64_t deadline_ns = sys_monotonic_ns() + timeout_ms * NS_PER_MS;
    int error = -EHOSTUNREACH;
    bool known = false;

    ret_reason[0] = '\0';
    for (unsigned i = 0; i < ARRAY_LEN(candidates); i++) {
        if (choice->only != NULL && strcmp(choice->only, candidates[i].name) != 0) {
            continue;
        }
        known = true;
        struct fabric_peer *peer = NULL;
        uint64_t until_ns = choice->only != NULL
                                ? deadline_ns
                                : fabric_connect_share(deadline_ns, ARRAY_LEN(candidates) - i);
        int failed = try_candidate(&candidates[i], endpoint, until_ns, &peer, ret_reason);
        if (failed == 0) {
            return wrap_for_test(peer, ret);
        }
        if (failed == -ETIMEDOUT || (failed == -ECONNREFUSED && error != -ETIMEDOUT)) {
            error = failed;
        }
    }
    if (!known) {
        add_reason(ret_reason, choice->only, "no such fabric (there are shm, verbs, tcp)");
    }
    return error;
}

struct fabric_peer *fabric_close(struct fabric_peer *peer)
{
    if (peer != NULL) {
        peer->provider->close(peer);
    }
    return NULL;
}

const char *fabric_name(const struct fabric_peer *peer)
{
    return peer->provider->name;
}

int fabric_register(struct fabric_peer *peer, void *base, uint64_t bytes)
{
    if (peer->provider->register_memory == NULL) {
        return 0;
    }
    return peer->provider->register_memory(peer, base, bytes);
}

void fabric_unregister_all(struct fabric_peer *peer)
{
    if (peer->provider->unregister_all != NULL) {
        peer->provider->unregister_all(peer);
    }
}

int fabric_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint64_t token,
                  uint32_t *ret_slab)
{
    if (peer->dead) {
        return -ENOTCONN;
    }
    if (grant->slab_bytes == 0) {
        return -EINVAL;
    }
    uint32_t slab;
    int error = fabric_slabs_take(&peer->slabs, grant->slab_bytes, token, &slab);
    if (error != 0) {
        return error;
    }
    error = peer->provider->attach(peer, grant, slab);
    if (error != 0) {
        fabric_slabs_move(&peer->slabs, slab, FABRIC_SLAB_FREE);
        return error;
    }
    *ret_slab = slab;
    return 0;
}

void fabric_detach(struct fabric_peer *peer, uint32_t slab)
{
    const struct fabric_slabs_item *item = fabric_slabs_get(&peer->slabs, slab);
    CHECK(item != NULL);
    fabric_slabs_move(&peer->slabs, slab, FABRIC_SLAB_DETACHING);
    peer->provider->detach(peer, slab);
}

/* The sum of the segments, or 0 if it isn't a legal request. */
static uint32_t request_length(const struct iovec *segments, uint32_t segment_count)
{
    uint64_t length = 0;
    if (segment_count > FABRIC_SEGMENTS_MAX) {
        return 0;
    }
    for (uint32_t i = 0; i < segment_count; i++) {
        if (segments[i].iov_len > FABRIC_REQUEST_BYTES_MAX) {
            return 0;
        }
        length += segments[i].iov_len;
    }
    return length <= FABRIC_REQUEST_BYTES_MAX ? (uint32_t)length : 0;
}

int fabric_post_denied(struct fabric_peer *peer, uint64_t token)
{
    if (peer->denied_count == FABRIC_DENIED_MAX) {
        return -EAGAIN;
    }
    peer->denied[peer->denied_count++] = token;
    return 0;
}

static int post(struct fabric_peer *peer, bool write, uint32_t slab, uint64_t offset,
                const struct iovec *segments, uint32_t segment_count, uint64_t token)
{
    if (peer->dead) {
        return -ENOTCONN;
    }
    const struct fabric_slabs_item *item = fabric_slabs_get(&peer->slabs, slab);
    uint32_t length = request_length(segments, segment_count);
    if (item == NULL || item->state == FABRIC_SLAB_DETACHING || length == 0 ||
        offset > item->bytes || length > item->bytes - offset) {
        return -EINVAL;
    }
    int error = -EAGAIN;
    if (item->state == FABRIC_SLAB_REVOKED) {
        error = fabric_post_denied(peer, token);
    } else if (item->state == FABRIC_SLAB_READY) {
        const struct fabric_request request = {.write = write,
                                               .slab = slab,
                                               .offset = offset,
                                               .segments = segments,
                                               .segment_count = segment_count,
                                               .length = length,
                                               .token = token};
        error = peer->provider->post(peer, &request);
    }
    peer->counters.requests += error == 0 ? 1 : 0;
    return error;
}

int fabric_read(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                const struct iovec *segments, uint32_t segment_count, uint64_t token)
{
    return post(peer, false, slab, offset, segments, segment_count, token);
}

int fabric_write(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                 const struct iovec *segments, uint32_t segment_count, uint64_t token)
{
    return post(peer, true, slab, offset, segments, segment_count, token);
}

static void poll_denied(struct fabric_peer *peer, struct fabric_sink *sink)
{
    while (peer->denied_count != 0 && !fabric_sink_full(sink)) {
        fabric_sink_put(sink, peer->denied[--peer->denied_count], -EACCES);
    }
}

uint32_t fabric_poll(struct fabric_peer *peer, struct fabric_done *ret, uint32_t max)
{
    struct fabric_sink sink = {.done = ret, .max = max};
    poll_denied(peer, &sink);
    peer->provider->poll(peer, &sink);
    for (uint32_t i = 0; i < sink.count; i++) {
        peer->counters.errors += ret[i].status != 0 ? 1 : 0;
    }
    return sink.count;
}

bool fabric_alive(const struct fabric_peer *peer)
{
    return !peer->dead;
}

void fabric_arm(struct fabric_peer *peer)
{
    if (peer->provider->arm != NULL) {
        peer->provider->arm(peer);
    }
}

int fabric_poll_fd(const struct fabric_peer *peer)
{
    return peer->provider->poll_fd(peer);
}

uint32_t fabric_poll_events(const struct fabric_peer *peer)
{
    (void)peer;
    return EPOLLIN;
}

void fabric_counters(const struct fabric_peer *peer, struct fabric_counters *ret)
{
    *ret = peer->counters;
}
