/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/steady_peer.h"
#include "lib/sys/sys.h"

#define NO_SLOT      UINT32_MAX
#define POLL_BATCH   64u
#define ATTACH_TOKEN (UINT64_C(1) << 32)
#define USE_SHIFT    33 /* above it in a token: which use of the slot or binding is meant */
#define TEXT_BYTES   256u

static struct steady_peer *steady_of(struct fabric_peer *peer)
{
    return container_of(peer, struct steady_peer, peer);
}

static const struct steady_peer *steady_const(const struct fabric_peer *peer)
{
    return container_of(peer, const struct steady_peer, peer);
}

void steady_note(const struct steady_peer *steady, const char *what, const char *more)
{
    char text[TEXT_BYTES];
    if (steady->config.note != NULL) {
        const char *node = steady->config.endpoint.node;
        (void)snprintf(text, sizeof(text), "memory node %.64s %s%s", node == NULL ? "?" : node,
                       what, more);
        steady->config.note(steady->config.context, text);
    }
}

/* ---- slots ---- */

static void slot_free(struct steady_peer *steady, struct slot *slot)
{
    slot->state = SLOT_FREE;
    slot->next_free = steady->free_slot;
    steady->free_slot = (uint32_t)(slot - steady->slots);
}

static void slot_hold(struct steady_peer *steady, struct slot *slot, int status)
{
    steady->waiting -= slot->state == SLOT_WAITING ? 1 : 0;
    steady->posted -= slot->state == SLOT_POSTED ? 1 : 0;
    slot->state = SLOT_HELD;
    slot->status = status;
    steady->held++;
}

static void slots_give(struct steady_peer *steady, struct fabric_sink *sink)
{
    for (uint32_t i = 0; i < STEADY_SLOTS && steady->held > 0 && !fabric_sink_full(sink); i++) {
        struct slot *slot = &steady->slots[i];
        if (slot->state == SLOT_HELD) {
            fabric_sink_put(sink, slot->token, slot->status);
            steady->held--;
            slot_free(steady, slot);
        }
    }
}

/*
 * Nothing was outstanding: from now on the connection owes an answer. The first poll without one
 * looks at the clock; where answers come at once, as over shm, nobody does.
 */
static void expect_answer(struct steady_peer *steady)
{
    if (steady->posted + steady->asked == 0) {
        steady->asked_ns = 0;
    }
}

/* Below 2^31, and another one than the last 2^31 - 1. */
static uint32_t next_use(struct steady_peer *steady)
{
    steady->uses = (steady->uses + 1) & (UINT32_MAX >> 1);
    return steady->uses;
}

/* Gives a slot to the connection. Errors: those of posts, with the slot untouched. */
static int slot_post(struct steady_peer *steady, struct slot *slot)
{
    uint32_t slab = steady->bindings[slot->slab].inner;
    slot->use = next_use(steady);
    uint64_t token = (uint64_t)slot->use << USE_SHIFT | (uint64_t)(slot - steady->slots);
    expect_answer(steady);
    int error = slot->write ? fabric_write(steady->link, slab, slot->offset, slot->segments,
                                           slot->segment_count, token)
                            : fabric_read(steady->link, slab, slot->offset, slot->segments,
                                          slot->segment_count, token);
    if (error == 0) {
        steady->waiting -= slot->state == SLOT_WAITING ? 1 : 0;
        steady->posted++;
        slot->state = SLOT_POSTED;
    }
    return error;
}

static bool is_bound(const struct steady_peer *steady, uint32_t slab)
{
    return steady->link != NULL && steady->next == NULL &&
           steady->bindings[slab].state == BINDING_KNOWN;
}

