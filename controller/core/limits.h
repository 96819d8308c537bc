/* SPDX-License-Identifier: Apache-2.0 */
/* Every size that the controller's tables are made for. Whoever exceeds one is refused by name. */
#ifndef DILOS_CONTROLLER_CORE_LIMITS_H
#define DILOS_CONTROLLER_CORE_LIMITS_H

#define CORE_NODES_MAX          128u       /* memory nodes, present and remembered */
#define CORE_SLABS_PER_NODE_MAX (1u << 20) /* 1 TiB in slabs of 1 MiB */
#define CORE_AGENTS_MAX         256u
#define CORE_INSTANCES_MAX      1024u /* running and ended; the oldest ended ones make room */
#define CORE_KEYS_MAX           4096u /* request keys that are remembered, a ring */
#define CORE_HISTORY_MAX        1024u /* events that are remembered, a ring */
#define CORE_ACQUIRES_MAX       64u   /* slab requests that wait for memory nodes at one time */

#define CORE_ACQUIRE_SLABS_MAX 256u  /* per request; more are given to the next request */
#define CORE_REVOKE_SLABS_MAX  256u  /* per message to a memory node */
#define CORE_EXTENTS_MAX       8192u /* per command */
#define CORE_LABELS_MAX        16u
#define CORE_ACQUIRE_TRIES     3u /* with other memory nodes, when all chosen ones fail */

/*
 * A revoked slab is scrubbed before the memory node acknowledges: a message asks for so many bytes
 * that the answer comes in seconds.
 */
#define CORE_REVOKE_BYTES_MAX (4ull << 30)

/* Bytes of texts with their NUL. */
#define CORE_NAME_BYTES    64u
#define CORE_ID_BYTES      64u
#define CORE_ADDRESS_BYTES 128u
#define CORE_KIND_BYTES    32u
#define CORE_REASON_BYTES  256u
#define CORE_KEY_BYTES     16u
#define CORE_SPEC_BYTES    32768u /* of an instance, packed: arguments, environment, files */

#define CORE_SLAB_BYTES_MIN (1ull << 20)
#define CORE_SLAB_BYTES_MAX (1ull << 30)

/*
 * Slabs that an instance may hold beyond its far memory rounded up: each of the guest's address
 * ranges (image and heap, mmap and stacks, tmpfs) may begin and end inside a slab.
 */
#define CORE_QUOTA_EXTRA_SLABS 3u

#endif
