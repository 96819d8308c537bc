/* SPDX-License-Identifier: Apache-2.0 */
/* A network between a client and a memory node over TCP, which can be cut, or swallow everything.*/
#ifndef DILOS_TESTS_UNIT_FABRIC_PROXY_H
#define DILOS_TESTS_UNIT_FABRIC_PROXY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define PROXY_PAIRS_MAX 64u

struct proxy {
    char address[64]; /* where clients connect */
    uint16_t port;
    /* Orders; atomic. */
    uint16_t target_port; /* of the memory node, on loopback */
    bool deaf;            /* nobody listens */
    bool stalled;         /* connections stay open and nothing passes */
    uint32_t cuts;        /* to carry out: all connections are closed */
    uint32_t accepted;
    bool stop;

    pthread_t thread;
    int listen_fd;
    struct proxy_pair {
        int fds[2]; /* client, node; -1: free */
    } pairs[PROXY_PAIRS_MAX];
};

void proxy_open(struct proxy *proxy, const char *target);
void proxy_close(struct proxy *proxy);
/* Another memory node. */
void proxy_aim(struct proxy *proxy, const char *target);
void proxy_cut(struct proxy *proxy);
void proxy_set(bool *order, bool value);

#endif