static int steady_post(struct fabric_peer *peer, const struct fabric_request *request)
{
    struct steady_peer *steady = steady_of(peer);
    if (steady->free_slot == NO_SLOT) {
        return -EAGAIN;
    }
    struct slot *slot = &steady->slots[steady->free_slot];
    slot->write = request->write;
    slot->slab = request->slab;
    slot->offset = request->offset;
    slot->token = request->token;
    slot->length = request->length;
    slot->segment_count = request->segment_count;
    memcpy(slot->segments, request->segments, request->segment_count * sizeof(struct iovec));
    int error = is_bound(steady, request->slab) ? slot_post(steady, slot) : -ENOTCONN;
    if (error == -ENOTCONN) {
        slot->state = SLOT_WAITING;
        steady->waiting++;
        error = 0;
    }
    if (error == 0) {
        steady->free_slot = slot->next_free;
    }
    return error;
}

static void post_waiting(struct steady_peer *steady)
{
    for (uint32_t i = 0; i < STEADY_SLOTS && steady->waiting > 0; i++) {
        struct slot *slot = &steady->slots[i];
        if (slot->state != SLOT_WAITING || !is_bound(steady, slot->slab)) {
            continue;
        }
        int error = slot_post(steady, slot);
        if (error == -EAGAIN || error == -ENOTCONN) {
            return;
        }
        if (error != 0) {
            slot_hold(steady, slot, error);
        }
    }
}

/* ---- slabs ---- */

static int steady_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t slab)
{
    struct steady_peer *steady = steady_of(peer);
    if (slab >= steady->binding_count) {
        uint32_t count = peer->slabs.count;
        struct binding *grown = realloc(steady->bindings, count * sizeof(*grown));
        if (grown == NULL) {
            return -ENOMEM;
        }
        memset(grown + steady->binding_count, 0, (count - steady->binding_count) * sizeof(*grown));
        steady->bindings = grown;
        steady->binding_count = count;
    }
    steady->bindings[slab] = (struct binding){.grant = *grant};
    fabric_slabs_get(&peer->slabs, slab)->attach_left = 1;
    steady->unbound++;
    return 0;
}

static bool wants_binding(const struct steady_peer *steady, uint32_t slab)
{
    const struct fabric_slabs_item *item = fabric_slabs_get(&steady->peer.slabs, slab);
    return item != NULL &&
           (item->state == FABRIC_SLAB_ATTACHING || item->state == FABRIC_SLAB_READY) &&
           steady->bindings[slab].state == BINDING_NONE;
}

static void bind_slabs(struct steady_peer *steady)
{
    for (uint32_t i = 0; i < steady->binding_count && steady->unbound > 0; i++) {
        struct binding *binding = &steady->bindings[i];
        if (!wants_binding(steady, i)) {
            continue;
        }
        struct fabric_grant grant = binding->grant;
        grant.incarnation = steady->incarnation;
        expect_answer(steady);
        binding->use = next_use(steady);
        uint64_t token = (uint64_t)binding->use << USE_SHIFT | ATTACH_TOKEN | i;
        if (fabric_attach(steady->link, &grant, token, &binding->inner) != 0) {
            return; /* no room now, or the connection is dead: the next poll sees */
        }
        binding->state = BINDING_ASKED;
        steady->unbound--;
        steady->asked++;
    }
}

/* The memory node does not accept the grant (any more). */
static void slab_refused(struct steady_peer *steady, uint32_t slab, int status)
{
    for (uint32_t i = 0; i < STEADY_SLOTS; i++) {
        struct slot *slot = &steady->slots[i];
        if (slot->state == SLOT_WAITING && slot->slab == slab) {
            slot_hold(steady, slot, status);
        }
    }
    fabric_slabs_move(&steady->peer.slabs, slab, FABRIC_SLAB_REVOKED);
}

static void slab_let_go(struct steady_peer *steady, uint32_t slab)
{
    if (steady->bindings[slab].state == BINDING_KNOWN) {
        fabric_detach(steady->link, steady->bindings[slab].inner);
    }
    steady->bindings[slab].state = BINDING_NONE;
    fabric_slabs_move(&steady->peer.slabs, slab, FABRIC_SLAB_FREE);
}

