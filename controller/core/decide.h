/* SPDX-License-Identifier: Apache-2.0 */
/* Between the files of core_decide(): one function an event, and how they answer. */
#ifndef DILOS_CONTROLLER_CORE_DECIDE_H
#define DILOS_CONTROLLER_CORE_DECIDE_H

#include "controller/core/event.h"

/* Starts a command; everything else of it is zero. */
struct command *decide_command(struct decision *d, enum command_kind kind);
void decide_refuse(struct decision *d, enum core_error code, const char *remedy, const char *format,
                   ...) PRINTF_LIKE(4, 5);
/* Adds a run to the command, joined to the last one where it continues it. False: too many. */
bool decide_extent(struct command *command, const struct extent *extent);

void decide_node_register(const struct core *core, const struct core_event *e, struct decision *d);
void decide_node_heartbeat(const struct core *core, const struct core_event *e, struct decision *d);
void decide_node_closed(const struct core *core, const struct core_event *e, struct decision *d);
void decide_access_refused(const struct core *core, const struct core_event *e, struct decision *d);
void decide_agent_register(const struct core *core, const struct core_event *e, struct decision *d);
void decide_report(const struct core *core, const struct core_event *e, struct decision *d);
void decide_launch(const struct core *core, const struct core_event *e, struct decision *d);
void decide_start_done(const struct core *core, const struct core_event *e, struct decision *d);
void decide_stop(const struct core *core, const struct core_event *e, struct decision *d);
void decide_resize(const struct core *core, const struct core_event *e, struct decision *d);
void decide_remove(const struct core *core, const struct core_event *e, struct decision *d);
void decide_acquire(const struct core *core, const struct core_event *e, struct decision *d);
void decide_grant_done(const struct core *core, const struct core_event *e, struct decision *d);
void decide_release(const struct core *core, const struct core_event *e, struct decision *d);
void decide_revoke_done(const struct core *core, const struct core_event *e, struct decision *d);
void decide_tick(const struct core *core, struct core_now now, struct decision *d);

/* Slabs of a set of grants that are still held, or CORE_NONE entries; see decide_slab.c. */
uint32_t acquire_find_key(const struct core *core, const uint8_t *key);
/* How many slabs of this owner and generation are granted. */
uint32_t granted_count(const struct core *core, uint32_t instance, uint64_t generation);
/*
 * The command that reserves slabs for an instance, or a refusal that says why none can be had.
 */
void decide_reserve(const struct core *core, uint32_t instance, uint32_t slab_count,
                    const uint8_t *key, const uint64_t *excluded, struct decision *d);

#endif
