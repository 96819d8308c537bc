/* SPDX-License-Identifier: Apache-2.0 */
/* poll(2), select(2), and the refusal of sockets. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/vdso.h"

#define NS_PER_MS      1000000ull
#define SELECT_FDS_MAX 1024u
#define SELECT_BYTES   (SELECT_FDS_MAX / 8)
#define ALWAYS         (LX_POLLERR | LX_POLLHUP | LX_POLLNVAL)
#define NEVER          UINT64_MAX

static uint64_t deadline_after(uint64_t ns)
{
    uint64_t now = program_monotonic_ns();
    return ns > NEVER - 1 - now ? NEVER - 1 : now + ns;
}

/* The events that hold for one descriptor; *input_wanted if it may become ready from outside. */
static unsigned look(const struct call *c, int fd, unsigned events, bool *input_wanted)
{
    struct fd_entry *entry = fd_entry(c->p, fd);
    if (entry == NULL) {
        return LX_POLLNVAL;
    }
    *input_wanted = *input_wanted || entry->file->ops->waits_for_input;
    return file_poll(entry->file) & (events | ALWAYS);
}

static int64_t poll_once(const struct call *c, struct lx_pollfd *fds, uint64_t count, bool *input)
{
    int64_t ready = 0;
    for (uint64_t i = 0; i < count; i++) {
        fds[i].revents = 0;
        if (fds[i].fd >= 0) {
            fds[i].revents = (uint16_t)look(c, fds[i].fd, fds[i].events, input);
        }
        ready += fds[i].revents != 0 ? 1 : 0;
    }
    return ready;
}

static int64_t poll_until(const struct call *c, uint64_t user, uint64_t count, uint64_t deadline)
{
    if (count > c->p->limits[LX_RLIMIT_NOFILE].soft) {
        return -EINVAL;
    }
    size_t bytes = count * sizeof(struct lx_pollfd);
    struct lx_pollfd *fds = kmalloc(MAX(bytes, 1u));
    if (fds == NULL) {
        return -ENOMEM;
    }
    int64_t result = copy_from_user(fds, user, bytes);
    while (result == 0) {
        bool input = false;
        result = poll_once(c, fds, count, &input);
        if (result != 0 || program_monotonic_ns() >= deadline) {
            break;
        }
        result = call_wait_ready(deadline, input);
    }
    if (result >= 0 && copy_to_user(user, fds, bytes) != 0) {
        result = -EFAULT;
    }
    kfree(fds);
    return result;
}

int64_t sys_poll(const struct call *c)
{
    int timeout_ms = (int)c->arg[2];
    uint64_t deadline = timeout_ms < 0 ? NEVER : deadline_after((uint64_t)timeout_ms * NS_PER_MS);
    return poll_until(c, c->arg[0], c->arg[1], deadline);
}

/* A timespec by pointer, 0: wait for ever. */
static int deadline_of(uint64_t user, uint64_t *ret)
{
    uint64_t ns;
    if (user == 0) {
        *ret = NEVER;
        return 0;
    }
    int rc = call_timespec(user, &ns);
    if (rc == 0) {
        *ret = deadline_after(ns);
    }
    return rc;
}

int64_t sys_ppoll(const struct call *c)
{
    uint64_t deadline;
    int rc = deadline_of(c->arg[2], &deadline);
    if (rc == 0) {
        rc = call_mask(c, c->arg[3], c->arg[4]);
    }
    return rc != 0 ? rc : poll_until(c, c->arg[0], c->arg[1], deadline);
}

struct select_sets {
    uint8_t read[SELECT_BYTES];
    uint8_t write[SELECT_BYTES];
    uint8_t except[SELECT_BYTES];
};

static bool set_has(const uint8_t *set, int fd)
{
    return (set[fd / 8] >> fd % 8 & 1) != 0;
}

static int64_t set_if(uint8_t *set, int fd, bool on)
{
    if (on) {
        set[fd / 8] |= (uint8_t)(1 << fd % 8);
    }
    return on ? 1 : 0;
}