static void attach_answered(struct steady_peer *steady, uint32_t slab, int status,
                            struct fabric_sink *sink)
{
    struct fabric_slabs_item *item = fabric_slabs_get(&steady->peer.slabs, slab);
    CHECK(item != NULL);
    steady->bindings[slab].state = BINDING_KNOWN;
    steady->asked--;
    if (item->state == FABRIC_SLAB_DETACHING) {
        slab_let_go(steady, slab);
    } else if (item->state == FABRIC_SLAB_READY) {
        if (status != 0) {
            slab_refused(steady, slab, status);
        }
    } else {
        item->attach_left = 0;
        fabric_slabs_move(&steady->peer.slabs, slab,
                          status == 0 ? FABRIC_SLAB_READY : FABRIC_SLAB_REVOKED);
        fabric_sink_put(sink, item->attach_token, status);
    }
}

/* It is on the list of those that are being detached. */
static void steady_detach(struct fabric_peer *peer, uint32_t slab)
{
    struct steady_peer *steady = steady_of(peer);
    enum binding_state state = steady->bindings[slab].state;
    if (state == BINDING_ASKED) {
        return; /* its answer comes first */
    }
    slab_let_go(steady, slab);
}

/* ---- connections ---- */

static bool is_verbs(const struct fabric_peer *link)
{
    return strcmp(fabric_name(link), "verbs") == 0;
}

/* What is on its way ends with -ENOTCONN: slots at once, attaches as the sink takes them. */
static void give_up(struct steady_peer *steady, const char *why)
{
    steady->peer.dead = true;
    steady->attempt = attempt_abandon(steady->attempt);
    steady_back_forget(steady);
    for (uint32_t i = 0; i < STEADY_SLOTS; i++) {
        enum slot_state state = steady->slots[i].state;
        if (state == SLOT_WAITING || state == SLOT_POSTED) {
            slot_hold(steady, &steady->slots[i], -ENOTCONN);
        }
    }
    steady_note(steady, steady->breaks == 0 ? "can't be reached: " : "is lost: ", why);
}

static void attaches_fail(struct steady_peer *steady, struct fabric_sink *sink)
{
    for (uint32_t i = 0; i < steady->binding_count && !fabric_sink_full(sink); i++) {
        struct fabric_slabs_item *item = fabric_slabs_get(&steady->peer.slabs, i);
        if (item != NULL && item->state == FABRIC_SLAB_ATTACHING) {
            item->attach_left = 0;
            fabric_slabs_move(&steady->peer.slabs, i, FABRIC_SLAB_REVOKED);
            fabric_sink_put(sink, item->attach_token, -ENOTCONN);
        }
    }
}

static int try_to_connect(struct steady_peer *steady, bool once)
{
    const struct fabric_steady_times *times = &steady->config.times;
    const struct attempt_config config = {
        .endpoint = steady->config.endpoint,
        .choice = steady->config.choice,
        .connect_ms = times->connect_ms,
        .deadline_ns = once ? 0 : steady->trouble_ns + times->patience_ms * STEADY_NS_PER_MS,
        .refused_ms = once ? 0 : times->refused_ms,
        .wake_fd = steady->wake_fd};
    return attempt_open(&config, &steady->attempt);
}

/* The connection and all that it knew are gone. */
void steady_forget_link(struct steady_peer *steady)
{
    steady->link = fabric_close(steady->link);
    steady->unbound = 0;
    steady->asked = 0;
    for (uint32_t i = 0; i < STEADY_SLOTS; i++) {
        if (steady->slots[i].state == SLOT_POSTED) {
            steady->slots[i].state = SLOT_WAITING;
            steady->posted--;
            steady->waiting++;
        }
    }
    for (uint32_t i = 0; i < steady->binding_count; i++) {
        const struct fabric_slabs_item *item = fabric_slabs_get(&steady->peer.slabs, i);
        steady->bindings[i].state = BINDING_NONE;
        if (item != NULL && item->state == FABRIC_SLAB_DETACHING) {
            fabric_slabs_move(&steady->peer.slabs, i, FABRIC_SLAB_FREE);
        }
        steady->unbound += wants_binding(steady, i) ? 1 : 0;
    }
}

