/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root images: EROFS file systems made of a program, the libraries that it needs and further
 * files. Made by mkfs.erofs, uncompressed and reproducible; kept in `images` of the state folder:
 * cache/HASH.erofs by their inputs, NAME.erofs with NAME.txt those that were built by name. These
 * functions block (seconds for large inputs): not on the loop's thread.
 */
#ifndef DILOS_AGENT_IMAGE_H
#define DILOS_AGENT_IMAGE_H

#include <stdint.h>

#include "computenode/agent/image_plan.h"
#include "lib/base/compiler.h"

#define IMAGE_FILES_MAX  1024u
#define IMAGE_NAMED_MAX  256u
#define IMAGE_NAME_BYTES 64u

struct image_file {
    const char *host_path;
    const char *guest_path; /* "": the same */
};

struct image_request {
    const char *folder;  /* of images */
    const char *name;    /* build: NAME; launch: image to use; "": from the inputs */
    const char *program; /* a path, or a name looked up on PATH */
    const struct image_file *files;
    uint32_t file_count;
    const char *link;     /* a further name for the image, which keeps it; NULL: none */
    uint64_t cache_bytes; /* the cache is kept below that, as far as it isn't in use */
};

struct image_result {
    char path[IMAGE_PATH_BYTES];    /* of the image; the link, if there is one */
    char program[IMAGE_PATH_BYTES]; /* in the guest */
    uint64_t bytes;
    uint32_t entry_count;
    char error[IMAGE_ERROR_BYTES]; /* of a failure: what, and what helps */
};

/* For a launch. Errors: negative errno, ret->error says more. ret is always written. */
int image_prepare(const struct image_request *request, struct image_result *ret) MUST_CHECK;
/* Builds (or replaces) the image `name`. Errors: as above. */
int image_build(const struct image_request *request, struct image_result *ret) MUST_CHECK;

struct image_info {
    char name[IMAGE_NAME_BYTES];
    char program[IMAGE_PATH_BYTES];
    uint64_t bytes;
    uint32_t entry_count;
    uint64_t created_ns;
};

/* Up to IMAGE_NAMED_MAX, by name. Returns how many; *ret is to be freed with free(). */
int image_list(const char *folder, struct image_info **ret) MUST_CHECK;

#endif
