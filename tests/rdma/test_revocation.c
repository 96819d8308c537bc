/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an RDMA key opens, and when it stops to: guessed, stolen, old and too far reaching ones fail
 * at the device, break only the queue pair of whoever uses them, and change no byte.
 *
 * usage: test-rdma-revocation [verbs|verbs-regions [CYCLES [only-cycles]]]
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/fabric/address.h"
#include "lib/sys/sys.h"
#include "lib/wire/pageop.h"
#include "tests/rdma/raw.h"
#include "tests/tap.h"
#include "tests/unit/fabric/harness.h"

#define CYCLES_DEFAULT 1000u
#define CYCLES_TOLD    5000u /* after so many it says what there is */
#define CYCLES_A_QUEUE 50u
#define KILLS          50u
#define NS_PER_MS      1000000ull

static const char *fabric;
static uint32_t cycles;
static char *self;

/* A node, an honest client with slab 0, and one that is not, with slab 1. */
struct battery {
    struct harness h;
    struct raw honest;
    struct raw thief;
    struct fabric_grant honest_grant;
    struct fabric_grant thief_grant;
    struct verbsop_window honest_window;
    struct verbsop_window thief_window;
};

static struct fabric_grant grant_to(struct harness *h, uint32_t slab, const char *instance,
                                    bool read_only)
{
    uint32_t culprit;
    struct fabric_grant grant = {
        .slab_index = slab, .generation = ++h->generation, .slab_bytes = SLAB_BYTES};
    CHECK(node_grant(h->node, instance, grant.generation, read_only, &slab, 1, grant.key,
                     &culprit) == 0);
    return grant;
}

static void battery_open(struct battery *b)
{
    harness_open(&b->h, fabric);
    b->honest_grant = grant_to(&b->h, 0, "honest", false);
    b->thief_grant = grant_to(&b->h, 1, "thief", false);
    raw_open(&b->honest, node_verbs_addresses(b->h.node));
    raw_open(&b->thief, node_verbs_addresses(b->h.node));
    EXPECT_EQ(raw_attach(&b->honest, 0, &b->honest_grant, &b->honest_window), VERBSOP_OK);
    EXPECT_EQ(raw_attach(&b->thief, 0, &b->thief_grant, &b->thief_window), VERBSOP_OK);
    memset(b->honest.buffer, 0x11, RAW_BUFFER_BYTES);
    EXPECT_EQ(raw_access(&b->honest, true, b->honest_window.remote_key, b->honest_window.address,
                         RAW_BUFFER_BYTES),
              IBV_WC_SUCCESS);
    memset(b->thief.buffer, 0x22, RAW_BUFFER_BYTES);
}

static void battery_close(struct battery *b)
{
    raw_close(&b->honest);
    raw_close(&b->thief);
    harness_close(&b->h);
}

static uint64_t violations(const struct battery *b)
{
    struct export_verbs_status status;
    CHECK(node_verbs_status(b->h.node, &status));
    return status.violations;
}

/* The node has counted `wanted` and names `instance`. */
static bool violation_seen(const struct battery *b, uint64_t wanted, const char *instance)
{
    struct export_verbs_status status;
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_MS * NS_PER_MS;
    do {
        CHECK(node_verbs_status(b->h.node, &status));
        (void)usleep(1000);
    } while (status.violations < wanted && sys_monotonic_ns() < deadline_ns);
    return status.violations == wanted && strcmp(status.violator, instance) == 0 &&
           incidents_has(node_incidents(b->h.node), INCIDENT_DEVICE, instance, INCIDENTS_ANY_SLAB);
}

static bool all_are(const uint8_t *data, size_t bytes, uint8_t value)
{
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] != value) {
            return false;
        }
    }
    return true;
}

/* The honest client's queue pair works, and its bytes are its own. */
static void expect_honest(struct battery *b)
{
    memset(b->honest.buffer, 0, RAW_BUFFER_BYTES);
    EXPECT_EQ(raw_access(&b->honest, false, b->honest_window.remote_key, b->honest_window.address,
                         RAW_BUFFER_BYTES),
              IBV_WC_SUCCESS);
    EXPECT(all_are(b->honest.buffer, RAW_BUFFER_BYTES, 0x11));
}