static void link_broke(struct steady_peer *steady, const char *why)
{
    uint64_t now_ns = sys_monotonic_ns();
    if (steady->trouble_ns == 0) {
        bool since = steady->posted + steady->asked > 0 && steady->asked_ns != 0;
        steady->trouble_ns = since ? steady->asked_ns : now_ns;
    }
    if (now_ns - steady->link_ns > STEADY_BACK_MS_MAX * STEADY_NS_PER_MS) {
        steady->back_pause_ms = 0;
    }
    steady_back_forget(steady);
    steady_forget_link(steady);
    steady->breaks++;
    steady->incarnation++;
    if (now_ns - steady->trouble_ns > steady->config.times.patience_ms * STEADY_NS_PER_MS) {
        give_up(steady, why);
        return;
    }
    steady_note(steady, why, ": connecting again");
    int error = try_to_connect(steady, false);
    if (error != 0) {
        give_up(steady, strerror(-error));
    }
}

/* Whether it is RDMA, and TCP is there instead. */
static bool may_refuse_verbs(const struct steady_peer *steady)
{
    const char *tcp_address = steady->config.endpoint.tcp_address;
    return is_verbs(steady->link) && steady->config.choice.only == NULL && tcp_address != NULL &&
           tcp_address[0] != '\0';
}

/* RDMA connects and is no use then: over TCP, until a look for it finds better. */
static void refuse_verbs(struct steady_peer *steady, const char *why)
{
    (void)snprintf(steady->reason, sizeof(steady->reason), "verbs: %s", why);
    steady_note(steady, "is reached over TCP, RDMA is no use: ", why);
    steady->verbs_refused = true;
    steady->config.choice.only = "tcp";
    steady->trouble_ns = steady->trouble_ns == 0 ? sys_monotonic_ns() : steady->trouble_ns;
    steady_forget_link(steady);
    steady->incarnation++;
    int error = try_to_connect(steady, false);
    if (error != 0) {
        give_up(steady, strerror(-error));
    }
}

int steady_prepare(const struct steady_peer *steady, struct fabric_peer *link)
{
    return steady->config.prepare == NULL ? 0
                                          : steady->config.prepare(steady->config.context, link);
}

static void connected(struct steady_peer *steady, struct fabric_peer *link)
{
    bool fell = strcmp(steady->provider.name, "verbs") == 0 && !is_verbs(link);
    steady->link = link;
    steady->link_ns = sys_monotonic_ns();
    steady->provider.name = fabric_name(link);
    int error = steady_prepare(steady, link);
    if (error != 0 && may_refuse_verbs(steady)) {
        refuse_verbs(steady, "our memory can't be registered; raise the locked-memory limit "
                             "(LimitMEMLOCK=infinity)");
        return;
    }
    /* See the head of steady.h; names are the providers' own constants. */
    if (is_verbs(link)) {
        steady->config.endpoint.shm_path = NULL;
    } else {
        steady->config.choice.only = steady->provider.name;
    }
    if (error != 0) {
        give_up(steady, strerror(-error));
        return;
    }
    if (fell) {
        steady_back_later(steady);
    }
    if (steady->breaks > 0) {
        steady_note(steady, "is connected again", fell ? ", over TCP instead of RDMA" : "");
        steady->trouble_ns = steady->unbound + steady->waiting == 0 ? 0 : steady->trouble_ns;
    }
}

static void take_attempt(struct steady_peer *steady)
{
    char reason[FABRIC_REASON_BYTES] = "";
    struct fabric_peer *link = NULL;
    uint64_t count;
    int error = attempt_take(steady->attempt, &link, reason);
    if (error == -EINPROGRESS) {
        return;
    }
    steady->attempt = NULL;
    (void)!read(steady->wake_fd, &count, sizeof(count));
    if (error != 0) {
        give_up(steady, reason);
        return;
    }
    bool other = strcmp(fabric_name(link), steady->provider.name) != 0;
    if (other && !steady->verbs_refused) {
        memcpy(steady->reason, reason, sizeof(reason));
    }
    connected(steady, link);
}

/* ---- polling ---- */

/*
 * Is this use of the slot or binding on its way? If not, the completion is a repeated one, and has
 * no effect: the first one was taken when the data had moved.
 */
