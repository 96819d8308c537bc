/* SPDX-License-Identifier: Apache-2.0 */
/* Where a server may listen, and what its clients do when it goes and comes back. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/rpc/address.h"
#include "tests/tap.h"
#include "tests/unit/rpc/harness.h"

#define OPERATOR DILOS__ROLE__ROLE_OPERATOR

static int listen_at(struct harness *h, const char *address, bool insecure, struct rpc_server **ret,
                     char **ret_address)
{
    struct rpc_identity identity = {DILOS__ROLE__ROLE_CONTROLLER, "other"};
    struct rpc_callbacks callbacks = {.context = h};
    return rpc_listen(h->base, address, insecure, &identity, &callbacks, ret, ret_address);
}

static void test_client_comes_back_after_restart(void)
{
    struct harness h;
    struct outcome outcome = {0};
    harness_init(&h);
    struct rpc_client *client = harness_client(&h, OPERATOR, 100);
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_HOLD, 1, 0, &outcome), 0);
    EXPECT(harness_until(&h, &h.held_count, 1));
    harness_stop(&h);
    EXPECT(harness_until(&h, &h.client_seen.close_count, 3)); /* and two attempts in vain */
    EXPECT_EQ(outcome.error_count, 1);
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_UNAVAILABLE);
    EXPECT(rpc_client_connection(client) == NULL);
    EXPECT_EQ(h.client_seen.close_error, -ENOENT);
    EXPECT(strstr(h.client_seen.close_reason, "can't connect") != NULL);
    harness_listen(&h);
    EXPECT(harness_until(&h, &h.client_seen.open_count, 2));
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_ECHO, 2, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.reply_count, 1));
    EXPECT_EQ(outcome.value, 2);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_client_without_retry_says_why(void)
{
    struct harness h;
    harness_init(&h);
    harness_stop(&h);
    struct rpc_client *client = harness_client(&h, OPERATOR, 0);
    EXPECT(harness_until(&h, &h.client_seen.close_count, 1));
    EXPECT_EQ(h.client_seen.close_error, -ENOENT);
    harness_settle(&h);
    EXPECT_EQ(h.client_seen.close_count, 1);
    EXPECT_EQ(h.client_seen.open_count, 0);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_client_closed_before_it_connected(void)
{
    struct harness h;
    harness_init(&h);
    (void)rpc_client_close(harness_client(&h, OPERATOR, 0));
    EXPECT_EQ(h.client_seen.close_count, 0);
    EXPECT(rpc_client_close(NULL) == NULL);
    EXPECT(rpc_server_close(NULL) == NULL);
    harness_fini(&h);
}

static void test_tcp(void)
{
    struct harness h;
    struct outcome outcome = {0};
    struct rpc_server *server = NULL;
    char *address = NULL;
    harness_init(&h);
    EXPECT_EQ(listen_at(&h, "127.0.0.1:0", false, &server, &address), 0);
    EXPECT(strncmp(address, "127.0.0.1:", 10) == 0);
    EXPECT(strcmp(address, "127.0.0.1:0") != 0);
    struct rpc_server *second = NULL;
    EXPECT_EQ(listen_at(&h, address, false, &second, NULL), -EADDRINUSE);
    (void)snprintf(h.address, sizeof(h.address), "%s", address);
    struct rpc_client *client = harness_client(&h, OPERATOR, 100);
    EXPECT_STR(h.client_seen.peer_name, "other");
    EXPECT_EQ(ask(rpc_client_connection(client), METHOD_ECHO, 2, 0, &outcome), 0);
    EXPECT(harness_until(&h, &outcome.error_count, 1)); /* it has no methods */
    EXPECT_EQ(outcome.code, DILOS__ERROR_CODE__ERROR_INVALID);
    (void)rpc_client_close(client);
    (void)rpc_server_close(server);
    free(address);
    harness_fini(&h);
}

static void test_beyond_loopback_needs_insecure(void)
{
    struct harness h;
    struct rpc_server *server = NULL;
    harness_init(&h);
    EXPECT_EQ(listen_at(&h, "0.0.0.0:0", false, &server, NULL), -EACCES);
    EXPECT_EQ(listen_at(&h, "[::]:0", false, &server, NULL), -EACCES);
    EXPECT_EQ(listen_at(&h, "192.0.2.1:7000", false, &server, NULL), -EACCES);
    EXPECT(server == NULL);
    EXPECT_EQ(listen_at(&h, "0.0.0.0:0", true, &server, NULL), 0);
    (void)rpc_server_close(server);
    harness_fini(&h);
}

static void test_live_unix_socket_is_refused(void)
{
    struct harness h;
    struct rpc_server *server = NULL;
    harness_init(&h);
    EXPECT_EQ(listen_at(&h, h.address, false, &server, NULL), -EADDRINUSE);
    EXPECT(server == NULL);
    /* The first one still has its file and serves. */
    struct rpc_client *client = harness_client(&h, OPERATOR, 100);
    EXPECT_STR(h.client_seen.peer_name, "ctl");
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_stale_unix_socket_is_replaced(void)
{
    struct harness h;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct stat status;
    harness_init(&h);
    harness_stop(&h);
    (void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", h.folder);
    EXPECT(stat(un.sun_path, &status) != 0); /* a server that closes takes its file along */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    (void)close(fd); /* the file stays, as after a crash */
    EXPECT_EQ(stat(un.sun_path, &status), 0);
    harness_listen(&h);
    EXPECT_EQ(stat(un.sun_path, &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600);
    struct rpc_client *client = harness_client(&h, OPERATOR, 100);
    (void)rpc_client_close(client);
    harness_fini(&h);
}

static void test_a_file_is_not_replaced(void)
{
    struct harness h;
    struct rpc_server *server = NULL;
    char path[64];
    char address[80];
    harness_init(&h);
    (void)snprintf(path, sizeof(path), "%s/file", h.folder);
    (void)snprintf(address, sizeof(address), "unix:%s", path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    EXPECT(fd >= 0);
    (void)close(fd);
    EXPECT_EQ(listen_at(&h, address, false, &server, NULL), -EADDRINUSE);
    EXPECT_EQ(access(path, F_OK), 0);
    (void)unlink(path);
    harness_fini(&h);
}

static void test_addresses(void)
{
    static const char *const bad[] = {
        "",         "7000",  "host",    "host:", ":7000",   "host:70000",
        "::1:7000", "[::1]", "host:7x", "unix:", "host:-1", "[]:1",
    };
    struct address address;
    char text[ADDRESS_TEXT_BYTES];
    char path[200] = "unix:";
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT(!address_is_valid(bad[i]));
        EXPECT_EQ(address_parse(bad[i], &address), -EINVAL);
    }
    memset(path + 5, 'p', 150);
    EXPECT_EQ(address_parse(path, &address), -EINVAL); /* sun_path holds 107 */
    EXPECT_EQ(address_parse("[::1]:7000", &address), 0);
    address_format(&address, text);
    EXPECT_STR(text, "[::1]:7000");
    EXPECT(address_is_local(&address));
    EXPECT_EQ(address_parse("127.3.2.1:1", &address), 0);
    address_format(&address, text);
    EXPECT_STR(text, "127.3.2.1:1");
    EXPECT(address_is_local(&address));
    EXPECT_EQ(address_parse("10.0.0.1:1", &address), 0);
    EXPECT(!address_is_local(&address));
    EXPECT_EQ(address_parse("unix:/run/x", &address), 0);
    address_format(&address, text);
    EXPECT_STR(text, "unix:/run/x");
}

int main(void)
{
    TAP_RUN(test_client_comes_back_after_restart);
    TAP_RUN(test_client_without_retry_says_why);
    TAP_RUN(test_client_closed_before_it_connected);
    TAP_RUN(test_tcp);
    TAP_RUN(test_beyond_loopback_needs_insecure);
    TAP_RUN(test_live_unix_socket_is_refused);
    TAP_RUN(test_stale_unix_socket_is_replaced);
    TAP_RUN(test_a_file_is_not_replaced);
    TAP_RUN(test_addresses);
    return tap_done();
}