/* The thief's access fails, is noticed, and harms nobody else; then it gets another queue pair. */
static void expect_refused(struct battery *b, bool write, uint32_t key, uint64_t address,
                           uint32_t bytes)
{
    uint64_t before = violations(b);
    int status = raw_access(&b->thief, write, key, address, bytes);
    EXPECT(status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR ||
           status == IBV_WC_REM_OP_ERR);
    EXPECT(violation_seen(b, before + 1, "thief"));
    EXPECT(all_are(b->thief.buffer, RAW_BUFFER_BYTES, 0x22));
    /* What it broke stays broken. */
    EXPECT(raw_access(&b->thief, false, b->thief_window.remote_key, b->thief_window.address, 64) !=
           IBV_WC_SUCCESS);
    memset(b->thief.buffer, 0x22, RAW_BUFFER_BYTES);
    EXPECT_EQ(raw_queue(&b->thief), VERBSOP_OK);
    EXPECT_EQ(raw_attach(&b->thief, 0, &b->thief_grant, &b->thief_window), VERBSOP_OK);
}

static void test_anothers_key(void)
{
    static struct battery b;
    battery_open(&b);
    for (unsigned write = 0; write < 2; write++) {
        expect_refused(&b, write != 0, b.honest_window.remote_key, b.honest_window.address, 4096);
        expect_honest(&b);
    }
    battery_close(&b);
}

static void test_guessed_keys(void)
{
    static struct battery b;
    uint64_t seed = 7;
    battery_open(&b);
    for (unsigned i = 0; i < 24 && tap_case_ok; i++) {
        uint32_t key = i < 8    ? b.honest_window.remote_key + i - 4
                       : i < 16 ? b.honest_window.remote_key + ((i - 12u) << 8)
                                : (uint32_t)harness_random(&seed);
        if (key != b.thief_window.remote_key) {
            expect_refused(&b, i % 2 == 0, key, b.honest_window.address, 4096);
        }
    }
    expect_honest(&b);
    battery_close(&b);
}

static void test_old_key(void)
{
    static struct battery b;
    battery_open(&b);
    struct verbsop_window old = b.thief_window;
    raw_detach(&b.thief, 0);
    EXPECT_EQ(raw_attach(&b.thief, 1, &b.thief_grant, &b.thief_window), VERBSOP_OK);
    EXPECT(old.remote_key != b.thief_window.remote_key);
    EXPECT_EQ(raw_access(&b.thief, true, b.thief_window.remote_key, old.address, 4096),
              IBV_WC_SUCCESS);
    expect_refused(&b, true, old.remote_key, old.address, 4096);
    /* expect_refused got a new queue pair: no key of the queue pair before it works there. */
    expect_refused(&b, false, old.remote_key, old.address, 4096);
    expect_honest(&b);
    battery_close(&b);
}

static void test_read_only(void)
{
    static struct battery b;
    struct verbsop_window window;
    battery_open(&b);
    struct fabric_grant grant = grant_to(&b.h, 2, "thief", true);
    EXPECT_EQ(raw_attach(&b.thief, 5, &grant, &window), VERBSOP_OK);
    EXPECT(!window.writable);
    EXPECT_EQ(raw_access(&b.thief, false, window.remote_key, window.address, 4096), IBV_WC_SUCCESS);
    EXPECT(all_are(b.thief.buffer, 4096, 0));
    memset(b.thief.buffer, 0x22, RAW_BUFFER_BYTES);
    expect_refused(&b, true, window.remote_key, window.address, 4096);
    EXPECT_EQ(raw_attach(&b.thief, 5, &grant, &window), VERBSOP_OK);
    EXPECT_EQ(raw_access(&b.thief, false, window.remote_key, window.address, 4096), IBV_WC_SUCCESS);
    EXPECT(all_are(b.thief.buffer, 4096, 0));
    battery_close(&b);
}

