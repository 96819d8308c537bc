/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/fabric/provider.h"
#include "lib/sys/sys.h"
#include "lib/wire/pageop.h"

#define NS_PER_MS 1000000ull

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = sys_monotonic_ns();
        if (now_ns >= deadline_ns) {
            return -ETIMEDOUT;
        }
        struct pollfd item = {.fd = fd, .events = events};
        int count = poll(&item, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1);
        if (count > 0) {
            return 0;
        }
        if (count < 0 && errno != EINTR) {
            return -errno;
        }
    }
}

static int connect_until(int fd, const struct sockaddr *address, socklen_t length,
                         uint64_t deadline_ns)
{
    if (connect(fd, address, length) == 0) {
        return 0;
    }
    /* A unix socket whose backlog is full says EAGAIN; that is as good as a refusal. */
    if (errno != EINPROGRESS) {
        return -errno;
    }
    int error = wait_for(fd, POLLOUT, deadline_ns);
    if (error != 0) {
        return error;
    }
    socklen_t error_length = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_length) != 0) {
        return -errno;
    }
    return -error;
}

static int exchange_hello(int fd, uint64_t deadline_ns)
{
    uint8_t data[PAGEOP_HELLO_BYTES];
    pageop_hello_encode(data);
    if (send(fd, data, sizeof(data), MSG_NOSIGNAL) != (ssize_t)sizeof(data)) {
        return -EPIPE;
    }
    size_t done = 0;
    while (done < sizeof(data)) {
        int error = wait_for(fd, POLLIN, deadline_ns);
        if (error != 0) {
            return error;
        }
        ssize_t count = recv(fd, data + done, sizeof(data) - done, 0);
        if (count == 0) {
            return -ECONNRESET;
        }
        if (count < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        done += count > 0 ? (size_t)count : 0;
    }
    return pageop_hello_decode(data);
}

static const char *explain(int error)
{
    if (error == -EPROTO) {
        return "whoever listens there is no memory node";
    }
    if (error == -EPROTONOSUPPORT) {
        return "the memory node speaks another version of the data-plane protocol";
    }
    return strerror(-error);
}

int fabric_connect_hello(int type, const struct sockaddr *address, socklen_t address_length,
                         uint64_t deadline_ns, int *ret_fd, char *ret_reason)
{
    int fd = socket(address->sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error = fd < 0 ? -errno : connect_until(fd, address, address_length, deadline_ns);
    if (error == 0) {
        error = exchange_hello(fd, deadline_ns);
    }
    if (error == 0 && address->sa_family != AF_UNIX) {
        int one = 1;
        error = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) == 0 ? 0 : -errno;
    }
    if (error != 0) {
        (void)snprintf(ret_reason, FABRIC_REASON_BYTES, "%s", explain(error));
        if (fd >= 0) {
            (void)close(fd);
        }
        bool nobody = error == -ECONNREFUSED || error == -ENOENT;
        return error == -ETIMEDOUT ? -ETIMEDOUT : nobody ? -ECONNREFUSED : -EHOSTUNREACH;
    }
    *ret_fd = fd;
    return 0;
}
