/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as text, "unix:/path", "host:port" or "[::1]:port", and as the kernel wants them. */
#ifndef DILOS_LIB_RPC_ADDRESS_H
#define DILOS_LIB_RPC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "lib/base/compiler.h"

#define ADDRESS_TEXT_BYTES 128

struct address {
    struct sockaddr_storage socket;
    socklen_t length;
};

/* Only the form: what address_parse would refuse with -EINVAL. */
bool address_is_valid(const char *text);
/*
 * Errors: -EINVAL the form, -EHOSTUNREACH a name that can't be resolved. A name (not a number)
 * blocks for as long as the system's resolver takes.
 */
int address_parse(const char *text, struct address *ret) MUST_CHECK;
/* The reverse. `to` holds ADDRESS_TEXT_BYTES. */
void address_format(const struct address *address, char *to);
/* A unix socket, 127.0.0.0/8 or ::1. */
bool address_is_local(const struct address *address);

#endif