/* The thief's slab 1 lies right behind the honest one's slab 0. */
static void test_beyond_the_ends(void)
{
    static struct battery b;
    battery_open(&b);
    EXPECT_EQ(b.thief_window.address, b.honest_window.address + SLAB_BYTES);
    for (unsigned write = 0; write < 2 && tap_case_ok; write++) {
        uint64_t end = b.thief_window.address + SLAB_BYTES;
        expect_refused(&b, write != 0, b.thief_window.remote_key, b.thief_window.address - 1, 2);
        expect_refused(&b, write != 0, b.thief_window.remote_key, end - 1, 2);
        expect_refused(&b, write != 0, b.thief_window.remote_key, end, 1);
        expect_refused(&b, write != 0, b.thief_window.remote_key, end - 4096, 8192);
    }
    expect_honest(&b);
    battery_close(&b);
}

static void test_wrap_around(void)
{
    static struct battery b;
    battery_open(&b);
    for (unsigned write = 0; write < 2 && tap_case_ok; write++) {
        uint32_t key = b.thief_window.remote_key;
        expect_refused(&b, write != 0, key, UINT64_MAX - 100, 4096);
        expect_refused(&b, write != 0, b.thief_window.remote_key, UINT64_MAX, 1);
        expect_refused(&b, write != 0, b.thief_window.remote_key, 0, 4096);
    }
    expect_honest(&b);
    battery_close(&b);
}

/* Bad proofs open nothing, and are no reason to break anything. */
static void test_no_key_no_window(void)
{
    static struct battery b;
    struct verbsop_window window;
    battery_open(&b);
    struct fabric_grant stolen = b.honest_grant;
    memset(stolen.key, 0, sizeof(stolen.key));
    EXPECT_EQ(raw_attach(&b.thief, 3, &stolen, &window), VERBSOP_DENIED);
    stolen = b.honest_grant;
    memcpy(stolen.key, b.thief_grant.key, sizeof(stolen.key));
    EXPECT_EQ(raw_attach(&b.thief, 3, &stolen, &window), VERBSOP_DENIED);
    stolen = b.honest_grant;
    EXPECT(incidents_has(node_incidents(b.h.node), INCIDENT_WRONG_KEY, "thief", 0));
    stolen.slab_index = UINT32_MAX;
    EXPECT_EQ(raw_attach(&b.thief, 3, &stolen, &window), VERBSOP_DENIED);
    EXPECT_EQ(incidents_count(node_incidents(b.h.node)), 3);
    EXPECT_EQ(violations(&b), 0);
    expect_honest(&b);
    battery_close(&b);
}

/* ---- a key that is taken back while it is used */

struct prober {
    struct raw *raw;
    struct verbsop_window window;
    atomic_bool acknowledged;
    atomic_bool stop;
    atomic_uint good_before;
    atomic_uint good_after;
    atomic_uint tries_after;
};

static void *probe(void *argument)
{
    struct prober *prober = argument;
    while (!atomic_load(&prober->stop)) {
        bool after = atomic_load(&prober->acknowledged);
        int status =
            raw_access(prober->raw, true, prober->window.remote_key, prober->window.address, 4096);
        atomic_fetch_add(after ? &prober->tries_after : &prober->good_before,
                         after || status == IBV_WC_SUCCESS ? 1 : 0);
        atomic_fetch_add(&prober->good_after, after && status == IBV_WC_SUCCESS ? 1 : 0);
        if (status != IBV_WC_SUCCESS && raw_queue(prober->raw) != VERBSOP_OK) {
            break;
        }
    }
    return NULL;
}

static void wait_for(const atomic_uint *value, unsigned least)
{
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (atomic_load(value) < least && sys_monotonic_ns() < deadline_ns) {
        (void)usleep(500);
    }
    EXPECT(atomic_load(value) >= least);
}

