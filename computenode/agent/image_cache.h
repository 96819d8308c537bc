/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images that were made for launches, HASH.erofs in one folder: which of them go when they take
 * too much room. An image in use has a further name (a hard link in its instance's folder, or the
 * name that it was built under), so that it outlives its name here; its going would free nothing.
 */
#ifndef DILOS_AGENT_IMAGE_CACHE_H
#define DILOS_AGENT_IMAGE_CACHE_H

#include <stdint.h>

#include "lib/base/compiler.h"

/* This image is used now. */
void image_cache_touch(const char *path);

/*
 * Deletes images that are not in use, those first that were not used for longest, until all
 * together have at most bytes_max. Returns how many went. Blocks.
 */
uint32_t image_cache_prune(const char *folder, uint64_t bytes_max);

#endif
