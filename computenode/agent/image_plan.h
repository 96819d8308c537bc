/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be in a root image: guest paths in the order of their making. Planned first, without
 * copying anything, so that an image made before from the same inputs can be found by their hash.
 * Paths are absolute and normal; an entry never lies behind a symbolic link of the plan.
 */
#ifndef DILOS_AGENT_IMAGE_PLAN_H
#define DILOS_AGENT_IMAGE_PLAN_H

#include <stdint.h>

#include "lib/base/compiler.h"

#define IMAGE_ENTRIES_MAX 65536u
#define IMAGE_DEPTH_MAX   64u
#define IMAGE_PATH_BYTES  1024u
#define IMAGE_ERROR_BYTES 2048u

enum image_kind { IMAGE_FOLDER, IMAGE_FILE, IMAGE_LINK, IMAGE_TEXT };

struct image_entry {
    enum image_kind kind;
    uint32_t mode;     /* permission bits */
    uint64_t bytes;    /* IMAGE_FILE */
    uint64_t mtime_ns; /* IMAGE_FILE */
    char *guest_path;
    char *source; /* IMAGE_FILE: path on the host; IMAGE_LINK: target; IMAGE_TEXT: contents */
};

struct image_plan;

/* Errors: -ENOMEM. */
int image_plan_open(struct image_plan **ret) MUST_CHECK;
struct image_plan *image_plan_close(struct image_plan *plan);

/* All of these: negative errno with a sentence in image_plan_error(). */

/* A file of the host at the path where it lies, with the symbolic links that lead to it. */
int image_plan_mirror(struct image_plan *plan, const char *host_path) MUST_CHECK;
/* A file or folder (with all that is in it) of the host at a path of the guest. */
int image_plan_put(struct image_plan *plan, const char *host_path,
                   const char *guest_path) MUST_CHECK;
int image_plan_text(struct image_plan *plan, const char *guest_path,
                    const char *contents) MUST_CHECK;
int image_plan_folder(struct image_plan *plan, const char *guest_path, uint32_t mode) MUST_CHECK;

const char *image_plan_error(const struct image_plan *plan);
uint32_t image_plan_count(const struct image_plan *plan);
const struct image_entry *image_plan_entry(const struct image_plan *plan, uint32_t index);
/* NULL: there is none. */
const struct image_entry *image_plan_find(const struct image_plan *plan, const char *guest_path);

/* 32 hexadecimal digits over everything that decides what the image holds. */
#define IMAGE_HASH_BYTES 33
void image_plan_hash(const struct image_plan *plan, char to[IMAGE_HASH_BYTES]);

#endif
