/* SPDX-License-Identifier: Apache-2.0 */
/* The graph of claims pagerank and betweenness, undirected, each edge in both rows; sorted rows. */
#ifndef DILOS_BENCH_GUEST_GRAPH_H
#define DILOS_BENCH_GUEST_GRAPH_H

#include <stdint.h>

#define GRAPH_MAGIC UINT64_C(0x3148504152474c44)

/* The file: this header, offsets[vertices + 1], neighbours[edges]; little endian. */
struct graph_header {
    uint64_t magic;
    uint64_t vertices;
    uint64_t edges;
};

struct graph {
    uint64_t vertices;
    uint64_t edges;
    uint32_t *offsets;
    uint32_t *neighbours;
};

#endif
