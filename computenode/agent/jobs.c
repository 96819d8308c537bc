/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/jobs.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "computenode/agent/mailbox.h"
#include "lib/base/check.h"

struct jobs {
    struct mailbox finished;
    struct event *event;
    uint32_t running;
};

struct job {
    struct list link;
    struct jobs *jobs;
    void (*work)(void *context);
    void (*done)(void *context);
    void *context;
};

static void take_finished(struct jobs *jobs)
{
    struct list *link;
    while ((link = mailbox_take(&jobs->finished)) != NULL) {
        struct job *job = list_entry(link, struct job, link);
        jobs->running--;
        job->done(job->context);
        free(job);
    }
}

static void on_finished(int fd, short events, void *context)
{
    (void)fd;
    (void)events;
    take_finished(context);
}

int jobs_open(struct event_base *base, struct jobs **ret)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));
    int r = jobs == NULL ? -ENOMEM : mailbox_init(&jobs->finished);
    if (r < 0) {
        free(jobs);
        return r;
    }
    jobs->event = event_new(base, jobs->finished.fd, EV_READ | EV_PERSIST, on_finished, jobs);
    if (jobs->event == NULL || event_add(jobs->event, NULL) < 0) {
        mailbox_fini(&jobs->finished);
        free(jobs);
        return -ENOMEM;
    }
    *ret = jobs;
    return 0;
}

struct jobs *jobs_close(struct jobs *jobs)
{
    if (jobs != NULL) {
        while (jobs->running > 0) {
            struct pollfd fd = {.fd = jobs->finished.fd, .events = POLLIN};
            (void)poll(&fd, 1, -1);
            take_finished(jobs);
        }
        event_free(jobs->event);
        mailbox_fini(&jobs->finished);
        free(jobs);
    }
    return NULL;
}

static void *thread_main(void *context)
{
    struct job *job = context;
    job->work(job->context);
    mailbox_put(&job->jobs->finished, &job->link);
    return NULL;
}

int jobs_run(struct jobs *jobs, void (*work)(void *context), void (*done)(void *context),
             void *context)
{
    if (jobs->running == JOBS_MAX) {
        return -EBUSY;
    }
    struct job *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return -ENOMEM;
    }
    *job = (struct job){.jobs = jobs, .work = work, .done = done, .context = context};
    /* Signals are the loop's. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    pthread_t thread;
    int r = -pthread_create(&thread, NULL, thread_main, job);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (r < 0) {
        free(job);
        return r;
    }
    CHECK(pthread_detach(thread) == 0);
    jobs->running++;
    return 0;
}