static void test_probed_without_pause(void)
{
    static struct battery b;
    static uint8_t data[SLAB_BYTES];
    battery_open(&b);
    for (unsigned round = 0; round < 5 && tap_case_ok; round++) {
        pthread_t thread;
        struct prober prober = {.raw = &b.thief, .window = b.thief_window};
        uint32_t slab;
        CHECK(pthread_create(&thread, NULL, probe, &prober) == 0);
        wait_for(&prober.good_before, 20);
        EXPECT_EQ(harness_revoke(&b.h, &b.thief_grant), 0);
        atomic_store(&prober.acknowledged, true);
        /* The next tenant, while the thief goes on. */
        struct fabric_peer *next = harness_connect(&b.h);
        struct fabric_grant grant = grant_to(&b.h, 1, "next", false);
        EXPECT_EQ(harness_attach(next, &grant, &slab), 0);
        wait_for(&prober.tries_after, 20);
        EXPECT_EQ(harness_transfer(next, false, slab, 0, data, sizeof(data)), 0);
        EXPECT(all_are(data, sizeof(data), 0));
        atomic_store(&prober.stop, true);
        CHECK(pthread_join(thread, NULL) == 0);
        EXPECT_EQ(atomic_load(&prober.good_after), 0);
        fabric_close(next);
        EXPECT_EQ(harness_revoke(&b.h, &grant), 0);
        b.thief_grant = grant_to(&b.h, 1, "thief", false);
        EXPECT_EQ(raw_queue(&b.thief), VERBSOP_OK);
        EXPECT_EQ(raw_attach(&b.thief, 0, &b.thief_grant, &b.thief_window), VERBSOP_OK);
    }
    expect_honest(&b);
    battery_close(&b);
}

/* ---- peers that don't fit, or talk nonsense */

static void test_other_mtu(void)
{
    static struct battery b;
    battery_open(&b);
    b.thief.say_mtu = VERBSOP_MTU_MIN;
    EXPECT_EQ(raw_queue(&b.thief), VERBSOP_OK);
    EXPECT_EQ(raw_attach(&b.thief, 0, &b.thief_grant, &b.thief_window), VERBSOP_OK);
    EXPECT_EQ(raw_access(&b.thief, true, b.thief_window.remote_key, b.thief_window.address,
                         RAW_BUFFER_BYTES),
              IBV_WC_SUCCESS);
    memset(b.thief.buffer, 0, RAW_BUFFER_BYTES);
    EXPECT_EQ(raw_access(&b.thief, false, b.thief_window.remote_key, b.thief_window.address,
                         RAW_BUFFER_BYTES),
              IBV_WC_SUCCESS);
    EXPECT(all_are(b.thief.buffer, RAW_BUFFER_BYTES, 0x22));
    battery_close(&b);
}

/* Soft-RoCE has v2 alone. */
static void test_other_gid_type(void)
{
    static struct battery b;
    battery_open(&b);
    b.thief.say_gid_type = VERBSOP_GID_ROCE_V1;
    int status = raw_queue(&b.thief);
    EXPECT(status == VERBSOP_MISMATCH || status == -EINVAL);
    expect_honest(&b);
    battery_close(&b);
}

static int connect_plain(const char *addresses)
{
    char text[FABRIC_ADDRESS_BYTES];
    struct fabric_address address;
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(addresses, ","), addresses);
    CHECK(fabric_address_parse(text, &address) == 0);
    int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (const struct sockaddr *)&address.storage, address.length) == 0);
    return fd;
}

static void test_garbage_to_the_node(void)
{
    static struct battery b;
    uint64_t seed = 5;
    battery_open(&b);
    for (unsigned i = 0; i < 50 && tap_case_ok; i++) {
        uint8_t data[PAGEOP_HELLO_BYTES + VERBSOP_BYTES];
        int fd = connect_plain(node_verbs_addresses(b.h.node));
        for (size_t k = 0; k < sizeof(data); k++) {
            data[k] = (uint8_t)harness_random(&seed);
        }
        if (i % 2 == 0) {
            pageop_hello_encode(data);
        }
        EXPECT_EQ(send(fd, data, sizeof(data), MSG_NOSIGNAL), (ssize_t)sizeof(data));
        /* It hangs up, after its hello at most. */
        ssize_t count = 1;
        while (count > 0) {
            count = recv(fd, data, sizeof(data), 0);
        }
        (void)close(fd);
    }
    const struct export_counters *counters = node_counters(b.h.node);
    EXPECT_EQ(export_counter(&counters->closed_hello), 25);
    EXPECT_EQ(export_counter(&counters->closed_protocol), 25);
    expect_honest(&b);
    battery_close(&b);
}

