/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the graph of pagerank and betweenness, on the host: a Kronecker graph with the initiator of
 * Graph 500 (A 0.57, B 0.19, C 0.19), vertices renamed by a bijection, loops and double edges taken
 * out. Arguments: FILE SCALE EDGES_PER_VERTEX [SEED].
 */
#include <stdbool.h>
#include <string.h>

#include "bench/guest/bench.h"
#include "bench/guest/graph.h"

#define SCALE_MAX  22u
#define FACTOR_MAX 128u

struct edge {
    uint32_t from;
    uint32_t to;
};

/* An odd factor and a xor by a shift are both bijections of [0, 2^scale). */
static uint32_t rename_vertex(uint32_t vertex, uint32_t scale)
{
    uint32_t mask = (1u << scale) - 1;
    vertex = vertex * 0x9e3779b1u & mask;
    vertex ^= vertex >> (scale / 2);
    return vertex * 0x85ebca6bu & mask;
}

static struct edge random_edge(uint32_t scale, uint64_t *state)
{
    struct edge e = {0, 0};
    for (uint32_t i = 0; i < scale; i++) {
        uint32_t dice = (uint32_t)(bench_random(state) >> 33) % 100;
        e.from = e.from << 1 | (dice >= 76 ? 1 : 0);
        e.to = e.to << 1 | ((dice >= 57 && dice < 76) || dice >= 95 ? 1 : 0);
    }
    return (struct edge){rename_vertex(e.from, scale), rename_vertex(e.to, scale)};
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void count_up(struct graph *g, const struct edge *edges, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        g->offsets[edges[i].from + 1]++;
        g->offsets[edges[i].to + 1]++;
    }
    for (uint64_t v = 0; v < g->vertices; v++) {
        g->offsets[v + 1] += g->offsets[v];
    }
}

static void scatter(struct graph *g, const struct edge *edges, uint64_t count)
{
    uint32_t *next = bench_memory(g->vertices * sizeof(*next));
    memcpy(next, g->offsets, g->vertices * sizeof(*next));
    for (uint64_t i = 0; i < count; i++) {
        g->neighbours[next[edges[i].from]++] = edges[i].to;
        g->neighbours[next[edges[i].to]++] = edges[i].from;
    }
    (void)munmap(next, g->vertices * sizeof(*next));
}

/* Sorts each row and takes out what is double or a loop. */
static void tidy(struct graph *g)
{
    uint64_t kept = 0;
    uint64_t start = 0;
    for (uint64_t v = 0; v < g->vertices; v++) {
        uint64_t end = g->offsets[v + 1];
        uint64_t row = kept;
        qsort(&g->neighbours[start], end - start, sizeof(*g->neighbours), compare);
        for (uint64_t i = start; i < end; i++) {
            uint32_t neighbour = g->neighbours[i];
            if (neighbour != v && (kept == row || g->neighbours[kept - 1] != neighbour)) {
                g->neighbours[kept++] = neighbour;
            }
        }
        start = end;
        g->offsets[v + 1] = (uint32_t)kept;
    }
    g->edges = kept;
}

static bool save(const struct graph *g, const char *path)
{
    struct graph_header header = {GRAPH_MAGIC, g->vertices, g->edges};
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        return false;
    }
    bool good = fwrite(&header, sizeof(header), 1, file) == 1 &&
                fwrite(g->offsets, 4, g->vertices + 1, file) == g->vertices + 1 &&
                fwrite(g->neighbours, 4, g->edges, file) == g->edges;
    return fclose(file) == 0 && good;
}

int main(int argc, char **argv)
{
    uint32_t scale = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    uint64_t factor = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    uint64_t state = argc > 4 ? strtoull(argv[4], NULL, 10) * 2 + 1 : 1;
    if (scale == 0 || scale > SCALE_MAX || factor == 0 || factor > FACTOR_MAX) {
        bench_die(BENCH_USAGE, "usage: kronecker FILE SCALE EDGES_PER_VERTEX [SEED]");
    }
    struct graph g = {.vertices = UINT64_C(1) << scale};
    uint64_t count = g.vertices * factor;
    struct edge *edges = bench_memory(count * sizeof(*edges));
    for (uint64_t i = 0; i < count; i++) {
        edges[i] = random_edge(scale, &state);
    }
    g.offsets = bench_memory((g.vertices + 1) * sizeof(*g.offsets));
    g.neighbours = bench_memory(2 * count * sizeof(*g.neighbours));
    count_up(&g, edges, count);
    scatter(&g, edges, count);
    tidy(&g);
    if (!save(&g, argv[1])) {
        perror(argv[1]);
        return 1;
    }
    printf("{\"vertices\": %llu, \"edges\": %llu}\n", (unsigned long long)g.vertices,
           (unsigned long long)g.edges);
    return 0;
}
