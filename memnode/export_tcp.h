/* SPDX-License-Identifier: Apache-2.0 */
/* Slabs over TCP (lib/wire/pageop.h), on a thread of its own. */
#ifndef DILOS_MEMNODE_EXPORT_TCP_H
#define DILOS_MEMNODE_EXPORT_TCP_H

#include <stdbool.h>

#include "memnode/export.h"

struct export_tcp;

/*
 * Listens on `address` ("127.0.0.1:0": any port). Errors, with text naming cause and remedy in
 * ret_error (EXPORT_ERROR_BYTES): -EINVAL address; -EACCES not loopback without `insecure`;
 * -EADDRINUSE; other errno of the system.
 */
int export_tcp_open(const struct export_context *context, const char *address, bool insecure,
                    struct export_tcp **ret, char *ret_error) MUST_CHECK;
struct export_tcp *export_tcp_close(struct export_tcp *export);

/* With the real port; lives as long as the export. */
const char *export_tcp_address(const struct export_tcp *export);

/*
 * Detaches slabs, whose grants are invalid already, from every connection. When it returns, no
 * request touches them any more: a read that had begun to be answered goes on from a copy, all
 * others are answered DENIED. Not on the export's own thread.
 */
void export_tcp_revoke(struct export_tcp *export, const uint32_t *slabs, uint32_t count);

#endif
