/* SPDX-License-Identifier: Apache-2.0 */
/* Work that blocks, done on threads of its own; its end is told on the loop. */
#ifndef DILOS_AGENT_JOBS_H
#define DILOS_AGENT_JOBS_H

#include "lib/base/compiler.h"

#define JOBS_MAX 8u

struct event_base;
struct jobs;

/* Errors: -ENOMEM, of eventfd(2). */
int jobs_open(struct event_base *base, struct jobs **ret) MUST_CHECK;
/* Waits for all that is under way; `done` has been called for each when this returns. */
struct jobs *jobs_close(struct jobs *jobs);

/*
 * Calls work(context) on a thread, then done(context) on the loop. Errors (nothing is called):
 * -EBUSY JOBS_MAX are under way, -ENOMEM, -EAGAIN.
 */
int jobs_run(struct jobs *jobs, void (*work)(void *context), void (*done)(void *context),
             void *context) MUST_CHECK;

#endif
