/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every limit of the control protocol besides those of a frame (lib/wire/frame.h). Each is refused
 * with a message that names it; struct rpc_counters (rpc.h) counts the refusals.
 */
#ifndef DILOS_LIB_RPC_LIMITS_H
#define DILOS_LIB_RPC_LIMITS_H

/* Connections. */
#define RPC_CONNECTIONS_MAX      1024u /* of one server; further ones are closed at once */
#define RPC_CONNECT_MS           5000u /* for a client's connect */
#define RPC_HELLO_MS             5000u /* from connection to HELLO, and to its reply */
#define RPC_LINGER_MS            1000u /* to send what is left when a connection closes */
#define RPC_ACCEPT_PAUSE_MS      100u  /* when the process has no descriptors left */
#define RPC_RETRY_MS_MIN         100u  /* a client's first pause; it doubles */
#define RPC_KEEPALIVE_IDLE_S     10    /* TCP: a silent peer is asked after this ... */
#define RPC_KEEPALIVE_INTERVAL_S 5     /* ... so often ... */
#define RPC_KEEPALIVE_COUNT      3     /* ... and given up after so many silences */

/* Per connection. */
#define RPC_CALLS_MAX        256u  /* ours that wait for a reply: rpc_call says -ENOBUFS */
#define RPC_REQUESTS_MAX     1024u /* the peer's that are not answered; more: Error UNAVAILABLE */
#define RPC_OUTPUT_BYTES_MAX (8u << 20) /* waiting to be sent; a reply beyond it closes */

/* Bodies. Strings and bytes are limited alike. Exceptions: the table in body.c. */
#define RPC_FIELD_BYTES_MAX    4096u
#define RPC_REPEATED_MAX       65536u
#define RPC_UNKNOWN_FIELDS_MAX 1024u /* fields that a newer peer knows and we don't */
#define RPC_DEPTH_MAX          8u
/* What a body may take unpacked: empty sub-messages cost 2 bytes in a frame and 100 in memory. */
#define RPC_BODY_MEMORY_MAX (16u << 20)

#define RPC_ARGUMENT_BYTES_MAX  (128u << 10) /* as Linux's MAX_ARG_STRLEN */
#define RPC_ARGUMENTS_MAX       4096u
#define RPC_LOG_CHUNK_BYTES_MAX (512u << 10)
#define RPC_LABELS_MAX          64u
#define RPC_HEALTH_MAX          64u
#define RPC_COUNTERS_MAX        1024u
#define RPC_FILES_MAX           1024u

/* A peer's name in HELLO; build is free text of up to the same length. */
#define RPC_NAME_BYTES_MAX 128u

#endif
