/* SPDX-License-Identifier: Apache-2.0 */
/* Between flow.c and flow_acquire.c. */
#ifndef DILOS_CONTROLLER_CORE_FLOW_INTERNAL_H
#define DILOS_CONTROLLER_CORE_FLOW_INTERNAL_H

#include "controller/core/flow.h"

struct flow {
    struct core *core;
    struct core_now now;
    struct decision *decision;
    struct action_queue *actions;
    core_log *log;
    void *context;
};

struct action *flow_action(struct flow *f, enum action_kind kind);
void flow_reply_error(struct flow *f, uint64_t token, const struct refusal *refusal);
/* Applies and logs the command of the decision. */
void flow_apply(struct flow *f);

/* After CORE_ACQUIRE was not refused: the request begins to wait for its memory nodes. */
void flow_acquire_begin(struct flow *f, const struct core_event *e, bool reserved);
void flow_grant_done(struct flow *f, const struct core_event *e);

#endif
