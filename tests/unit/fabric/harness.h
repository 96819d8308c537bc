/* SPDX-License-Identifier: Apache-2.0 */
/* A memory node inside the test, and a client of it over one fabric. */
#ifndef DILOS_TESTS_UNIT_FABRIC_HARNESS_H
#define DILOS_TESTS_UNIT_FABRIC_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fabric/fabric.h"
#include "memnode/node.h"

#define SLAB_BYTES (1ull << 20)
#define SLAB_COUNT 4u
/* Polls without any completion before a test gives up: a deadline that no result depends on. */
#define WAIT_MS 10000u

struct harness {
    struct node *node;
    const char *fabric; /* "shm", "tcp", "verbs"; "steady-shm": a peer that connects again */
    char folder[64];
    char socket[96];
    uint64_t generation; /* the last one used */
};

/* "shm", "tcp", "verbs", "verbs-regions" (as with a device without memory windows), or "verbs-one"
 * (as with a device that has one window left). Verbs listen
 * at the addresses in DILOS_TEST_VERBS, if it is set, else on every port. */
void harness_open(struct harness *harness, const char *fabric);
void harness_close(struct harness *harness);

/* A new client; aborts the test program if there is none. */
struct fabric_peer *harness_connect(const struct harness *harness);
/* Grants a slab under a new generation. */
struct fabric_grant harness_grant(struct harness *harness, uint32_t slab, bool read_only);
int harness_revoke(struct harness *harness, const struct fabric_grant *grant);

/* The name of the fabric itself. */
const char *harness_fabric(const struct harness *harness);

/* Polls until the peer is dead; false: it lives on. What completes meanwhile is lost. */
bool harness_wait_death(struct fabric_peer *peer);
/* Polls until `count` completions are there. Returns how many there were in the end. */
uint32_t harness_wait(struct fabric_peer *peer, struct fabric_done *done, uint32_t count);
/* Attaches and waits; returns the completion's status. */
int harness_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint32_t *ret_slab);
/* One request and its completion; returns the completion's status, or the post's error. */
int harness_transfer(struct fabric_peer *peer, bool write, uint32_t slab, uint64_t offset,
                     void *data, uint32_t bytes);

/* A generator of its own, so that a seed gives the same test everywhere. */
uint64_t harness_random(uint64_t *state);

#endif
