/* SPDX-License-Identifier: Apache-2.0 */
/* The NodeRegister message, built from what the node is and holds. */
#ifndef DILOS_MEMNODE_REGISTER_H
#define DILOS_MEMNODE_REGISTER_H

#include "lib/sys/config.h"
#include "memnode/check.h"
#include "memnode/node.h"
#include "memnode/report.h"
#include "proto/dilos.pb-c.h"

struct register_facts {
    const char *name;
    const char *node_id;
    const char *arena_id;
    const char *host;
    const char *host_id;
    uint64_t epoch_seen;
    const struct config_list *labels;   /* "key=value" */
    const struct check_report *machine; /* NULL: not looked at */
};

struct register_message;

/* Points into facts, node and report. NULL: out of memory. */
struct register_message *register_message_open(const struct register_facts *facts,
                                               const struct node *node, struct report *report);
struct register_message *register_message_close(struct register_message *message);
const Dilos__NodeRegister *register_message_body(const struct register_message *message);

#endif
