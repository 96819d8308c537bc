/* SPDX-License-Identifier: Apache-2.0 */
/* The way back from TCP to RDMA. */
#include <errno.h>
#include <unistd.h>

#include "lib/fabric/steady_peer.h"
#include "lib/sys/sys.h"

void steady_back_forget(struct steady_peer *steady)
{
    steady->way_back = attempt_abandon(steady->way_back);
    steady->next = fabric_close(steady->next);
}

void steady_back_later(struct steady_peer *steady)
{
    /* Each try that ends in a refusal attaches every slab twice. */
    uint32_t most_ms = steady->verbs_refused ? STEADY_BACK_REFUSED_MS_MAX : STEADY_BACK_MS_MAX;
    uint32_t pause_ms = MAX(STEADY_BACK_MS_MIN, MIN(2 * steady->back_pause_ms, most_ms));
    steady->back_pause_ms = pause_ms;
    steady->back_ns = sys_monotonic_ns() + pause_ms * STEADY_NS_PER_MS;
}

static void back_try(struct steady_peer *steady)
{
    struct attempt_config config = {.endpoint = steady->config.endpoint,
                                    .choice = steady->config.choice,
                                    .connect_ms = steady->config.times.connect_ms,
                                    .wake_fd = steady->wake_fd};
    config.choice.only = "verbs";
    if (attempt_open(&config, &steady->way_back) != 0) {
        steady_back_later(steady);
    }
}

static void back_take(struct steady_peer *steady)
{
    char reason[FABRIC_REASON_BYTES] = "";
    uint64_t count;
    int error = attempt_take(steady->way_back, &steady->next, reason);
    if (error == -EINPROGRESS) {
        return;
    }
    steady->way_back = NULL;
    (void)!read(steady->wake_fd, &count, sizeof(count));
    if (error != 0) {
        steady_back_later(steady);
    }
}

/*
 * Every request over TCP is answered and every slab in use is attached there, so no connection
 * before it carries anything for them either: nothing can arrive after what RDMA does.
 */
static void back_switch(struct steady_peer *steady)
{
    struct fabric_peer *next = steady->next;
    steady->next = NULL;
    if (!fabric_alive(next) || steady_prepare(steady, next) != 0) {
        (void)fabric_close(next);
        steady_back_later(steady);
        return;
    }
    steady_forget_link(steady);
    steady->incarnation++;
    steady->link = next;
    steady->link_ns = sys_monotonic_ns();
    steady->provider.name = fabric_name(next);
    steady->config.choice.only = NULL;
    steady->verbs_refused = false;
    steady->back_ns = 0;
    steady->reason[0] = '\0';
    steady_note(steady, "is reached over RDMA again", "");
}

void steady_look_back(struct steady_peer *steady)
{
    if (steady->next != NULL) {
        if (steady->posted + steady->asked + steady->unbound == 0) {
            back_switch(steady);
        }
    } else if (steady->way_back != NULL) {
        back_take(steady);
    } else if (sys_monotonic_ns() > steady->back_ns) {
        back_try(steady);
    }
}
