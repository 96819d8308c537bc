/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/verbs_domain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list domains = {&domains, &domains};

static struct verbs_domain *find(const struct verbs_port *port)
{
    list_for_each (node, &domains) {
        struct verbs_domain *domain = list_entry(node, struct verbs_domain, node);
        if (!atomic_load(&domain->lost) && strcmp(domain->port.name, port->name) == 0 &&
            domain->port.number == port->number &&
            domain->port.gid.gid_index == port->gid.gid_index) {
            return domain;
        }
    }
    return NULL;
}

/* Takes the port over, also on failure. */
static struct verbs_domain *make(struct verbs_port *port)
{
    struct verbs_domain *domain = calloc(1, sizeof(*domain));
    struct ibv_pd *pd = domain == NULL ? NULL : ibv_alloc_pd(port->context);
    int flags = fcntl(port->context->async_fd, F_GETFL);
    if (pd == NULL || flags < 0 ||
        fcntl(port->context->async_fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        if (pd != NULL) {
            (void)ibv_dealloc_pd(pd);
        }
        verbs_port_close(port);
        free(domain);
        return NULL;
    }
    CHECK(pthread_mutex_init(&domain->mutex, NULL) == 0);
    domain->port = *port;
    domain->pd = pd;
    list_init(&domain->regions);
    list_append(&domains, &domain->node);
    return domain;
}

int verbs_domain_open(const struct sockaddr *address, struct verbs_domain **ret, char *ret_reason)
{
    struct verbs_port port;
    int error = verbs_port_open(address, VERBS_GID_ANY, &port, ret_reason);
    if (error != 0) {
        return error;
    }
    CHECK(pthread_mutex_lock(&mutex) == 0);
    struct verbs_domain *domain = find(&port);
    if (domain != NULL) {
        verbs_port_close(&port);
    } else {
        domain = make(&port);
    }
    if (domain != NULL) {
        domain->users++;
        *ret = domain;
    } else {
        (void)snprintf(ret_reason, VERBS_REASON_BYTES, "%.48s has no protection domain left",
                       port.name);
        error = -ENOMEM;
    }
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    return error;
}

struct verbs_domain *verbs_domain_close(struct verbs_domain *domain)
{
    if (domain == NULL) {
        return NULL;
    }
    CHECK(pthread_mutex_lock(&mutex) == 0);
    bool last = --domain->users == 0;
    if (last) {
        list_remove(&domain->node);
    }
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    if (last) {
        CHECK(list_empty(&domain->regions));
        (void)ibv_dealloc_pd(domain->pd);
        verbs_port_close(&domain->port);
        CHECK(pthread_mutex_destroy(&domain->mutex) == 0);
        free(domain);
    }
    return NULL;
}

static struct verbs_region *find_region(const struct verbs_domain *domain, const void *base,
                                        uint64_t bytes)
{
    list_for_each (node, &domain->regions) {
        struct verbs_region *region = list_entry(node, struct verbs_region, node);
        if (region->base == base && region->bytes == bytes) {
            return region;
        }
    }
    return NULL;
}

static struct verbs_region *make_region(struct verbs_domain *domain, void *base, uint64_t bytes)
{
    struct verbs_region *region = calloc(1, sizeof(*region));
    if (region == NULL) {
        return NULL;
    }
    /* What the device says that it can, it may still refuse for this memory: then it is locked. */
    if (domain->port.on_demand) {
        region->mr =
            ibv_reg_mr(domain->pd, base, bytes, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND);
    }
    if (region->mr == NULL) {
        region->mr = ibv_reg_mr(domain->pd, base, bytes, IBV_ACCESS_LOCAL_WRITE);
    }
    if (region->mr == NULL) {
        free(region);
        return NULL;
    }
    region->base = base;
    region->bytes = bytes;
    list_append(&domain->regions, &region->node);
    return region;
}

int verbs_domain_register(struct verbs_domain *domain, void *base, uint64_t bytes,
                          struct verbs_region **ret)
{
    CHECK(pthread_mutex_lock(&domain->mutex) == 0);
    struct verbs_region *region = find_region(domain, base, bytes);
    if (region == NULL) {
        region = make_region(domain, base, bytes);
    }
    if (region != NULL) {
        region->users++;
        *ret = region;
    }
    CHECK(pthread_mutex_unlock(&domain->mutex) == 0);
    return region == NULL ? -ENOMEM : 0;
}

void verbs_domain_release(struct verbs_domain *domain, struct verbs_region *region)
{
    CHECK(pthread_mutex_lock(&domain->mutex) == 0);
    if (--region->users == 0) {
        list_remove(&region->node);
        (void)ibv_dereg_mr(region->mr);
        free(region);
    }
    CHECK(pthread_mutex_unlock(&domain->mutex) == 0);
}

void verbs_domain_look(struct verbs_domain *domain)
{
    struct ibv_async_event event;
    while (!atomic_load(&domain->lost) && ibv_get_async_event(domain->port.context, &event) == 0) {
        if (event.event_type == IBV_EVENT_DEVICE_FATAL) {
            atomic_store(&domain->lost, true);
        }
        ibv_ack_async_event(&event);
    }
}
