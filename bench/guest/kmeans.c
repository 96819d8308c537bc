/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claim kmeans: Lloyd's iterations over MIB MiB of points. Coordinates are integers and sums exact,
 * so that the result is the same whatever the order. Arguments: MIB ITERATIONS [SEED].
 */
#include <string.h>

#include "bench/guest/bench.h"

#define DIMENSIONS 8
#define CLUSTERS   6
#define SPREAD     4096

struct centers {
    int32_t at[CLUSTERS][DIMENSIONS];
};

static void make_points(int16_t *points, uint64_t count, uint64_t *state)
{
    for (uint64_t i = 0; i < count * DIMENSIONS; i += 4) {
        uint64_t random = bench_random(state);
        /* Three quarters gather around one of four places, the rest lies anywhere. */
        for (uint64_t j = 0; j < 4; j++) {
            uint64_t part = random >> (16 * j);
            uint64_t value = (part & 3) == 0 ? part >> 4 : ((part >> 2) & 3) * 1024 + (part >> 8);
            points[i + j] = (int16_t)(value % SPREAD);
        }
    }
}

static uint32_t nearest(const int16_t *point, const struct centers *centers)
{
    uint32_t best = 0;
    int32_t best_distance = INT32_MAX;
    for (uint32_t c = 0; c < CLUSTERS; c++) {
        int32_t distance = 0;
        for (uint32_t d = 0; d < DIMENSIONS; d++) {
            int32_t difference = point[d] - centers->at[c][d];
            distance += difference * difference;
        }
        if (distance < best_distance) {
            best_distance = distance;
            best = c;
        }
    }
    return best;
}

static uint64_t iterate(const int16_t *points, uint64_t count, struct centers *centers)
{
    int64_t sums[CLUSTERS][DIMENSIONS] = {{0}};
    int64_t members[CLUSTERS] = {0};
    for (uint64_t i = 0; i < count; i++) {
        const int16_t *point = &points[i * DIMENSIONS];
        uint32_t c = nearest(point, centers);
        members[c]++;
        for (uint32_t d = 0; d < DIMENSIONS; d++) {
            sums[c][d] += point[d];
        }
    }
    uint64_t checksum = 0;
    for (uint32_t c = 0; c < CLUSTERS; c++) {
        checksum = bench_mix(checksum, (uint64_t)members[c]);
        for (uint32_t d = 0; d < DIMENSIONS && members[c] > 0; d++) {
            centers->at[c][d] = (int32_t)(sums[c][d] / members[c]);
            checksum = bench_mix(checksum, (uint64_t)sums[c][d]);
        }
    }
    return checksum;
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    uint64_t iterations = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
    uint64_t state = argc > 3 ? strtoull(argv[3], NULL, 10) * 2 + 1 : 1;
    if (mib == 0 || iterations == 0) {
        bench_die(BENCH_USAGE, "usage: kmeans MIB ITERATIONS [SEED]");
    }
    uint64_t count = mib * BENCH_MIB / sizeof(int16_t) / DIMENSIONS;
    int16_t *points = bench_memory(count * DIMENSIONS * sizeof(*points));
    make_points(points, count, &state);
    struct centers centers;
    for (uint32_t c = 0; c < CLUSTERS; c++) {
        for (uint32_t d = 0; d < DIMENSIONS; d++) {
            centers.at[c][d] = points[count / CLUSTERS * c * DIMENSIONS + d];
        }
    }
    uint64_t checksum = 0;
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < iterations; i++) {
        checksum = bench_mix(checksum, iterate(points, count, &centers));
    }
    bench_result(count * iterations, bench_now_ns() - start_ns, checksum);
    return 0;
}
