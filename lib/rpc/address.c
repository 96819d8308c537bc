/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/rpc/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "lib/sys/text.h"

#define HOST_BYTES 256
#define PORT_BYTES 6

static const char unix_prefix[] = "unix:";

static bool is_unix(const char *text)
{
    return strncmp(text, unix_prefix, sizeof(unix_prefix) - 1) == 0;
}

static int parse_unix(const char *text, struct address *ret)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const char *path = text + sizeof(unix_prefix) - 1;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof(un.sun_path)) {
        return -EINVAL;
    }
    memcpy(un.sun_path, path, length + 1);
    memcpy(&ret->socket, &un, sizeof(un));
    ret->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

/* Splits at the last colon; brackets around the host are dropped. */
static int split(const char *text, char host[HOST_BYTES], char port[PORT_BYTES])
{
    const char *colon = strrchr(text, ':');
    uint64_t number;
    if (colon == NULL || text_parse_u64(colon + 1, UINT16_MAX, &number) != 0) {
        return -EINVAL;
    }
    size_t length = (size_t)(colon - text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    } else if (memchr(text, ':', length) != NULL) {
        return -EINVAL; /* an IPv6 address without brackets: where does the port begin? */
    }
    if (length == 0 || length >= HOST_BYTES) {
        return -EINVAL;
    }
    memcpy(host, text, length);
    host[length] = '\0';
    (void)snprintf(port, PORT_BYTES, "%u", (unsigned)(uint16_t)number);
    return 0;
}

bool address_is_valid(const char *text)
{
    char host[HOST_BYTES];
    char port[PORT_BYTES];
    struct address address;
    return is_unix(text) ? parse_unix(text, &address) == 0 : split(text, host, port) == 0;
}

int address_parse(const char *text, struct address *ret)
{
    if (is_unix(text)) {
        return parse_unix(text, ret);
    }
    char host[HOST_BYTES];
    char port[PORT_BYTES];
    if (split(text, host, port) != 0) {
        return -EINVAL;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (getaddrinfo(host, port, &hints, &found) != 0 || found == NULL) {
        return -EHOSTUNREACH;
    }
    memcpy(&ret->socket, found->ai_addr, found->ai_addrlen);
    ret->length = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

void address_format(const struct address *address, char *to)
{
    char host[INET6_ADDRSTRLEN] = "?";
    struct sockaddr_un un;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    switch (address->socket.ss_family) {
    case AF_UNIX:
        memcpy(&un, &address->socket, sizeof(un));
        (void)snprintf(to, ADDRESS_TEXT_BYTES, "unix:%.*s", (int)sizeof(un.sun_path),
                       address->length > offsetof(struct sockaddr_un, sun_path) ? un.sun_path : "");
        break;
    case AF_INET:
        memcpy(&in, &address->socket, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        (void)snprintf(to, ADDRESS_TEXT_BYTES, "%s:%u", host, ntohs(in.sin_port));
        break;
    case AF_INET6:
        memcpy(&in6, &address->socket, sizeof(in6));
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        (void)snprintf(to, ADDRESS_TEXT_BYTES, "[%s]:%u", host, ntohs(in6.sin6_port));
        break;
    default:
        (void)snprintf(to, ADDRESS_TEXT_BYTES, "?");
        break;
    }
}

bool address_is_local(const struct address *address)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    switch (address->socket.ss_family) {
    case AF_UNIX:
        return true;
    case AF_INET:
        memcpy(&in, &address->socket, sizeof(in));
        return ntohl(in.sin_addr.s_addr) >> 24 == 127;
    case AF_INET6:
        memcpy(&in6, &address->socket, sizeof(in6));
        return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr);
    default:
        return false;
    }
}
