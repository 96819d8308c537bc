/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fabric/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/check.h"

#define TURN_MS     2
#define CHUNK_BYTES 65536u

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void hear(struct proxy *proxy)
{
    int one = 1;
    struct sockaddr_in address = loopback(proxy->port);
    socklen_t length = sizeof(address);
    proxy->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK(proxy->listen_fd >= 0);
    CHECK(setsockopt(proxy->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
    CHECK(bind(proxy->listen_fd, (struct sockaddr *)&address, length) == 0);
    CHECK(listen(proxy->listen_fd, 16) == 0);
    CHECK(getsockname(proxy->listen_fd, (struct sockaddr *)&address, &length) == 0);
    proxy->port = ntohs(address.sin_port);
}

static void pair_close(struct proxy_pair *pair)
{
    for (unsigned i = 0; i < 2; i++) {
        if (pair->fds[i] >= 0) {
            (void)close(pair->fds[i]);
            pair->fds[i] = -1;
        }
    }
}

static void pair_open(struct proxy *proxy, int client)
{
    struct sockaddr_in address = loopback(__atomic_load_n(&proxy->target_port, __ATOMIC_SEQ_CST));
    int node = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(node >= 0);
    for (uint32_t i = 0; i < PROXY_PAIRS_MAX; i++) {
        struct proxy_pair *pair = &proxy->pairs[i];
        if (pair->fds[0] < 0 && connect(node, (struct sockaddr *)&address, sizeof(address)) == 0) {
            pair->fds[0] = client;
            pair->fds[1] = node;
            (void)__atomic_add_fetch(&proxy->accepted, 1, __ATOMIC_SEQ_CST);
            return;
        }
    }
    (void)close(node);
    (void)close(client);
}

static void pass(struct proxy_pair *pair, unsigned from)
{
    static uint8_t data[CHUNK_BYTES]; /* one thread, one proxy at a time */
    ssize_t count = recv(pair->fds[from], data, sizeof(data), MSG_DONTWAIT);
    if (count <= 0) {
        pair_close(pair);
        return;
    }
    for (ssize_t done = 0; done < count;) {
        ssize_t sent = send(pair->fds[1 - from], data + done, (size_t)(count - done), MSG_NOSIGNAL);
        if (sent < 0) {
            pair_close(pair);
            return;
        }
        done += sent;
    }
}

static void obey(struct proxy *proxy)
{
    bool deaf = __atomic_load_n(&proxy->deaf, __ATOMIC_SEQ_CST);
    if (deaf && proxy->listen_fd >= 0) {
        (void)close(proxy->listen_fd);
        proxy->listen_fd = -1;
    } else if (!deaf && proxy->listen_fd < 0) {
        hear(proxy);
    }
    if (__atomic_load_n(&proxy->cuts, __ATOMIC_SEQ_CST) > 0) {
        for (uint32_t i = 0; i < PROXY_PAIRS_MAX; i++) {
            pair_close(&proxy->pairs[i]);
        }
        (void)__atomic_sub_fetch(&proxy->cuts, 1, __ATOMIC_SEQ_CST);
    }
}

static void turn(struct proxy *proxy)
{
    struct pollfd fds[2 * PROXY_PAIRS_MAX + 1];
    bool stalled = __atomic_load_n(&proxy->stalled, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < PROXY_PAIRS_MAX; i++) {
        for (unsigned k = 0; k < 2; k++) {
            fds[2 * i + k] =
                (struct pollfd){.fd = stalled ? -1 : proxy->pairs[i].fds[k], .events = POLLIN};
        }
    }
    fds[2 * PROXY_PAIRS_MAX] = (struct pollfd){.fd = proxy->listen_fd, .events = POLLIN};
    if (poll(fds, 2 * PROXY_PAIRS_MAX + 1, TURN_MS) <= 0) {
        return;
    }
    for (uint32_t i = 0; i < 2 * PROXY_PAIRS_MAX; i++) {
        if (fds[i].revents != 0 && proxy->pairs[i / 2].fds[i % 2] == fds[i].fd) {
            pass(&proxy->pairs[i / 2], i % 2);
        }
    }
    int client = fds[2 * PROXY_PAIRS_MAX].revents == 0
                     ? -1
                     : accept4(proxy->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (client >= 0) {
        pair_open(proxy, client);
    }
}

static void *run(void *context)
{
    struct proxy *proxy = context;
    while (!__atomic_load_n(&proxy->stop, __ATOMIC_SEQ_CST)) {
        obey(proxy);
        turn(proxy);
    }
    return NULL;
}

void proxy_aim(struct proxy *proxy, const char *target)
{
    const char *port = strrchr(target, ':');
    CHECK(port != NULL);
    __atomic_store_n(&proxy->target_port, (uint16_t)atoi(port + 1), __ATOMIC_SEQ_CST);
}

void proxy_open(struct proxy *proxy, const char *target)
{
    memset(proxy, 0, sizeof(*proxy));
    for (uint32_t i = 0; i < PROXY_PAIRS_MAX; i++) {
        proxy->pairs[i].fds[0] = proxy->pairs[i].fds[1] = -1;
    }
    proxy_aim(proxy, target);
    hear(proxy);
    (void)snprintf(proxy->address, sizeof(proxy->address), "127.0.0.1:%u", proxy->port);
    CHECK(pthread_create(&proxy->thread, NULL, run, proxy) == 0);
}

void proxy_close(struct proxy *proxy)
{
    proxy_set(&proxy->stop, true);
    CHECK(pthread_join(proxy->thread, NULL) == 0);
    for (uint32_t i = 0; i < PROXY_PAIRS_MAX; i++) {
        pair_close(&proxy->pairs[i]);
    }
    if (proxy->listen_fd >= 0) {
        (void)close(proxy->listen_fd);
    }
}

void proxy_cut(struct proxy *proxy)
{
    (void)__atomic_add_fetch(&proxy->cuts, 1, __ATOMIC_SEQ_CST);
}

void proxy_set(bool *order, bool value)
{
    __atomic_store_n(order, value, __ATOMIC_SEQ_CST);
}
