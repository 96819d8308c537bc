/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /etc/ld.so.cache of glibc, the format "glibc-ld.so.cache1.1" (its header dl-cache.h): where
 * libraries lie that are in none of the standard folders. The file is read, bounded and checked.
 */
#ifndef DILOS_AGENT_LD_CACHE_H
#define DILOS_AGENT_LD_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

/*
 * Finds an x86-64 library by name in the `bytes` of the cache; the path points into them. Errors:
 * -ENOENT, -EBADMSG malformed.
 */
int ld_cache_find(const void *cache, size_t bytes, const char *name,
                  const char **ret_path) MUST_CHECK;

#endif
