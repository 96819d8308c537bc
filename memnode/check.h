/* SPDX-License-Identifier: Apache-2.0 */
/* dilos-memnode --check: one line for each thing that matters, with its fix. */
#ifndef DILOS_MEMNODE_CHECK_H
#define DILOS_MEMNODE_CHECK_H

#include "memnode/options.h"

/* Prints to stdout. True if the node would start with these settings. */
bool check_machine(const struct options *options);

#endif
