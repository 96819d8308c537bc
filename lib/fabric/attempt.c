/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/attempt.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/provider.h"
#include "lib/sys/sys.h"

#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

struct attempt {
    struct attempt_config config;
    struct fabric_texts texts; /* what config points to */
    struct fabric_peer *peer;
    int error;
    char reason[FABRIC_REASON_BYTES];

    pthread_mutex_t mutex; /* guards what follows; who finds the other flag set frees it all */
    pthread_cond_t changed;
    bool done;      /* the thread has ended; peer, error and reason are the owner's */
    bool abandoned; /* the owner is gone */
};

static void attempt_free(struct attempt *attempt)
{
    attempt->peer = fabric_close(attempt->peer);
    fabric_texts_free(&attempt->texts);
    CHECK(pthread_cond_destroy(&attempt->changed) == 0);
    CHECK(pthread_mutex_destroy(&attempt->mutex) == 0);
    free(attempt);
}

/* Waits, unless the owner goes. Returns false then. */
static bool back_off(struct attempt *attempt, uint32_t wait_ms)
{
    struct timespec until;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &until) == 0);
    uint64_t ns = (uint64_t)until.tv_nsec + wait_ms * NS_PER_MS;
    until.tv_sec += (time_t)(ns / NS_PER_S);
    until.tv_nsec = (long)(ns % NS_PER_S);
    int error = 0;
    CHECK(pthread_mutex_lock(&attempt->mutex) == 0);
    while (!attempt->abandoned && error == 0) {
        error = pthread_cond_timedwait(&attempt->changed, &attempt->mutex, &until);
    }
    bool wanted = !attempt->abandoned;
    CHECK(pthread_mutex_unlock(&attempt->mutex) == 0);
    return wanted;
}

static void try_until(struct attempt *attempt)
{
    const struct attempt_config *config = &attempt->config;
    uint64_t refused_ns = 0; /* since when nobody listens */
    uint32_t wait_ms = ATTEMPT_BACKOFF_MS_MIN;
    for (;;) {
        attempt->error = fabric_connect(&config->endpoint, &config->choice, config->connect_ms,
                                        &attempt->peer, attempt->reason);
        uint64_t now_ns = sys_monotonic_ns();
        bool refused = attempt->error == -ECONNREFUSED;
        refused_ns = !refused ? 0 : refused_ns == 0 ? now_ns : refused_ns;
        bool hopeless = refused && now_ns - refused_ns >= config->refused_ms * NS_PER_MS;
        if (attempt->error == 0 || hopeless || now_ns + wait_ms * NS_PER_MS > config->deadline_ns ||
            !back_off(attempt, wait_ms)) {
            return;
        }
        wait_ms = MIN(2 * wait_ms, ATTEMPT_BACKOFF_MS_MAX);
    }
}

static void *run(void *context)
{
    struct attempt *attempt = context;
    const uint64_t one = 1;
    try_until(attempt);
    CHECK(pthread_mutex_lock(&attempt->mutex) == 0);
    bool abandoned = attempt->abandoned;
    if (!abandoned) {
        __atomic_store_n(&attempt->done, true, __ATOMIC_RELEASE);
        (void)!write(attempt->config.wake_fd, &one, sizeof(one));
    }
    CHECK(pthread_mutex_unlock(&attempt->mutex) == 0);
    if (abandoned) {
        attempt_free(attempt);
    }
    return NULL;
}

/* Signals belong to the main thread. */
static int start(struct attempt *attempt)
{
    sigset_t all;
    sigset_t old;
    pthread_t thread;
    pthread_attr_t detached;
    (void)sigfillset(&all);
    CHECK(pthread_attr_init(&detached) == 0);
    CHECK(pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    int error = -pthread_create(&thread, &detached, run, attempt);
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(pthread_attr_destroy(&detached) == 0);
    return error;
}

bool fabric_texts_copy(struct fabric_texts *texts, struct fabric_endpoint *endpoint,
                       struct fabric_choice *choice)
{
    const char **const places[ARRAY_LEN(texts->items)] = {
        &endpoint->node,     &endpoint->host_id,       &endpoint->tcp_address,
        &endpoint->shm_path, &endpoint->verbs_address, &choice->local_host_id,
        &choice->only};
    bool ok = true;
    for (uint32_t i = 0; i < ARRAY_LEN(places); i++) {
        if (*places[i] != NULL) {
            texts->items[i] = strdup(*places[i]);
            *places[i] = texts->items[i];
            ok = ok && *places[i] != NULL;
        }
    }
    return ok;
}

void fabric_texts_free(struct fabric_texts *texts)
{
    for (uint32_t i = 0; i < ARRAY_LEN(texts->items); i++) {
        free(texts->items[i]);
    }
}

int attempt_open(const struct attempt_config *config, struct attempt **ret)
{
    pthread_condattr_t attributes;
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    if (attempt == NULL) {
        return -ENOMEM;
    }
    attempt->config = *config;
    CHECK(pthread_mutex_init(&attempt->mutex, NULL) == 0);
    CHECK(pthread_condattr_init(&attributes) == 0);
    CHECK(pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&attempt->changed, &attributes) == 0);
    CHECK(pthread_condattr_destroy(&attributes) == 0);
    int error =
        fabric_texts_copy(&attempt->texts, &attempt->config.endpoint, &attempt->config.choice)
            ? start(attempt)
            : -ENOMEM;
    if (error != 0) {
        attempt_free(attempt);
        return error;
    }
    *ret = attempt;
    return 0;
}

int attempt_take(struct attempt *attempt, struct fabric_peer **ret, char *ret_reason)
{
    if (!__atomic_load_n(&attempt->done, __ATOMIC_ACQUIRE)) {
        return -EINPROGRESS;
    }
    /* The thread may still be about to let go of the mutex. */
    CHECK(pthread_mutex_lock(&attempt->mutex) == 0);
    CHECK(pthread_mutex_unlock(&attempt->mutex) == 0);
    int error = attempt->error;
    memcpy(ret_reason, attempt->reason, sizeof(attempt->reason));
    if (error == 0) {
        *ret = attempt->peer;
        attempt->peer = NULL;
    }
    attempt_free(attempt);
    return error;
}

struct attempt *attempt_abandon(struct attempt *attempt)
{
    if (attempt != NULL) {
        CHECK(pthread_mutex_lock(&attempt->mutex) == 0);
        bool done = attempt->done;
        attempt->abandoned = true;
        CHECK(pthread_cond_signal(&attempt->changed) == 0);
        CHECK(pthread_mutex_unlock(&attempt->mutex) == 0);
        if (done) {
            attempt_free(attempt);
        }
    }
    return NULL;
}
