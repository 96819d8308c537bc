/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epoll(7) over the same polling as poll(2): level and edge triggered, one shot. What a program
 * watches are pipes, event counters, timers, signals and its input: few enough to look at all of
 * them after each change.
 */
#include <errno.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/vdso.h"

#define WATCH_COUNT_MAX 4096u
#define EVENTS_MAX      4096u
#define EPOLL_CTL_ADD   1
#define EPOLL_CTL_DEL   2
#define EPOLL_CTL_MOD   3
#define EPOLL_ONESHOT   (1u << 30)
#define EPOLL_EDGE      (1u << 31)
#define EPOLL_EVENTS    0xffffu
#define EVENT_BYTES     12u /* packed: events u32, data u64 */

struct watch {
    int fd;            /* -1: free */
    struct file *file; /* not referenced: only compared with what the descriptor is now */
    uint32_t events;
    uint32_t seen; /* edge triggered: what was reported */
    uint64_t data;
};

struct epoll {
    uint32_t capacity;
    struct watch *watches;
};

static void epoll_close(struct file *f)
{
    struct epoll *e = f->data;
    kfree(e->watches);
    kfree(e);
}

static const struct file_ops epoll_ops = {.close = epoll_close};

static int64_t create(const struct call *c, bool close_on_exec)
{
    struct file *f;
    struct epoll *e = kzalloc(sizeof(*e));
    if (e == NULL) {
        return -ENOMEM;
    }
    int rc = file_new_anonymous("[eventpoll]", &epoll_ops, LX_O_RDWR, e, &f);
    if (rc != 0) {
        kfree(e);
        return rc;
    }
    return fd_install(c->p, f, 0, close_on_exec);
}

int64_t sys_epoll_create(const struct call *c)
{
    return (int)c->arg[0] > 0 ? create(c, false) : -EINVAL;
}

int64_t sys_epoll_create1(const struct call *c)
{
    uint32_t flags = (uint32_t)c->arg[0];
    return (flags & ~LX_O_CLOEXEC) == 0 ? create(c, flags != 0) : -EINVAL;
}

static int get_epoll(const struct call *c, struct file **ret_file, struct epoll **ret)
{
    void *data;
    int rc = fd_get_kind(c->p, (int)c->arg[0], &epoll_ops, ret_file, &data);
    *ret = rc == 0 ? data : NULL;
    return rc;
}

/* A watch whose descriptor was closed (and perhaps reused) is gone. */
static bool is_live(const struct call *c, const struct watch *w)
{
    struct fd_entry *entry = w->fd < 0 ? NULL : fd_entry(c->p, w->fd);
    return entry != NULL && entry->file == w->file;
}

static struct watch *find(const struct call *c, struct epoll *e, int fd)
{
    for (uint32_t i = 0; i < e->capacity; i++) {
        if (e->watches[i].fd == fd && is_live(c, &e->watches[i])) {
            return &e->watches[i];
        }
    }
    return NULL;
}

static struct watch *find_free(const struct call *c, struct epoll *e)
{
    for (uint32_t i = 0; i < e->capacity; i++) {
        if (!is_live(c, &e->watches[i])) {
            return &e->watches[i];
        }
    }
    uint32_t capacity = e->capacity == 0 ? 16 : e->capacity * 2;
    struct watch *grown =
        capacity > WATCH_COUNT_MAX ? NULL : krealloc(e->watches, capacity * sizeof(grown[0]));
    if (grown == NULL) {
        return NULL;
    }
    for (uint32_t i = e->capacity; i < capacity; i++) {
        grown[i] = (struct watch){.fd = -1};
    }
    struct watch *first = &grown[e->capacity];
    e->watches = grown;
    e->capacity = capacity;
    return first;
}

static int event_load(uint64_t user, uint32_t *ret_events, uint64_t *ret_data)
{
    if (copy_from_user(ret_events, user, 4) != 0) {
        return -EFAULT;
    }
    return copy_from_user(ret_data, user + 4, 8);
}

