/* SPDX-License-Identifier: Apache-2.0 */
/* Makes an EROFS image from a plan: copies everything into a folder, runs mkfs.erofs on it. */
#ifndef DILOS_AGENT_IMAGE_STAGE_H
#define DILOS_AGENT_IMAGE_STAGE_H

#include "computenode/agent/image_plan.h"
#include "lib/base/compiler.h"

/*
 * Writes the image to `path` (atomically); works in folders beside it. Errors: negative errno with
 * a sentence in ret_error (IMAGE_ERROR_BYTES).
 */
int image_stage_make(const struct image_plan *plan, const char *path, char *ret_error) MUST_CHECK;

/* Deletes a folder with all that is in it; links are not followed. */
void image_stage_delete(const char *folder);

#endif