static bool is_awaited(const struct steady_peer *steady, uint64_t token)
{
    uint32_t index = (uint32_t)token;
    uint32_t use = (uint32_t)(token >> USE_SHIFT);
    if ((token & ATTACH_TOKEN) != 0) {
        return index < steady->binding_count && steady->bindings[index].state == BINDING_ASKED &&
               steady->bindings[index].use == use;
    }
    return index < STEADY_SLOTS && steady->slots[index].state == SLOT_POSTED &&
           steady->slots[index].use == use;
}

static void slot_done(struct steady_peer *steady, uint32_t index, int status,
                      struct fabric_sink *sink)
{
    CHECK(index < STEADY_SLOTS);
    struct slot *slot = &steady->slots[index];
    CHECK(slot->state == SLOT_POSTED);
    struct fabric_counters *counters = &steady->peer.counters;
    counters->bytes_read += status == 0 && !slot->write ? slot->length : 0;
    counters->bytes_written += status == 0 && slot->write ? slot->length : 0;
    steady->posted--;
    fabric_sink_put(sink, slot->token, status);
    slot_free(steady, slot);
}

/* Nothing came. Whoever sleeps a second between polls must not miss it either. */
static void look_at_clock(struct steady_peer *steady)
{
    uint64_t stall_ns = steady->config.times.stall_ms * STEADY_NS_PER_MS;
    if (steady->posted + steady->asked == 0) {
        return;
    }
    uint64_t now_ns = sys_monotonic_ns();
    if (steady->asked_ns == 0) {
        steady->asked_ns = now_ns;
    } else if (now_ns - steady->asked_ns > stall_ns) {
        link_broke(steady, "does not answer");
    }
}

static void poll_link(struct steady_peer *steady, struct fabric_sink *sink)
{
    struct fabric_done done[POLL_BATCH];
    uint32_t count = fabric_poll(steady->link, done, MIN(POLL_BATCH, sink->max - sink->count));
    bool alive = fabric_alive(steady->link);
    bool progress = false;
    bool exhausted = false;
    for (uint32_t i = 0; i < count; i++) {
        bool is_attach = (done[i].token & ATTACH_TOKEN) != 0;
        if (!is_awaited(steady, done[i].token)) {
            steady->peer.counters.repeats++;
            continue;
        }
        /* How a dying connection fails things says nothing about them; a refusal does. */
        if (done[i].status == -ENOTCONN || (!alive && done[i].status == -EIO)) {
            alive = false;
            continue;
        }
        if (is_attach && done[i].status == -EIO && may_refuse_verbs(steady)) {
            exhausted = true; /* it stays asked: to be attached over TCP */
        } else if (is_attach) {
            attach_answered(steady, (uint32_t)done[i].token, done[i].status, sink);
        } else {
            progress = true;
            slot_done(steady, (uint32_t)done[i].token, done[i].status, sink);
        }
    }
    if (count > 0) {
        /* A node that knows our slabs but answers no request is still in trouble. */
        bool idle = steady->unbound + steady->asked + steady->waiting + steady->posted == 0;
        steady->asked_ns = 0;
        steady->trouble_ns = progress || idle ? 0 : steady->trouble_ns;
    }
    if (!alive) {
        link_broke(steady, "broke the connection");
    } else if (exhausted) {
        refuse_verbs(steady, "the memory node's device has no window or region left");
    } else if (count == 0) {
        look_at_clock(steady);
    }
}

static void steady_poll(struct fabric_peer *peer, struct fabric_sink *sink)
{
    struct steady_peer *steady = steady_of(peer);
    if (steady->attempt != NULL) {
        take_attempt(steady);
    }
    if (steady->back_ns != 0 && steady->link != NULL && !peer->dead) {
        steady_look_back(steady);
    }
    if (!peer->dead && steady->link != NULL) {
        bind_slabs(steady);
        post_waiting(steady);
        if (!fabric_sink_full(sink)) {
            poll_link(steady, sink);
        }
    }
    if (steady->held > 0) {
        slots_give(steady, sink);
    }
    if (peer->dead) {
        attaches_fail(steady, sink);
    }
}

