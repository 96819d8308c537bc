/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/incidents.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"

#define NS_PER_MS 1000000ull

struct row {
    struct incident incident; /* kind 0: empty */
    uint64_t sent;            /* of its count, with the ticket that is out */
    uint64_t told_ns;         /* 0: never */
    bool out;
};

struct incidents {
    pthread_mutex_t mutex;
    uint64_t count;
    uint32_t tokens;
    uint64_t token_ns; /* when the last one was made */
    struct row rows[INCIDENTS_MAX];
};

int incidents_open(struct incidents **ret)
{
    struct incidents *incidents = calloc(1, sizeof(*incidents));
    if (incidents == NULL) {
        return -ENOMEM;
    }
    CHECK(pthread_mutex_init(&incidents->mutex, NULL) == 0);
    incidents->tokens = INCIDENTS_BURST;
    *ret = incidents;
    return 0;
}

struct incidents *incidents_close(struct incidents *incidents)
{
    if (incidents != NULL) {
        CHECK(pthread_mutex_destroy(&incidents->mutex) == 0);
        free(incidents);
    }
    return NULL;
}

static void lock(struct incidents *incidents)
{
    CHECK(pthread_mutex_lock(&incidents->mutex) == 0);
}

static void unlock(struct incidents *incidents)
{
    CHECK(pthread_mutex_unlock(&incidents->mutex) == 0);
}

static bool is_like(const struct row *row, enum incident_kind kind, const char *instance,
                    uint32_t slab)
{
    return row->incident.kind == kind && row->incident.slab == slab &&
           strcmp(row->incident.instance, instance) == 0;
}

/* An empty row, else the one that was told longest ago and has nothing new. NULL: none. */
static struct row *row_take(struct incidents *incidents)
{
    struct row *oldest = NULL;
    for (uint32_t i = 0; i < INCIDENTS_MAX; i++) {
        struct row *row = &incidents->rows[i];
        if (row->incident.kind == 0) {
            return row;
        }
        if (row->incident.count == 0 && !row->out &&
            (oldest == NULL || row->told_ns < oldest->told_ns)) {
            oldest = row;
        }
    }
    return oldest;
}

static struct row *row_find(struct incidents *incidents, enum incident_kind kind,
                            const char *fabric, const char *instance, uint32_t slab)
{
    for (uint32_t i = 0; i < INCIDENTS_MAX; i++) {
        struct row *row = &incidents->rows[i];
        if (is_like(row, kind, instance, slab) && strcmp(row->incident.fabric, fabric) == 0) {
            return row;
        }
    }
    struct row *row = row_take(incidents);
    if (row != NULL) {
        *row = (struct row){.incident = {.kind = kind, .fabric = fabric, .slab = slab}};
        (void)snprintf(row->incident.instance, sizeof(row->incident.instance), "%s", instance);
    }
    return row;
}

void incidents_add(struct incidents *incidents, enum incident_kind kind, const char *fabric,
                   const char *instance, uint32_t slab, const char *peer)
{
    lock(incidents);
    incidents->count++;
    struct row *row = row_find(incidents, kind, fabric, instance, slab);
    if (row != NULL) {
        row->incident.count++;
        (void)snprintf(row->incident.peer, sizeof(row->incident.peer), "%s", peer);
    }
    unlock(incidents);
}

void incidents_add_from(struct incidents *incidents, enum incident_kind kind, const char *fabric,
                        const char *instance, uint32_t slab, int fd)
{
    char text[FABRIC_ADDRESS_BYTES] = "";
    struct fabric_address address = {.length = sizeof(address.storage)};
    if (getpeername(fd, (struct sockaddr *)&address.storage, &address.length) == 0 &&
        (address.storage.ss_family == AF_INET || address.storage.ss_family == AF_INET6)) {
        fabric_address_format(&address, text);
    }
    incidents_add(incidents, kind, fabric, instance, slab, text);
}

void incidents_attach(struct incidents *incidents, const struct grants *grants, const char *fabric,
                      const char *instance, int fd, uint32_t slab, uint64_t generation)
{
    bool old = grants_is_old(grants, slab, generation);
    incidents_add_from(incidents, old ? INCIDENT_OLD_KEY : INCIDENT_WRONG_KEY, fabric, instance,
                       grants_has_slab(grants, slab) ? slab : INCIDENTS_ANY_SLAB, fd);
}

static bool is_due(const struct row *row, uint64_t now_ns)
{
    return row->incident.kind != 0 && row->incident.count != 0 && !row->out &&
           (row->told_ns == 0 || now_ns - row->told_ns >= INCIDENTS_AGAIN_MS * NS_PER_MS);
}

static bool take_token(struct incidents *incidents, uint64_t now_ns)
{
    uint64_t made = (now_ns - incidents->token_ns) / (INCIDENTS_PAUSE_MS * NS_PER_MS);
    if (made != 0) {
        incidents->tokens = (uint32_t)MIN(INCIDENTS_BURST, incidents->tokens + made);
        incidents->token_ns = now_ns;
    }
    if (incidents->tokens == 0) {
        return false;
    }
    incidents->tokens--;
    return true;
}

bool incidents_next(struct incidents *incidents, uint64_t now_ns, struct incident *ret,
                    uint32_t *ret_ticket)
{
    bool found = false;
    lock(incidents);
    for (uint32_t i = 0; i < INCIDENTS_MAX && !found; i++) {
        struct row *row = &incidents->rows[i];
        if (!is_due(row, now_ns)) {
            continue;
        }
        if (!take_token(incidents, now_ns)) {
            break;
        }
        *ret = row->incident;
        *ret_ticket = i;
        row->sent = row->incident.count;
        row->out = true;
        found = true;
    }
    unlock(incidents);
    return found;
}

void incidents_told(struct incidents *incidents, uint32_t ticket, uint64_t now_ns, bool arrived)
{
    CHECK(ticket < INCIDENTS_MAX);
    lock(incidents);
    struct row *row = &incidents->rows[ticket];
    CHECK(row->out);
    row->out = false;
    if (arrived) {
        row->incident.count -= row->sent;
        row->told_ns = now_ns;
    }
    unlock(incidents);
}

const char *incident_name(enum incident_kind kind)
{
    static const char *const names[] = {"unknown",    "wrong-key",    "old-key", "read-only",
                                        "beyond-end", "not-attached", "device"};
    return (uint32_t)kind < ARRAY_LEN(names) ? names[kind] : names[0];
}

uint64_t incidents_count(struct incidents *incidents)
{
    lock(incidents);
    uint64_t count = incidents->count;
    unlock(incidents);
    return count;
}

bool incidents_has(struct incidents *incidents, enum incident_kind kind, const char *instance,
                   uint32_t slab)
{
    bool found = false;
    lock(incidents);
    for (uint32_t i = 0; i < INCIDENTS_MAX && !found; i++) {
        found = is_like(&incidents->rows[i], kind, instance, slab);
    }
    unlock(incidents);
    return found;
}