/* Says hello, then garbage. */
static void *bad_node(void *argument)
{
    uint8_t data[VERBSOP_BYTES];
    int fd = accept(*(int *)argument, NULL, NULL);
    (void)!recv(fd, data, PAGEOP_HELLO_BYTES, MSG_WAITALL);
    pageop_hello_encode(data);
    (void)!send(fd, data, PAGEOP_HELLO_BYTES, MSG_NOSIGNAL);
    (void)!recv(fd, data, VERBSOP_BYTES, MSG_WAITALL);
    memset(data, 0xa5, sizeof(data));
    (void)!send(fd, data, sizeof(data), MSG_NOSIGNAL);
    (void)!recv(fd, data, 1, 0);
    (void)close(fd);
    return NULL;
}

static void test_garbage_from_the_node(void)
{
    static struct battery b;
    char text[FABRIC_ADDRESS_BYTES];
    char reason[128] = "";
    struct fabric_address address;
    struct fabric_peer *peer = NULL;
    pthread_t thread;
    battery_open(&b);
    /* An address of the device, another port. */
    const char *addresses = node_verbs_addresses(b.h.node);
    (void)snprintf(text, sizeof(text), "%.*s:0", (int)strcspn(addresses, ":"), addresses);
    CHECK(fabric_address_parse(text, &address) == 0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, (struct sockaddr *)&address.storage, address.length) == 0);
    CHECK(listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&address.storage, &address.length) == 0);
    fabric_address_format(&address, text);
    CHECK(pthread_create(&thread, NULL, bad_node, &listener) == 0);
    const struct fabric_endpoint endpoint = {.node = "bad", .verbs_address = text};
    const struct fabric_choice choice = {.only = "verbs"};
    EXPECT_EQ(fabric_connect(&endpoint, &choice, WAIT_MS, &peer, reason), -EHOSTUNREACH);
    EXPECT(strstr(reason, "garbage") != NULL);
    CHECK(pthread_join(thread, NULL) == 0);
    (void)close(listener);
    expect_honest(&b);
    battery_close(&b);
}

/* ---- other processes */

static void to_hex(const uint8_t *data, size_t bytes, char *to)
{
    for (size_t i = 0; i < bytes; i++) {
        (void)sprintf(to + 2 * i, "%02x", data[i]);
    }
}

/* This program again as a client of slab 1, which writes until it can't. Its stdout: "W" at the
 * first write, then "E" and the status of the write that failed. */
static pid_t client_start(const struct battery *b, int *ret_fd)
{
    char generation[32];
    char key[2 * FABRIC_KEY_BYTES + 1];
    int pipes[2];
    (void)snprintf(generation, sizeof(generation), "%llu",
                   (unsigned long long)b->thief_grant.generation);
    to_hex(b->thief_grant.key, FABRIC_KEY_BYTES, key);
    CHECK(pipe(pipes) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)dup2(pipes[1], STDOUT_FILENO);
        (void)close(pipes[0]);
        (void)execl(self, self, "--client", node_verbs_addresses(b->h.node), generation, key, NULL);
        _exit(127);
    }
    (void)close(pipes[1]);
    *ret_fd = pipes[0];
    return pid;
}

