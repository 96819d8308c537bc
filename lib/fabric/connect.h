/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of lib/fabric: connecting sockets and exchanging the hello under a deadline. */
#ifndef DILOS_LIB_FABRIC_CONNECT_H
#define DILOS_LIB_FABRIC_CONNECT_H

#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/compiler.h"

/*
 * Connects a non-blocking socket of `type` (SOCK_STREAM, SOCK_SEQPACKET) and exchanges hellos
 * (lib/wire/pageop.h). Blocks until `deadline_ns` (sys_monotonic_ns) at most. ret_reason
 * (FABRIC_REASON_BYTES) says why not. Errors: -EHOSTUNREACH, -ETIMEDOUT,
 * -ECONNREFUSED nobody listens there.
 */
int fabric_connect_hello(int type, const struct sockaddr *address, socklen_t address_length,
                         uint64_t deadline_ns, int *ret_fd, char *ret_reason) MUST_CHECK;

#endif
