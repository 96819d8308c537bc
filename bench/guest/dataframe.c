/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claim dataframe: four queries over a table of MIB MiB of taxi trips, by columns: two group-bys, a
 * hash join with a table of drivers, a filter with a gather. All in integers. Arguments: MIB
 * [SEED].
 */
#include "bench/guest/bench.h"

#define ZONES        265u
#define HOURS        24u
#define DRIVERS      100000u
#define COMPANIES    64u
#define SLOTS        (1u << 18) /* of the hash table of drivers */
#define ROW_BYTES    24u
#define PAYMENT_CARD 1u
#define SPEEDS       512u

struct trips {
    uint64_t count;
    uint32_t *minute; /* of the year, when it began */
    uint32_t *driver;
    uint16_t *from;
    uint16_t *to;
    uint16_t *decametres;
    uint8_t *passengers;
    uint8_t *payment;
    int32_t *fare; /* cents */
    int32_t *tip;
};

struct driver_slot {
    uint32_t driver; /* plus 1; 0: free */
    uint32_t company;
};

struct group {
    uint64_t count;
    int64_t fare;
    int64_t tip;
};

static void make_trips(struct trips *t, uint64_t count, uint64_t *state)
{
    *t = (struct trips){.count = count,
                        .minute = bench_memory(count * 4),
                        .driver = bench_memory(count * 4),
                        .from = bench_memory(count * 2),
                        .to = bench_memory(count * 2),
                        .decametres = bench_memory(count * 2),
                        .passengers = bench_memory(count),
                        .payment = bench_memory(count),
                        .fare = bench_memory(count * 4),
                        .tip = bench_memory(count * 4)};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t a = bench_random(state);
        uint64_t b = bench_random(state);
        uint32_t zones = (a & 3) == 0 ? ZONES : 40; /* most trips are in the centre */
        t->minute[i] = (uint32_t)(i * 525600 / count);
        t->driver[i] = (uint32_t)(b % DRIVERS);
        t->from[i] = (uint16_t)((a >> 8) % zones);
        t->to[i] = (uint16_t)((a >> 24) % zones);
        t->decametres[i] = (uint16_t)(50 + (a >> 40) % 2000);
        t->passengers[i] = (uint8_t)(1 + (b >> 20) % 6);
        t->payment[i] = (uint8_t)((b >> 24) % 4);
        t->fare[i] = 300 + t->decametres[i] + (int32_t)((b >> 32) % 500);
        t->tip[i] = t->payment[i] == PAYMENT_CARD ? t->fare[i] / (int32_t)(4 + (b >> 50) % 8) : 0;
    }
}

static void *zeroed(uint64_t bytes)
{
    return bench_memory(bytes); /* anonymous memory is */
}

static uint64_t sum_groups(const struct group *groups, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum = bench_mix(sum, groups[i].count);
        sum = bench_mix(sum, (uint64_t)groups[i].fare);
        sum = bench_mix(sum, (uint64_t)groups[i].tip);
    }
    return sum;
}

/* select from, hour, count(*), sum(fare), sum(tip) group by from, hour */
static uint64_t by_zone_and_hour(const struct trips *t)
{
    struct group *groups = zeroed(ZONES * HOURS * sizeof(*groups));
    for (uint64_t i = 0; i < t->count; i++) {
        struct group *group = &groups[t->from[i] * HOURS + t->minute[i] / 60 % HOURS];
        group->count++;
        group->fare += t->fare[i];
        group->tip += t->tip[i];
    }
    return sum_groups(groups, ZONES * HOURS);
}

/* select from, to, count(*), sum(fare), sum(tip) where payment = card group by from, to */
static uint64_t by_route(const struct trips *t)
{
    struct group *groups = zeroed(ZONES * ZONES * sizeof(*groups));
    for (uint64_t i = 0; i < t->count; i++) {
        if (t->payment[i] == PAYMENT_CARD) {
            struct group *group = &groups[t->from[i] * ZONES + t->to[i]];
            group->count++;
            group->fare += t->fare[i];
            group->tip += t->tip[i];
        }
    }
    return sum_groups(groups, ZONES * ZONES);
}

static uint32_t slot_of(uint32_t driver)
{
    return (uint32_t)(driver * UINT64_C(0x9e3779b97f4a7c15) >> 40) % SLOTS;
}

static struct driver_slot *make_drivers(void)
{
    struct driver_slot *slots = zeroed(SLOTS * sizeof(*slots));
    for (uint32_t driver = 0; driver < DRIVERS; driver++) {
        uint32_t at = slot_of(driver);
        while (slots[at].driver != 0) {
            at = (at + 1) % SLOTS;
        }
        slots[at] =
            (struct driver_slot){.driver = driver + 1, .company = driver * 2654435761u % COMPANIES};
    }
    return slots;
}

/* select company, count(*), sum(fare), sum(tip) join drivers using (driver) group by company */
static uint64_t by_company(const struct trips *t)
{
    struct driver_slot *slots = make_drivers();
    struct group groups[COMPANIES] = {{0}};
    for (uint64_t i = 0; i < t->count; i++) {
        uint32_t at = slot_of(t->driver[i]);
        while (slots[at].driver != t->driver[i] + 1) {
            at = (at + 1) % SLOTS;
        }
        struct group *group = &groups[slots[at].company];
        group->count++;
        group->fare += t->fare[i];
        group->tip += t->tip[i];
    }
    return sum_groups(groups, COMPANIES);
}

/* with full as (select row where passengers > 4) select fare / km, count(*) from full group by 1 */
static uint64_t by_price(const struct trips *t)
{
    uint32_t *rows = bench_memory(t->count * sizeof(*rows));
    uint64_t count = 0;
    for (uint64_t i = 0; i < t->count; i++) {
        rows[count] = (uint32_t)i;
        count += t->passengers[i] > 4;
    }
    uint64_t prices[SPEEDS] = {0};
    for (uint64_t i = 0; i < count; i++) {
        uint64_t price = (uint64_t)t->fare[rows[i]] * 100 / t->decametres[rows[i]];
        prices[price < SPEEDS ? price : SPEEDS - 1]++;
    }
    uint64_t sum = count;
    for (uint32_t i = 0; i < SPEEDS; i++) {
        sum = bench_mix(sum, prices[i]);
    }
    return sum;
}

int main(int argc, char **argv)
{
    static uint64_t (*const queries[])(const struct trips *t) = {by_zone_and_hour, by_route,
                                                                 by_company, by_price};
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t state = argc > 2 ? strtoull(argv[2], NULL, 10) * 2 + 1 : 1;
    if (mib == 0) {
        bench_die(BENCH_USAGE, "usage: dataframe MIB [SEED]");
    }
    struct trips trips;
    make_trips(&trips, mib * BENCH_MIB / ROW_BYTES, &state);
    uint64_t checksum = 0;
    uint64_t count = sizeof(queries) / sizeof(queries[0]);
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        checksum = bench_mix(checksum, queries[i](&trips));
    }
    bench_result(trips.count * count, bench_now_ns() - start_ns, checksum);
    return 0;
}
