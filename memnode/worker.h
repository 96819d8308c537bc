/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread with an epoll loop that owns the connections of one export. Everything but
 * worker_open, worker_close and worker_call is called on that thread, or in a worker_call, only.
 */
#ifndef DILOS_MEMNODE_WORKER_H
#define DILOS_MEMNODE_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define WORKER_TICK_MS 100u

struct worker;

/* A descriptor in the loop; part of the owner's structure. */
struct worker_source {
    void (*ready)(struct worker_source *source, uint32_t events);
    /*
     * Serves what has come, without being told that something has; false: nothing had. NULL: can't.
     * While the thread polls before it sleeps, it asks the source that was ready last instead of
     * epoll, which saves a system call for each request. worker_cool() before the source is freed.
     */
    bool (*look)(struct worker_source *source);
};

struct worker_callbacks {
    /* After each batch of events, and about every WORKER_TICK_MS: sources that were removed may be
     * freed here, and only here. */
    void (*after_batch)(void *context);
    void *context;
};

/* Errors: -ENOMEM, -EMFILE, -EAGAIN. `name` (static) shows in ps -T. */
int worker_open(const char *name, const struct worker_callbacks *callbacks,
                struct worker **ret) MUST_CHECK;
/* Ends the thread; afterwards the caller owns what the thread owned. */
struct worker *worker_close(struct worker *worker);

/*
 * Runs `function` while the thread does nothing else, and returns when it has returned. It runs on
 * the caller's thread. Events that came before are forgotten, and told again if they still hold.
 * Never from the thread itself, nor from a `function`.
 */
void worker_call(struct worker *worker, void (*function)(void *argument), void *argument);

/* Level triggered. Errors: of epoll_ctl(2). */
int worker_add(struct worker *worker, int fd, uint32_t events,
               struct worker_source *source) MUST_CHECK;
int worker_modify(struct worker *worker, int fd, uint32_t events,
                  struct worker_source *source) MUST_CHECK;
/* Before the descriptor is closed. */
void worker_remove(struct worker *worker, int fd);
/* The source is not asked any more until it is ready again. */
void worker_cool(struct worker *worker, const struct worker_source *source);

#endif
