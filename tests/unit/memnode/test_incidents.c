/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/incidents.h"

#include "lib/base/check.h"
#include "tests/tap.h"

#define NS_PER_MS 1000000ull
#define START_NS  (3600000 * NS_PER_MS)

static void add(struct incidents *incidents, const char *instance, uint32_t slab)
{
    incidents_add(incidents, INCIDENT_WRONG_KEY, "tcp", instance, slab, "10.0.0.1:5");
}

static void test_told_once_then_after_a_minute(void)
{
    struct incidents *incidents;
    struct incident incident;
    uint32_t ticket;
    uint64_t now_ns = START_NS;
    CHECK(incidents_open(&incidents) == 0);
    EXPECT(!incidents_next(incidents, now_ns, &incident, &ticket));
    add(incidents, "i1", 3);
    add(incidents, "i1", 3);
    EXPECT(incidents_next(incidents, now_ns, &incident, &ticket));
    EXPECT_EQ(incident.kind, INCIDENT_WRONG_KEY);
    EXPECT_EQ(incident.slab, 3);
    EXPECT_EQ(incident.count, 2);
    EXPECT_STR(incident.instance, "i1");
    EXPECT_STR(incident.peer, "10.0.0.1:5");
    add(incidents, "i1", 3); /* while it is being told */
    uint32_t other;
    EXPECT(!incidents_next(incidents, now_ns, &incident, &other));
    incidents_told(incidents, ticket, now_ns, true);
    EXPECT(!incidents_next(incidents, now_ns + 1000 * NS_PER_MS, &incident, &ticket));
    now_ns += INCIDENTS_AGAIN_MS * NS_PER_MS;
    EXPECT(incidents_next(incidents, now_ns, &incident, &ticket));
    EXPECT_EQ(incident.count, 1);
    incidents_told(incidents, ticket, now_ns, true);
    EXPECT(!incidents_next(incidents, 2 * now_ns, &incident, &ticket));
    EXPECT_EQ(incidents_count(incidents), 3);
    (void)incidents_close(incidents);
}

/* What did not arrive is told again, whole. */
static void test_lost_is_told_again(void)
{
    struct incidents *incidents;
    struct incident incident;
    uint32_t ticket;
    CHECK(incidents_open(&incidents) == 0);
    add(incidents, "", INCIDENTS_ANY_SLAB);
    EXPECT(incidents_next(incidents, START_NS, &incident, &ticket));
    incidents_told(incidents, ticket, START_NS, false);
    EXPECT(incidents_next(incidents, START_NS, &incident, &ticket));
    EXPECT_EQ(incident.count, 1);
    EXPECT_EQ(incident.slab, INCIDENTS_ANY_SLAB);
    (void)incidents_close(incidents);
}

/* Whoever tries every slab and every name makes a burst, then an event every few seconds. */
static void test_no_flood(void)
{
    struct incidents *incidents;
    struct incident incident;
    uint32_t ticket;
    uint32_t told = 0;
    CHECK(incidents_open(&incidents) == 0);
    for (uint32_t i = 0; i < 60000; i++) {
        uint64_t now_ns = START_NS + i * NS_PER_MS;
        add(incidents, i % 2 == 0 ? "a" : "b", i);
        while (incidents_next(incidents, now_ns, &incident, &ticket)) {
            incidents_told(incidents, ticket, now_ns, true);
            told++;
        }
    }
    EXPECT(told >= INCIDENTS_BURST);
    EXPECT(told <= INCIDENTS_BURST + 60000 / INCIDENTS_PAUSE_MS);
    EXPECT_EQ(incidents_count(incidents), 60000);
    (void)incidents_close(incidents);
}

int main(void)
{
    TAP_RUN(test_told_once_then_after_a_minute);
    TAP_RUN(test_lost_is_told_again);
    TAP_RUN(test_no_flood);
    return tap_done();
}
