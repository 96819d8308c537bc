/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims pagerank and betweenness, with OpenMP, over a graph that kronecker.c made. Arguments:
 *   pagerank FILE ITERATIONS     pull, ranks in fixed point
 *   betweenness FILE SOURCES     Brandes: a breadth-first search and the way back, for each source
 * The result is the same for any number of threads: sums over vertices are of integers, and a
 * vertex adds up fractions of its neighbours in the order of its row.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench/guest/bench.h"
#include "bench/guest/graph.h"

#define READ_BYTES BENCH_MIB
#define CHUNK      1024
#define UNSEEN     UINT32_MAX
#define RANK_TOTAL (UINT64_C(1) << 52)
#define DAMPING    870u /* of 1024 */

static void read_all(int fd, void *to, uint64_t bytes)
{
    uint64_t done = 0;
    while (done < bytes) {
        uint64_t left = bytes - done;
        ssize_t n = read(fd, (uint8_t *)to + done, left < READ_BYTES ? left : READ_BYTES);
        if (n <= 0) {
            bench_die(BENCH_WRONG, "the graph's file ends too early");
        }
        done += (uint64_t)n;
    }
}

static void load(struct graph *g, const char *path)
{
    struct graph_header header;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    read_all(fd, &header, sizeof(header));
    if (header.magic != GRAPH_MAGIC) {
        bench_die(BENCH_WRONG, "this is no graph");
    }
    g->vertices = header.vertices;
    g->edges = header.edges;
    g->offsets = bench_memory((g->vertices + 1) * sizeof(*g->offsets));
    g->neighbours = bench_memory(g->edges * sizeof(*g->neighbours));
    read_all(fd, g->offsets, (g->vertices + 1) * sizeof(*g->offsets));
    read_all(fd, g->neighbours, g->edges * sizeof(*g->neighbours));
    (void)close(fd);
}

/* ---- pagerank */

static void spread(const struct graph *g, const uint64_t *ranks, uint64_t *shares)
{
#pragma omp parallel for schedule(static)
    for (uint64_t v = 0; v < g->vertices; v++) {
        uint32_t degree = g->offsets[v + 1] - g->offsets[v];
        shares[v] = degree == 0 ? 0 : ranks[v] / degree;
    }
}

static void gather(const struct graph *g, const uint64_t *shares, uint64_t *ranks)
{
    uint64_t base = RANK_TOTAL / g->vertices * (1024 - DAMPING) / 1024;
#pragma omp parallel for schedule(dynamic, CHUNK)
    for (uint64_t v = 0; v < g->vertices; v++) {
        uint64_t sum = 0;
        for (uint32_t i = g->offsets[v]; i < g->offsets[v + 1]; i++) {
            sum += shares[g->neighbours[i]];
        }
        ranks[v] = base + sum / 1024 * DAMPING;
    }
}

static uint64_t pagerank(const struct graph *g, uint64_t iterations, uint64_t *ret_ns)
{
    uint64_t *ranks = bench_memory(g->vertices * sizeof(*ranks));
    uint64_t *shares = bench_memory(g->vertices * sizeof(*shares));
    for (uint64_t v = 0; v < g->vertices; v++) {
        ranks[v] = RANK_TOTAL / g->vertices;
    }
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < iterations; i++) {
        spread(g, ranks, shares);
        gather(g, shares, ranks);
    }
    *ret_ns = bench_now_ns() - start_ns;
    uint64_t checksum = 0;
    for (uint64_t v = 0; v < g->vertices; v++) {
        checksum = bench_mix(checksum, ranks[v]);
    }
    return checksum;
}

/* ---- betweenness */

struct search {
    const struct graph *graph;
    uint32_t *depth;   /* of each vertex from the source */
    uint64_t *paths;   /* shortest ones from the source */
    double *dependent; /* Brandes' delta */
};

