/* SPDX-License-Identifier: Apache-2.0 */
/* Options of a stream socket of the control plane. */
#ifndef DILOS_LIB_RPC_SOCKET_H
#define DILOS_LIB_RPC_SOCKET_H

/*
 * TCP: no delay for small frames, and keep-alive, so that a host that vanished is noticed
 * (limits.h says after how long). Other sockets: nothing. Best effort: it works without, too.
 */
void socket_tune(int fd);

#endif
