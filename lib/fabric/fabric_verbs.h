/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine has for RDMA, without using it. */
#ifndef DILOS_LIB_FABRIC_FABRIC_VERBS_H
#define DILOS_LIB_FABRIC_FABRIC_VERBS_H

#include <stddef.h>
#include <stdint.h>

/* How many verbs devices there are; their names, separated by blanks, in ret_names. */
uint32_t fabric_verbs_devices(char *ret_names, size_t bytes);

#endif
