/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data plane's client side: reads and writes parts of granted slabs on memory nodes. One
 * interface, several providers (fabric_shm.c, fabric_tcp.c, fabric_verbs.c); which one serves a
 * pair is chosen by fabric_connect from what both sides have, best first: shm, verbs, tcp.
 *
 * A peer belongs to one thread. Nothing blocks, except fabric_connect, which is bounded by its
 * timeout. Requests carry tokens; completions come in any order; each post that returned 0
 * completes exactly once, also when the peer dies.
 */
#ifndef DILOS_LIB_FABRIC_FABRIC_H
#define DILOS_LIB_FABRIC_FABRIC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "lib/base/compiler.h"

#define FABRIC_KEY_BYTES         16
#define FABRIC_SEGMENTS_MAX      32u
#define FABRIC_REQUEST_BYTES_MAX (1u << 20)

struct fabric_peer;

/* What a memory node offers; from the control plane. Strings may be NULL: not offered. */
struct fabric_endpoint {
    const char *node;
    const char *host_id;
    const char *tcp_address;
    const char *shm_path;
    const char *verbs_address;
};

struct fabric_choice {
    const char *local_host_id; /* sys_host_id() */
    const char *only;          /* "shm", "tcp", "verbs": nothing else; NULL: best */
};

/*
 * Connects by the best provider that works. ret_reason (>= 128 bytes) says in words why better ones
 * were passed over, "" if none was. Errors: -EHOSTUNREACH nothing worked (the reason names each
 * attempt), -ETIMEDOUT, -ECONNREFUSED nobody listens there.
 */
int fabric_connect(const struct fabric_endpoint *endpoint, const struct fabric_choice *choice,
                   uint32_t timeout_ms, struct fabric_peer **ret, char *ret_reason) MUST_CHECK;
/* Fails what is in flight silently: completions not polled before are lost. */
struct fabric_peer *fabric_close(struct fabric_peer *peer);

/* "shm", "tcp", "verbs". */
const char *fabric_name(const struct fabric_peer *peer);

/*
 * Local memory that later posts may name (guest memory). Verbs registers it; others need nothing.
 * Errors: -ENOMEM (locked-memory limit; the remedy is in the log of the caller).
 */
int fabric_register(struct fabric_peer *peer, void *base, uint64_t bytes) MUST_CHECK;
/*
 * Forgets all that was registered; nothing may be in flight. To be called by every peer before that
 * memory is unmapped: peers share what is registered, and know it by its address.
 */
void fabric_unregister_all(struct fabric_peer *peer);

struct fabric_grant {
    uint32_t slab_index;
    uint64_t generation;
    uint64_t slab_bytes;
    uint32_t incarnation; /* 0; higher on each later connection: see lib/wire/pageop.h */
    uint8_t key[FABRIC_KEY_BYTES];
};

/*
 * Makes a granted slab usable on this peer; completes with `token` (the completion's status is
 * -EACCES for a wrong key or generation; it still has to be detached). *ret_slab names it in posts
 * from then on. Errors: -EAGAIN poll first, -EINVAL slab_bytes 0, -ENOTCONN, -ENOMEM.
 */
int fabric_attach(struct fabric_peer *peer, const struct fabric_grant *grant, uint64_t token,
                  uint32_t *ret_slab) MUST_CHECK;
/* No more posts for this slab; none may be in flight. */
void fabric_detach(struct fabric_peer *peer, uint32_t slab);

/*
 * Reads or writes [offset, offset + sum of segments) of a slab. Segments stay untouched by the
 * caller until completion; the array itself may be reused at once. Errors: -EAGAIN (too many in
 * flight, or the attach has not completed: poll first), -EINVAL (beyond the slab, empty, too large,
 * no such slab), -ENOTCONN (the peer is dead).
 */
int fabric_read(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                const struct iovec *segments, uint32_t segment_count, uint64_t token) MUST_CHECK;
int fabric_write(struct fabric_peer *peer, uint32_t slab, uint64_t offset,
                 const struct iovec *segments, uint32_t segment_count, uint64_t token) MUST_CHECK;

struct fabric_done {
    uint64_t token;
    int status; /* 0; -EACCES revoked; -EIO; -ENOTCONN the peer died */
};

/*
 * Moves bytes and takes up to `max` completions. Never blocks. Returns how many. It may be called
 * without pause: then what only its peer's socket tells (the end of an attach over shm, a revoke, a
 * death) may be seen by a later call, some microseconds after it came. A call that follows
 * fabric_arm, or the sleep after that, sees all that has come.
 */
uint32_t fabric_poll(struct fabric_peer *peer, struct fabric_done *ret, uint32_t max);

/* False once the peer is dead: reconnecting is the caller's decision. */
bool fabric_alive(const struct fabric_peer *peer);

/*
 * To sleep: fabric_arm, then a fabric_poll that returns less than `max` (posts are sent by
 * fabric_poll, and what completed before fabric_arm does not wake), then epoll on this descriptor
 * (level triggered) for these events, then fabric_poll.
 */
void fabric_arm(struct fabric_peer *peer);
int fabric_poll_fd(const struct fabric_peer *peer);
uint32_t fabric_poll_events(const struct fabric_peer *peer);

struct fabric_counters {
    uint64_t bytes_read;
    uint64_t bytes_written;
    uint64_t requests;
    uint64_t errors;
    uint64_t repeats; /* completions of what had completed before: ignored (steady.h) */
};
void fabric_counters(const struct fabric_peer *peer, struct fabric_counters *ret);

#endif
