/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests (fabric_test.h): passes everything on to another peer, and makes trouble on the way.
 * What it fails or kills doesn't touch the caller's segments afterwards.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/fabric_test.h"
#include "lib/fabric/provider.h"

#define SLOTS     256u
#define POLL_MAX  32u
#define NO_ATTACH UINT32_MAX
#define GIVEN_MAX 32u

enum slot_state {
    SLOT_FREE,
    SLOT_POSTED, /* with the inner peer */
    SLOT_HELD,   /* has its status, waits for its turn */
};

struct slot {
    enum slot_state state;
    uint64_t token;
    uint32_t attach; /* the slab that it attaches, or NO_ATTACH */
    int status;
    uint32_t polls_left;
};

struct trouble_peer {
    struct fabric_peer peer;
    struct fabric_peer *inner; /* NULL once dead */
    struct fabric_provider provider;
    struct fabric_trouble plan;
    uint64_t random;
    uint64_t request_count;
    int wake_fd; /* always readable: whoever sleeps polls again */
    struct slot slots[SLOTS];
    struct fabric_done given[GIVEN_MAX]; /* the last completions */
    uint32_t given_count;
    uint32_t inner_slabs[FABRIC_SLABS_MAX];
};

static struct trouble_peer *trouble_of(struct fabric_peer *peer)
{
    return container_of(peer, struct trouble_peer, peer);
}