/* A level is found by going through all depths: rows are then read in their order in memory. */
static void visit(const struct search *s, uint64_t v, uint64_t *found)
{
    const struct graph *g = s->graph;
    uint64_t paths = s->paths[v];
    uint32_t below = s->depth[v] + 1;
    for (uint32_t i = g->offsets[v]; i < g->offsets[v + 1]; i++) {
        uint32_t u = g->neighbours[i];
        uint32_t depth = __atomic_load_n(&s->depth[u], __ATOMIC_RELAXED);
        if (depth == UNSEEN) {
            __atomic_store_n(&s->depth[u], below, __ATOMIC_RELAXED); /* as others might */
            ++*found;
        }
        if (depth == UNSEEN || depth == below) {
            (void)__atomic_fetch_add(&s->paths[u], paths, __ATOMIC_RELAXED);
        }
    }
}

/* Returns how many levels there are. */
static uint32_t search_forward(const struct search *s, uint32_t source)
{
    uint64_t vertices = s->graph->vertices;
    memset(s->depth, 0xff, vertices * sizeof(*s->depth));
    memset(s->paths, 0, vertices * sizeof(*s->paths));
    s->depth[source] = 0;
    s->paths[source] = 1;
    uint64_t found = 1;
    uint32_t level = 0;
    for (; found > 0; level++) {
        found = 0;
#pragma omp parallel for schedule(dynamic, CHUNK) reduction(+ : found)
        for (uint64_t v = 0; v < vertices; v++) {
            if (__atomic_load_n(&s->depth[v], __ATOMIC_RELAXED) == level) {
                visit(s, v, &found);
            }
        }
    }
    return level;
}

static void search_back(const struct search *s, uint32_t level, double *scores)
{
    const struct graph *g = s->graph;
#pragma omp parallel for schedule(dynamic, CHUNK)
    for (uint64_t v = 0; v < g->vertices; v++) {
        if (s->depth[v] != level) {
            continue;
        }
        double sum = 0;
        for (uint32_t i = g->offsets[v]; i < g->offsets[v + 1]; i++) {
            uint32_t u = g->neighbours[i];
            if (s->depth[u] == level + 1) {
                sum += (double)s->paths[v] / (double)s->paths[u] * (1 + s->dependent[u]);
            }
        }
        s->dependent[v] = sum;
        scores[v] += sum;
    }
}

static uint64_t betweenness(const struct graph *g, uint64_t sources, uint64_t *ret_ns)
{
    struct search s = {.graph = g,
                       .depth = bench_memory(g->vertices * sizeof(*s.depth)),
                       .paths = bench_memory(g->vertices * sizeof(*s.paths)),
                       .dependent = bench_memory(g->vertices * sizeof(*s.dependent))};
    double *scores = bench_memory(g->vertices * sizeof(*scores));
    uint64_t state = 1;
    uint32_t levels = 0;
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < sources; i++) {
        uint32_t source;
        do {
            source = (uint32_t)((bench_random(&state) >> 20) % g->vertices);
        } while (g->offsets[source] == g->offsets[source + 1]);
        levels = search_forward(&s, source);
        for (uint32_t level = levels; level-- > 0;) {
            search_back(&s, level, scores);
        }
    }
    *ret_ns = bench_now_ns() - start_ns;
    uint64_t checksum = levels;
    for (uint64_t v = 0; v < g->vertices; v++) {
        uint64_t bits;
        memcpy(&bits, &scores[v], sizeof(bits));
        checksum = bench_mix(checksum, bits);
    }
    return checksum;
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    struct graph g;
    uint64_t ns;
    uint64_t checksum;
    if (rounds == 0) {
        bench_die(BENCH_USAGE, "usage: graph pagerank|betweenness FILE ROUNDS");
    }
    load(&g, argv[2]);
    if (strcmp(argv[1], "pagerank") == 0) {
        checksum = pagerank(&g, rounds, &ns);
    } else if (strcmp(argv[1], "betweenness") == 0) {
        checksum = betweenness(&g, rounds, &ns);
    } else {
        bench_die(BENCH_USAGE, "there is no such claim");
    }
    bench_result(g.edges * rounds, ns, checksum);
    return 0;
}
