/* SPDX-License-Identifier: Apache-2.0 */
/* "127.0.0.1:7000", "[::1]:7000" and back. Numeric only: no name service on the data plane. */
#ifndef DILOS_LIB_FABRIC_ADDRESS_H
#define DILOS_LIB_FABRIC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "lib/base/compiler.h"

#define FABRIC_ADDRESS_BYTES 64u

struct fabric_address {
    struct sockaddr_storage storage;
    socklen_t length;
};

/* Errors: -EINVAL not an address with a port. */
int fabric_address_parse(const char *text, struct fabric_address *ret) MUST_CHECK;
/* `to` holds FABRIC_ADDRESS_BYTES. */
void fabric_address_format(const struct fabric_address *address, char *to);
bool fabric_address_is_loopback(const struct fabric_address *address);

#endif