static int64_t control(const struct call *c, struct epoll *e, struct file *watched)
{
    int operation = (int)c->arg[1], fd = (int)c->arg[2];
    uint32_t events = 0;
    uint64_t data = 0;
    struct watch *w = find(c, e, fd);
    if (operation != EPOLL_CTL_DEL && event_load(c->arg[3], &events, &data) != 0) {
        return -EFAULT;
    }
    if (operation == EPOLL_CTL_ADD) {
        if (w != NULL) {
            return -EEXIST;
        }
        if (node_is(watched->node, LX_S_IFREG) || node_is(watched->node, LX_S_IFDIR)) {
            return -EPERM;
        }
        w = find_free(c, e);
        if (w == NULL) {
            return -ENOSPC;
        }
    } else if (w == NULL) {
        return -ENOENT;
    }
    if (operation == EPOLL_CTL_DEL) {
        w->fd = -1;
    } else if (operation == EPOLL_CTL_ADD || operation == EPOLL_CTL_MOD) {
        *w = (struct watch){.fd = fd, .file = watched, .events = events, .data = data};
    } else {
        return -EINVAL;
    }
    return 0;
}

int64_t sys_epoll_ctl(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    CLEANUP(file_cleanup) struct file *watched = NULL;
    struct epoll *e;
    int rc = get_epoll(c, &f, &e);
    if (rc == 0) {
        rc = fd_get(c->p, (int)c->arg[2], &watched);
    }
    if (rc == 0 && watched->ops == &epoll_ops) {
        rc = -EINVAL;
    }
    return rc != 0 ? rc : control(c, e, watched);
}

/* What is to be reported of one watch now. */
static uint32_t ready_events(struct watch *w)
{
    uint32_t wanted = (w->events & EPOLL_EVENTS) | LX_POLLERR | LX_POLLHUP;
    uint32_t now = w->events == 0 ? 0 : file_poll(w->file) & wanted;
    uint32_t report = (w->events & EPOLL_EDGE) != 0 ? now & ~w->seen : now;
    w->seen = now;
    return report;
}

static int64_t collect(const struct call *c, struct epoll *e, uint64_t user, uint64_t max,
                       bool *input)
{
    int64_t count = 0;
    for (uint32_t i = 0; i < e->capacity && (uint64_t)count < max; i++) {
        struct watch *w = &e->watches[i];
        if (!is_live(c, w)) {
            continue;
        }
        *input = *input || w->file->ops->waits_for_input;
        uint32_t events = ready_events(w);
        if (events == 0) {
            continue;
        }
        uint64_t at = user + (uint64_t)count * EVENT_BYTES;
        if (copy_to_user(at, &events, 4) != 0 || copy_to_user(at + 4, &w->data, 8) != 0) {
            return -EFAULT;
        }
        w->events = (w->events & EPOLL_ONESHOT) != 0 ? 0 : w->events;
        count++;
    }
    return count;
}

int64_t sys_epoll_wait(const struct call *c)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    struct epoll *e;
    int timeout_ms = (int)c->arg[3];
    uint64_t deadline =
        timeout_ms < 0 ? UINT64_MAX : program_monotonic_ns() + (uint64_t)timeout_ms * 1000000u;
    int64_t result = get_epoll(c, &f, &e);
    if (result == 0 && ((int)c->arg[2] <= 0 || (int)c->arg[2] > (int)EVENTS_MAX)) {
        result = -EINVAL;
    }
    while (result == 0) {
        bool input = false;
        result = collect(c, e, c->arg[1], c->arg[2], &input);
        if (result != 0 || program_monotonic_ns() >= deadline) {
            break;
        }
        result = call_wait_ready(deadline, input);
    }
    return result;
}

int64_t sys_epoll_pwait(const struct call *c)
{
    int rc = call_mask(c, c->arg[4], c->arg[5]);
    return rc != 0 ? rc : sys_epoll_wait(c);
}