static int64_t select_once(const struct call *c, int count, const struct select_sets *wanted,
                           struct select_sets *ready, bool *input)
{
    int64_t total = 0;
    memset(ready, 0, sizeof(*ready));
    for (int fd = 0; fd < count; fd++) {
        bool r = set_has(wanted->read, fd), w = set_has(wanted->write, fd);
        bool e = set_has(wanted->except, fd);
        if (!r && !w && !e) {
            continue;
        }
        unsigned events = look(c, fd, LX_POLLIN | LX_POLLOUT | LX_POLLPRI, input);
        if ((events & LX_POLLNVAL) != 0) {
            return -EBADF;
        }
        total +=
            set_if(ready->read, fd, r && (events & (LX_POLLIN | LX_POLLHUP | LX_POLLERR)) != 0);
        total += set_if(ready->write, fd, w && (events & (LX_POLLOUT | LX_POLLERR)) != 0);
        total += set_if(ready->except, fd, e && (events & LX_POLLPRI) != 0);
    }
    return total;
}

static int sets_load(const struct call *c, size_t bytes, struct select_sets *ret)
{
    uint8_t *sets[3] = {ret->read, ret->write, ret->except};
    memset(ret, 0, sizeof(*ret));
    for (int i = 0; i < 3; i++) {
        if (c->arg[1 + i] != 0 && copy_from_user(sets[i], c->arg[1 + i], bytes) != 0) {
            return -EFAULT;
        }
    }
    return 0;
}

static int sets_store(const struct call *c, size_t bytes, const struct select_sets *ready)
{
    const uint8_t *sets[3] = {ready->read, ready->write, ready->except};
    for (int i = 0; i < 3; i++) {
        if (c->arg[1 + i] != 0 && copy_to_user(c->arg[1 + i], sets[i], bytes) != 0) {
            return -EFAULT;
        }
    }
    return 0;
}

static int64_t select_until(const struct call *c, uint64_t deadline)
{
    struct select_sets wanted, ready;
    int count = (int)c->arg[0];
    if (count < 0 || count > (int)SELECT_FDS_MAX) {
        return -EINVAL;
    }
    size_t bytes = ALIGN_UP((uint64_t)count, 64) / 8;
    int64_t result = sets_load(c, bytes, &wanted);
    while (result == 0) {
        bool input = false;
        result = select_once(c, count, &wanted, &ready, &input);
        if (result != 0 || program_monotonic_ns() >= deadline) {
            break;
        }
        result = call_wait_ready(deadline, input);
    }
    if (result >= 0 && sets_store(c, bytes, &ready) != 0) {
        result = -EFAULT;
    }
    return result;
}

int64_t sys_select(const struct call *c)
{
    struct lx_timeval tv;
    uint64_t deadline = NEVER;
    if (c->arg[4] != 0) {
        if (copy_from_user(&tv, c->arg[4], sizeof(tv)) != 0) {
            return -EFAULT;
        }
        if (tv.tv_sec < 0 || tv.tv_usec < 0) {
            return -EINVAL;
        }
        uint64_t seconds = MIN((uint64_t)tv.tv_sec, 1000000000u);
        deadline = deadline_after(seconds * 1000000000u + (uint64_t)tv.tv_usec % 1000000u * 1000u);
    }
    return select_until(c, deadline);
}

int64_t sys_pselect6(const struct call *c)
{
    uint64_t deadline;
    uint64_t mask[2] = {0, 0}; /* its address and its length */
    int rc = deadline_of(c->arg[4], &deadline);
    if (rc == 0 && c->arg[5] != 0) {
        rc = copy_from_user(mask, c->arg[5], sizeof(mask));
    }
    if (rc == 0) {
        rc = call_mask(c, mask[0], mask[1]);
    }
    return rc != 0 ? rc : select_until(c, deadline);
}

/* ---- no sockets yet ---- */

int64_t sys_socket(const struct call *c)
{
    return -EAFNOSUPPORT;
}

int64_t sys_connect(const struct call *c)
{
    return fd_entry(c->p, (int)c->arg[0]) != NULL ? -ENOTSOCK : -EBADF;
}

int64_t sys_socketpair(const struct call *c)
{
    return -EAFNOSUPPORT;
}
