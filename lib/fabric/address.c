/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/fabric/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* Splits "host:port" or "[host]:port" in `text` in place. */
static int split(char *text, char **ret_host, char **ret_port)
{
    char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] == '\0') {
        return -EINVAL;
    }
    *colon = '\0';
    if (text[0] == '[') {
        size_t length = strlen(text);
        if (text[length - 1] != ']') {
            return -EINVAL;
        }
        text[length - 1] = '\0';
        text++;
    }
    *ret_host = text;
    *ret_port = colon + 1;
    return 0;
}

int fabric_address_parse(const char *text, struct fabric_address *ret)
{
    char copy[FABRIC_ADDRESS_BYTES];
    char *host;
    char *port;
    if (strlen(text) >= sizeof(copy)) {
        return -EINVAL;
    }
    memcpy(copy, text, strlen(text) + 1);
    if (split(copy, &host, &port) != 0 || strspn(port, "0123456789") != strlen(port)) {
        return -EINVAL;
    }
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -EINVAL;
    }
    *ret = (struct fabric_address){.length = found->ai_addrlen};
    memcpy(&ret->storage, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

void fabric_address_format(const struct fabric_address *address, char *to)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &address->storage, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        (void)snprintf(to, FABRIC_ADDRESS_BYTES, "[%s]:%u", host, ntohs(in6.sin6_port));
        return;
    }
    struct sockaddr_in in;
    memcpy(&in, &address->storage, sizeof(in));
    (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
    (void)snprintf(to, FABRIC_ADDRESS_BYTES, "%s:%u", host, ntohs(in.sin_port));
}

bool fabric_address_is_loopback(const struct fabric_address *address)
{
    if (address->storage.ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, &address->storage, sizeof(in6));
        return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
    }
    struct sockaddr_in in;
    memcpy(&in, &address->storage, sizeof(in));
    return ntohl(in.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}
