/* SPDX-License-Identifier: Apache-2.0 */
/* "127.0.0.1:7000", "[::1]:7000" and back. Numeric only: no name service on the data plane. */
#ifndef DILOS_LIB_FABRIC_ADDRESS_H
#define DILOS_LIB_FABRIC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "lib/base/compiler.h"

#define ADDRESS_TEXT_BYTES 64u

struct address {
    struct sockaddr_storage storage;
    socklen_t length;
};

/* Errors: -EINVAL not an address with a port. */
int address_parse(const char *text, struct address *ret) MUST_CHECK;
/* `to` holds ADDRESS_TEXT_BYTES. */
void address_format(const struct address *address, char *to);
bool address_is_loopback(const struct address *address);

#endif