static int steady_poll_fd(const struct fabric_peer *peer)
{
    const struct steady_peer *steady = steady_const(peer);
    return steady->link != NULL ? fabric_poll_fd(steady->link) : steady->wake_fd;
}

static void steady_arm(struct fabric_peer *peer)
{
    struct steady_peer *steady = steady_of(peer);
    if (steady->link != NULL) {
        fabric_arm(steady->link);
    }
}

static void steady_unregister_all(struct fabric_peer *peer)
{
    struct steady_peer *steady = steady_of(peer);
    if (steady->link != NULL) {
        fabric_unregister_all(steady->link);
    }
}

static int steady_register(struct fabric_peer *peer, void *base, uint64_t bytes)
{
    struct steady_peer *steady = steady_of(peer);
    return steady->link != NULL ? fabric_register(steady->link, base, bytes) : 0;
}

/* ---- opening and closing ---- */

static void steady_close(struct fabric_peer *peer)
{
    struct steady_peer *steady = steady_of(peer);
    steady->attempt = attempt_abandon(steady->attempt);
    steady_back_forget(steady);
    steady->link = fabric_close(steady->link);
    if (steady->wake_fd >= 0) {
        (void)close(steady->wake_fd);
    }
    fabric_texts_free(&steady->texts);
    fabric_peer_fini(peer);
    free(steady->bindings);
    free(steady);
}

int fabric_steady_open(const struct fabric_steady_config *config, struct fabric_peer **ret)
{
    struct steady_peer *steady = calloc(1, sizeof(*steady));
    if (steady == NULL) {
        return -ENOMEM;
    }
    steady->provider = (struct fabric_provider){.name = "none",
                                                .close = steady_close,
                                                .register_memory = steady_register,
                                                .unregister_all = steady_unregister_all,
                                                .attach = steady_attach,
                                                .detach = steady_detach,
                                                .post = steady_post,
                                                .poll = steady_poll,
                                                .poll_fd = steady_poll_fd,
                                                .arm = steady_arm};
    fabric_peer_init(&steady->peer, &steady->provider);
    steady->config = *config;
    for (uint32_t i = 0; i < STEADY_SLOTS; i++) {
        steady->slots[i].next_free = i + 1 < STEADY_SLOTS ? i + 1 : NO_SLOT;
    }
    steady->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = steady->wake_fd < 0 ? -EMFILE : 0;
    if (error == 0) {
        error = fabric_texts_copy(&steady->texts, &steady->config.endpoint, &steady->config.choice)
                    ? try_to_connect(steady, true)
                    : -ENOMEM;
    }
    if (error != 0) {
        steady_close(&steady->peer);
        return error;
    }
    *ret = &steady->peer;
    return 0;
}

const char *fabric_steady_reason(const struct fabric_peer *peer)
{
    return steady_const(peer)->reason;
}

enum fabric_fallback fabric_steady_fallback(const struct fabric_peer *peer)
{
    const struct steady_peer *steady = steady_const(peer);
    const char *offered = steady->config.endpoint.verbs_address;
    if (steady->reason[0] == '\0') {
        return FABRIC_FALLBACK_NONE;
    }
    bool over_rdma = steady->link != NULL && is_verbs(steady->link);
    return offered == NULL || offered[0] == '\0' || over_rdma ? FABRIC_FALLBACK_NOT_OFFERED
                                                              : FABRIC_FALLBACK_RDMA;
}

uint32_t fabric_steady_breaks(const struct fabric_peer *peer)
{
    return steady_const(peer)->breaks;
}

static bool same(const char *a, const char *b)
{
    return strcmp(a == NULL ? "" : a, b == NULL ? "" : b) == 0;
}

bool fabric_steady_is_at(const struct fabric_peer *peer, const struct fabric_endpoint *endpoint)
{
    const struct fabric_endpoint *own = &steady_const(peer)->config.endpoint;
    return same(own->host_id, endpoint->host_id) && same(own->tcp_address, endpoint->tcp_address) &&
           same(own->shm_path, endpoint->shm_path) &&
           same(own->verbs_address, endpoint->verbs_address);
}
