/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/ctl_channel.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"

#define BUFFER_BYTES (CTL_HEADER_BYTES + CTL_BODY_BYTES_MAX)

struct ctl_channel {
    struct event_base *base;
    struct ctl_callbacks callbacks;
    struct sockaddr_un address;
    int listen_fd;
    int fd; /* -1: not connected (any more) */
    struct event *listen_event;
    struct event *read_event;
    size_t held;
    uint8_t buffer[BUFFER_BYTES];
};

static void hang_up(struct ctl_channel *channel, const char *reason)
{
    if (channel->read_event != NULL) {
        event_free(channel->read_event);
        channel->read_event = NULL;
    }
    (void)close(channel->fd);
    channel->fd = -1;
    channel->callbacks.closed(channel->callbacks.context, reason);
}

/* Hands over the whole records in the buffer. False: the channel was ended. */
static bool take_records(struct ctl_channel *channel)
{
    size_t at = 0;
    while (channel->held - at >= CTL_HEADER_BYTES) {
        struct ctl_header header;
        int r = ctl_header_decode(channel->buffer + at, &header);
        if (r < 0) {
            hang_up(channel, r == -EMSGSIZE ? "a record is too long" : "a record is malformed");
            return false;
        }
        if (channel->held - at - CTL_HEADER_BYTES < header.length) {
            break;
        }
        channel->callbacks.record(channel->callbacks.context, header.type,
                                  channel->buffer + at + CTL_HEADER_BYTES, header.length);
        at += CTL_HEADER_BYTES + header.length;
        if (channel->fd < 0) {
            return false;
        }
    }
    memmove(channel->buffer, channel->buffer + at, channel->held - at);
    channel->held -= at;
    return true;
}

/* One read. False: nothing more to read for now. */
static bool take_bytes(struct ctl_channel *channel)
{
    ssize_t n = recv(channel->fd, channel->buffer + channel->held, BUFFER_BYTES - channel->held,
                     MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) {
        return true;
    }
    if (n < 0 && errno == EAGAIN) {
        return false;
    }
    if (n <= 0) {
        hang_up(channel, NULL);
        return false;
    }
    channel->held += (size_t)n;
    return take_records(channel);
}

static void on_readable(evutil_socket_t fd, short events, void *context)
{
    (void)fd;
    (void)events;
    (void)take_bytes(context);
}

static void on_connection(evutil_socket_t fd, short events, void *context)
{
    struct ctl_channel *channel = context;
    (void)events;
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0) {
        return;
    }
    struct event *event = channel->fd >= 0 ? NULL
                                           : event_new(channel->base, peer, EV_READ | EV_PERSIST,
                                                       on_readable, channel);
    if (event == NULL || event_add(event, NULL) < 0) {
        (void)close(peer);
        return;
    }
    channel->fd = peer;
    channel->read_event = event;
}

static int channel_listen(struct ctl_channel *channel)
{
    (void)unlink(channel->address.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    if (bind(fd, (struct sockaddr *)&channel->address, sizeof(channel->address)) < 0 ||
        listen(fd, 1) < 0) {
        int r = -errno;
        (void)close(fd);
        return r;
    }
    channel->listen_fd = fd;
    channel->listen_event =
        event_new(channel->base, fd, EV_READ | EV_PERSIST, on_connection, channel);
    return channel->listen_event != NULL && event_add(channel->listen_event, NULL) == 0 ? 0
                                                                                        : -ENOMEM;
}

int ctl_channel_open(struct event_base *base, const char *path,
                     const struct ctl_callbacks *callbacks, struct ctl_channel **ret)
{
    struct ctl_channel *channel = calloc(1, sizeof(*channel));
    if (channel == NULL) {
        return -ENOMEM;
    }
    channel->base = base;
    channel->callbacks = *callbacks;
    channel->listen_fd = -1;
    channel->fd = -1;
    channel->address.sun_family = AF_UNIX;
    int r = strlen(path) >= sizeof(channel->address.sun_path) ? -ENAMETOOLONG : 0;
    if (r == 0) {
        (void)strcpy(channel->address.sun_path, path);
        r = channel_listen(channel);
    }
    if (r < 0) {
        (void)ctl_channel_close(channel);
        return r;
    }
    *ret = channel;
    return 0;
}

struct ctl_channel *ctl_channel_close(struct ctl_channel *channel)
{
    if (channel == NULL) {
        return NULL;
    }
    if (channel->read_event != NULL) {
        event_free(channel->read_event);
    }
    if (channel->listen_event != NULL) {
        event_free(channel->listen_event);
    }
    if (channel->fd >= 0) {
        (void)close(channel->fd);
    }
    if (channel->listen_fd >= 0) {
        (void)close(channel->listen_fd);
        (void)unlink(channel->address.sun_path);
    }
    free(channel);
    return NULL;
}

int ctl_channel_send(struct ctl_channel *channel, uint16_t type, const void *body, uint32_t length)
{
    uint8_t data[CTL_HEADER_BYTES + 64];
    CHECK(length <= sizeof(data) - CTL_HEADER_BYTES);
    if (channel->fd < 0) {
        return -ENOTCONN;
    }
    struct ctl_header header = {.type = type, .length = length};
    ctl_header_encode(&header, data);
    if (length > 0) {
        memcpy(data + CTL_HEADER_BYTES, body, length);
    }
    ssize_t n = send(channel->fd, data, CTL_HEADER_BYTES + length, MSG_NOSIGNAL | MSG_DONTWAIT);
    /* A record of some bytes goes into a socket buffer whole or not at all. */
    return n == (ssize_t)(CTL_HEADER_BYTES + length) ? 0 : -EAGAIN;
}

void ctl_channel_drain(struct ctl_channel *channel)
{
    while (channel->fd >= 0 && take_bytes(channel)) {
    }
}