static int client_main(char **argv)
{
    static struct raw raw;
    struct verbsop_window window;
    struct fabric_grant grant = {.slab_index = 1, .slab_bytes = SLAB_BYTES};
    grant.generation = strtoull(argv[3], NULL, 10);
    for (unsigned i = 0; i < FABRIC_KEY_BYTES; i++) {
        char digits[3] = {argv[4][2 * i], argv[4][2 * i + 1], 0};
        grant.key[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    raw_open(&raw, argv[2]);
    if (raw_attach(&raw, 0, &grant, &window) != VERBSOP_OK) {
        return 2;
    }
    memset(raw.buffer, 0x77, sizeof(raw.buffer));
    int status = IBV_WC_SUCCESS;
    for (uint64_t i = 0; status == IBV_WC_SUCCESS; i++) {
        status = raw_access(&raw, true, window.remote_key,
                            window.address + i % 16 * RAW_BUFFER_BYTES, RAW_BUFFER_BYTES);
        if (i == 0) {
            (void)!write(STDOUT_FILENO, "W", 1);
        }
    }
    const char end[2] = {'E', (char)status};
    (void)!write(STDOUT_FILENO, end, sizeof(end));
    return 0;
}

/* A client that has no key at all uses one that it guessed: for the pool's own tests. */
static int intruder_main(const char *addresses)
{
    static struct raw raw;
    raw_open(&raw, addresses);
    return raw_access(&raw, true, 0x1234, 0x1000, 64) == IBV_WC_SUCCESS ? 1 : 0;
}

static void test_stopped_client(void)
{
    static struct battery b;
    static uint8_t data[SLAB_BYTES];
    char said[3] = {0};
    uint32_t slab;
    int fd;
    int status = 0;
    battery_open(&b);
    raw_detach(&b.thief, 0);
    pid_t pid = client_start(&b, &fd);
    EXPECT_EQ(read(fd, said, 1), 1);
    EXPECT_EQ(said[0], 'W');
    CHECK(kill(pid, SIGSTOP) == 0);
    EXPECT_EQ(harness_revoke(&b.h, &b.thief_grant), 0);
    struct fabric_peer *next = harness_connect(&b.h);
    struct fabric_grant grant = grant_to(&b.h, 1, "next", false);
    EXPECT_EQ(harness_attach(next, &grant, &slab), 0);
    CHECK(kill(pid, SIGCONT) == 0);
    EXPECT_EQ(read(fd, said, 2), 2);
    EXPECT_EQ(said[0], 'E');
    EXPECT_EQ(said[1], IBV_WC_REM_ACCESS_ERR);
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(harness_transfer(next, false, slab, 0, data, sizeof(data)), 0);
    EXPECT(all_are(data, sizeof(data), 0));
    (void)close(fd);
    fabric_close(next);
    expect_honest(&b);
    battery_close(&b);
}

static uint32_t queue_count(const struct battery *b)
{
    struct export_verbs_status status;
    CHECK(node_verbs_status(b->h.node, &status));
    return status.queue_count;
}

static uint32_t window_count(const struct battery *b)
{
    struct export_verbs_status status;
    CHECK(node_verbs_status(b->h.node, &status));
    return status.window_count;
}

/* Clients that die at any moment leave nothing behind. */
static void test_killed_clients(void)
{
    static struct battery b;
    static uint8_t data[SLAB_BYTES];
    uint64_t seed = 11;
    uint32_t slab;
    battery_open(&b);
    raw_detach(&b.thief, 0);
    struct fabric_peer *next = harness_connect(&b.h);
    for (unsigned i = 0; i < KILLS && tap_case_ok; i++) {
        char said;
        int fd;
        pid_t pid = client_start(&b, &fd);
        if (i % 3 != 0) {
            EXPECT_EQ(read(fd, &said, 1), 1);
        }
        (void)usleep((useconds_t)(harness_random(&seed) % 20000));
        CHECK(kill(pid, SIGKILL) == 0);
        EXPECT_EQ(waitpid(pid, NULL, 0), pid);
        (void)close(fd);
        /* Whatever it was doing: the next tenant reads zeros. */
        EXPECT_EQ(harness_revoke(&b.h, &b.thief_grant), 0);
        struct fabric_grant grant = grant_to(&b.h, 1, "next", false);
        EXPECT_EQ(harness_attach(next, &grant, &slab), 0);
        EXPECT_EQ(harness_transfer(next, false, slab, 0, data, sizeof(data)), 0);
        EXPECT(all_are(data, sizeof(data), 0));
        fabric_detach(next, slab);
        EXPECT_EQ(harness_revoke(&b.h, &grant), 0);
        b.thief_grant = grant_to(&b.h, 1, "thief", false);
    }
    fabric_close(next);
    uint64_t deadline_ns = sys_monotonic_ns() + WAIT_MS * NS_PER_MS;
    while (queue_count(&b) != 2 && sys_monotonic_ns() < deadline_ns) {
        (void)usleep(10000);
    }
    EXPECT_EQ(queue_count(&b), 2);
    EXPECT_EQ(harness_revoke(&b.h, &b.thief_grant), 0);
    expect_honest(&b);
    battery_close(&b);
}

/* ---- many */

static void resources(char *to, size_t bytes)
{
    FILE *pipe = popen("rdma resource show", "r");
    CHECK(pipe != NULL);
    size_t used = fread(to, 1, bytes - 1, pipe);
    to[used] = '\0';
    (void)pclose(pipe);
}

/* `text` has a line a device. */
static void tell_resources(uint32_t count, uint64_t begun_ns, const char *text, uint32_t windows)
{
    printf("# %u cycles in %llu s, %u windows", count,
           (unsigned long long)((sys_monotonic_ns() - begun_ns) / (1000 * NS_PER_MS)), windows);
    for (const char *line = text; *line != '\0'; line += line[0] == '\n' ? 1 : 0) {
        size_t length = strcspn(line, "\n");
        printf("; %.*s", (int)length, line);
        line += length;
    }
    printf("\n");
    (void)fflush(stdout);
}

static void test_cycles_leak_nothing(void)
{
    static struct battery b;
    char before[1024];
    char after[1024];
    battery_open(&b);
    EXPECT_EQ(harness_revoke(&b.h, &b.thief_grant), 0);
    EXPECT_EQ(raw_queue(&b.thief), VERBSOP_OK);
    uint32_t queues = queue_count(&b);
    uint32_t windows = 0;
    uint64_t begun_ns = sys_monotonic_ns();
    resources(before, sizeof(before));
    tell_resources(0, begun_ns, before, window_count(&b));
    for (uint32_t i = 0; i < cycles && tap_case_ok; i++) {
        struct verbsop_window window;
        if (i % CYCLES_A_QUEUE == CYCLES_A_QUEUE - 1) {
            EXPECT_EQ(raw_queue(&b.thief), VERBSOP_OK);
        }
        struct fabric_grant grant = grant_to(&b.h, 1 + i % 3, "thief", i % 2 == 0);
        EXPECT_EQ(raw_attach(&b.thief, i % 100, &grant, &window), VERBSOP_OK);
        if (i % 7 == 0) {
            raw_detach(&b.thief, i % 100);
        }
        EXPECT_EQ(harness_revoke(&b.h, &grant), 0);
        raw_detach(&b.thief, i % 100);
        windows = i < 200 ? MAX(windows, window_count(&b)) : windows;
        if ((i + 1) % CYCLES_TOLD == 0) {
            resources(after, sizeof(after));
            tell_resources(i + 1, begun_ns, after, window_count(&b));
        }
    }
    resources(after, sizeof(after));
    tell_resources(cycles, begun_ns, after, window_count(&b));
    EXPECT_STR(after, before);
    EXPECT_EQ(queue_count(&b), queues);
    EXPECT(cycles < 200 || window_count(&b) <= windows);
    expect_honest(&b);
    battery_close(&b);
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 5 && strcmp(argv[1], "--client") == 0) {
        return client_main(argv);
    }
    if (argc == 3 && strcmp(argv[1], "--intruder") == 0) {
        return intruder_main(argv[2]);
    }
    fabric = argc > 1 ? argv[1] : "verbs";
    cycles = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : CYCLES_DEFAULT;
    if (argc > 3 && strcmp(argv[3], "only-cycles") == 0) {
        TAP_RUN(test_cycles_leak_nothing);
        return tap_done();
    }
    TAP_RUN(test_anothers_key);
    TAP_RUN(test_guessed_keys);
    TAP_RUN(test_old_key);
    TAP_RUN(test_read_only);
    TAP_RUN(test_beyond_the_ends);
    TAP_RUN(test_wrap_around);
    TAP_RUN(test_no_key_no_window);
    TAP_RUN(test_probed_without_pause);
    TAP_RUN(test_other_mtu);
    TAP_RUN(test_other_gid_type);
    TAP_RUN(test_garbage_to_the_node);
    TAP_RUN(test_garbage_from_the_node);
    TAP_RUN(test_stopped_client);
    TAP_RUN(test_killed_clients);
    TAP_RUN(test_cycles_leak_nothing);
    return tap_done();
}
