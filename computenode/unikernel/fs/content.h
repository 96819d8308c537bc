/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents of a file that lives in memory: chunks of 16 KiB of pageable kernel memory, so that
 * files page to far memory as everything else does. A chunk that was never written does not exist.
 *
 * All files together may hold a limited number of pages (content_limit_set).
 */
#ifndef DILOS_UNIKERNEL_FS_CONTENT_H
#define DILOS_UNIKERNEL_FS_CONTENT_H

#include <stdint.h>

#include "lib/base/compiler.h"

#define CONTENT_CHUNK_BYTES 16384u
#define CONTENT_CHUNK_PAGES (CONTENT_CHUNK_BYTES / PAGE_BYTES)
#define CONTENT_BYTES_MAX   TIB /* of one file */

struct content {
    uint64_t **leaves; /* each CONTENT_LEAF_CHUNKS window addresses, or NULL; 0: no chunk */
    uint32_t leaf_count;
    uint64_t chunk_count;
};

/* Limit of all contents together, and what they hold now. */
void content_limit_set(uint64_t pages);
uint64_t content_limit_pages(void);
uint64_t content_used_pages(void);

/* Window address of chunk `index`, or 0. Fault context is fine. */
uint64_t content_chunk(const struct content *c, uint64_t index);

/*
 * The same, and makes the chunk, of zeros, if there is none; *ret_new says so. index is below
 * CONTENT_BYTES_MAX / CONTENT_CHUNK_BYTES. Errors: -ENOSPC over the limit, -ENOMEM.
 */
int content_chunk_make(struct content *c, uint64_t index, uint64_t *ret_va,
                       int *ret_new) MUST_CHECK;

/* Frees the chunk, if there is one: it reads as zeros. */
void content_chunk_drop(struct content *c, uint64_t index);

/* Frees all chunks from `first` on; with 0 also the tables. */
void content_truncate(struct content *c, uint64_t first);

#endif