/* xorshift64* */
static uint32_t draw(struct trouble_peer *trouble, uint32_t below)
{
    trouble->random ^= trouble->random >> 12;
    trouble->random ^= trouble->random << 25;
    trouble->random ^= trouble->random >> 27;
    return (uint32_t)((trouble->random * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % below;
}

static bool happens(struct trouble_peer *trouble, uint32_t permille)
{
    return permille != 0 && draw(trouble, 1000) < permille;
}

static struct slot *slot_take(struct trouble_peer *trouble, uint64_t token, uint32_t attach)
{
    for (uint32_t i = 0; i < SLOTS; i++) {
        struct slot *slot = &trouble->slots[i];
        if (slot->state == SLOT_FREE) {
            *slot = (struct slot){.state = SLOT_POSTED, .token = token, .attach = attach};
            return slot;
        }
    }
    return NULL;
}

static void slot_hold(struct trouble_peer *trouble, struct slot *slot, int status)
{
    CHECK(slot->state == SLOT_POSTED);
    slot->state = SLOT_HELD;
    slot->status = status;
    slot->polls_left = 0;
    if (trouble->plan.delay_polls_max != 0 && happens(trouble, trouble->plan.delay_permille)) {
        slot->polls_left = 1 + draw(trouble, trouble->plan.delay_polls_max);
    }
}

static void die(struct trouble_peer *trouble)
{
    trouble->peer.dead = true;
    trouble->inner = fabric_close(trouble->inner);
    for (uint32_t i = 0; i < SLOTS; i++) {
        if (trouble->slots[i].state == SLOT_POSTED) {
            slot_hold(trouble, &trouble->slots[i], -ENOTCONN);
        }
    }
}

static int trouble_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t slab)
{
    struct trouble_peer *trouble = trouble_of(peer);
    struct slot *slot = slot_take(trouble, peer->slabs.items[slab]->attach_token, slab);
    if (slot == NULL) {
        return -EAGAIN;
    }
    int error = fabric_attach(trouble->inner, grant, (uint64_t)(slot - trouble->slots),
                              &trouble->inner_slabs[slab]);
    if (error != 0) {
        slot->state = SLOT_FREE;
    }
    return error;
}

static void trouble_detach(struct fabric_peer *peer, uint32_t slab)
{
    struct trouble_peer *trouble = trouble_of(peer);
    if (trouble->inner != NULL) {
        fabric_detach(trouble->inner, trouble->inner_slabs[slab]);
    }
    fabric_slabs_move(&peer->slabs, slab, FABRIC_SLAB_FREE);
}

static int trouble_post(struct fabric_peer *peer, const struct fabric_request *request)
{
    struct trouble_peer *trouble = trouble_of(peer);
    if (happens(trouble, trouble->plan.busy_permille)) {
        return -EAGAIN;
    }
    struct slot *slot = slot_take(trouble, request->token, NO_ATTACH);
    if (slot == NULL) {
        return -EAGAIN;
    }
    trouble->request_count++;
    if (happens(trouble, trouble->plan.fail_permille)) {
        slot_hold(trouble, slot, -EIO);
        return 0;
    }
    uint64_t token = (uint64_t)(slot - trouble->slots);
    uint32_t slab = trouble->inner_slabs[request->slab];
    int error = request->write ? fabric_write(trouble->inner, slab, request->offset,
                                              request->segments, request->segment_count, token)
                               : fabric_read(trouble->inner, slab, request->offset,
                                             request->segments, request->segment_count, token);
    if (error != 0) {
        slot->state = SLOT_FREE;
    }
    return error;
}

static void slot_complete(struct trouble_peer *trouble, struct slot *slot, struct fabric_sink *sink)
{
    if (slot->attach != NO_ATTACH) {
        fabric_slabs_move(&trouble->peer.slabs, slot->attach,
                          slot->status == 0 ? FABRIC_SLAB_READY : FABRIC_SLAB_REVOKED);
    }
    slot->state = SLOT_FREE;
    trouble->given[trouble->given_count++ % GIVEN_MAX] =
        (struct fabric_done){.token = slot->token, .status = slot->status};
    fabric_sink_put(sink, slot->token, slot->status);
}

/* An earlier completion once more. */
static void repeat(struct trouble_peer *trouble, struct fabric_sink *sink)
{
    uint32_t known = MIN(trouble->given_count, GIVEN_MAX);
    if (known != 0 && !fabric_sink_full(sink) && happens(trouble, trouble->plan.repeat_permille)) {
        struct fabric_done done = trouble->given[draw(trouble, known)];
        fabric_sink_put(sink, done.token, done.status);
    }
}

static void trouble_poll(struct fabric_peer *peer, struct fabric_sink *sink)
{
    struct trouble_peer *trouble = trouble_of(peer);
    struct fabric_done done[POLL_MAX];
    uint32_t count = peer->dead ? 0 : fabric_poll(trouble->inner, done, POLL_MAX);
    for (uint32_t i = 0; i < count; i++) {
        CHECK(done[i].token < SLOTS);
        slot_hold(trouble, &trouble->slots[done[i].token], done[i].status);
    }
    bool over = trouble->plan.die_after_requests != 0 &&
                trouble->request_count >= trouble->plan.die_after_requests;
    if (!peer->dead && (over || !fabric_alive(trouble->inner))) {
        die(trouble);
    }
    for (uint32_t i = 0; i < SLOTS && !fabric_sink_full(sink); i++) {
        struct slot *slot = &trouble->slots[i];
        if (slot->state == SLOT_HELD && slot->polls_left == 0) {
            slot_complete(trouble, slot, sink);
        } else if (slot->state == SLOT_HELD) {
            slot->polls_left--;
        }
    }
    repeat(trouble, sink);
}

static void trouble_arm(struct fabric_peer *peer)
{
    struct trouble_peer *trouble = trouble_of(peer);
    if (trouble->inner != NULL) {
        fabric_arm(trouble->inner);
    }
}

static int trouble_register(struct fabric_peer *peer, void *base, uint64_t bytes)
{
    struct trouble_peer *trouble = trouble_of(peer);
    return trouble->inner == NULL ? 0 : fabric_register(trouble->inner, base, bytes);
}

static void trouble_unregister_all(struct fabric_peer *peer)
{
    struct trouble_peer *trouble = trouble_of(peer);
    if (trouble->inner != NULL) {
        fabric_unregister_all(trouble->inner);
    }
}

static int trouble_poll_fd(const struct fabric_peer *peer)
{
    return container_of(peer, const struct trouble_peer, peer)->wake_fd;
}

static void trouble_close(struct fabric_peer *peer)
{
    struct trouble_peer *trouble = trouble_of(peer);
    trouble->inner = fabric_close(trouble->inner);
    if (trouble->wake_fd >= 0) {
        (void)close(trouble->wake_fd);
    }
    fabric_peer_fini(peer);
    free(trouble);
}

int fabric_trouble_wrap(struct fabric_peer *inner, const struct fabric_trouble *plan,
                        struct fabric_peer **ret)
{
    struct trouble_peer *trouble = calloc(1, sizeof(*trouble));
    int wake_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (trouble == NULL || wake_fd < 0) {
        free(trouble);
        if (wake_fd >= 0) {
            (void)close(wake_fd);
        }
        (void)fabric_close(inner);
        return -ENOMEM;
    }
    trouble->provider = (struct fabric_provider){
        .name = fabric_name(inner),
        .close = trouble_close,
        .register_memory = trouble_register,
        .unregister_all = trouble_unregister_all,
        .attach = trouble_attach,
        .detach = trouble_detach,
        .post = trouble_post,
        .poll = trouble_poll,
        .poll_fd = trouble_poll_fd,
        .arm = trouble_arm,
    };
    fabric_peer_init(&trouble->peer, &trouble->provider);
    trouble->inner = inner;
    trouble->plan = *plan;
    trouble->random = plan->seed | 1;
    trouble->wake_fd = wake_fd;
    *ret = &trouble->peer;
    return 0;
}
