/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says about its RDMA where there is none. */
#include "memnode/report.h"

#include "lib/base/check.h"
#include "lib/fabric/fabric_verbs.h"
#include "tests/tap.h"

static const Dilos__Health *find(const struct report *report, const char *code)
{
    for (uint32_t i = 0; i < report->health_count; i++) {
        if (strcmp(report->health[i].code, code) == 0) {
            return &report->health[i];
        }
    }
    return NULL;
}

/* It serves by its other fabrics, and says so. */
static void test_no_device(void)
{
    static struct report report;
    char error[NODE_ERROR_BYTES] = "";
    struct node *node = NULL;
    const struct node_config config = {
        .arena = {.slab_bytes = MIB, .bytes = 4 * MIB}, .listen_tcp = "127.0.0.1:0", .verbs = true};
    CHECK(node_open(&config, &node, error) == 0);
    report_fill(&report, node);
    const Dilos__Health *health = find(&report, "NO_VERBS_DEVICE");
    EXPECT(health != NULL);
    if (health != NULL) {
        EXPECT_STR(health->detail, "no RDMA device");
        EXPECT(strstr(health->remedy, "TCP") != NULL);
    }
    EXPECT(node_verbs_addresses(node) == NULL);
    EXPECT(node_tcp_address(node) != NULL);
    (void)node_close(node);
}

/* Whoever asks for it by name gets the reason, and no node without. */
static void test_no_device_though_wanted(void)
{
    char error[NODE_ERROR_BYTES] = "";
    struct node *node = NULL;
    const struct node_config config = {
        .arena = {.slab_bytes = MIB, .bytes = 4 * MIB},
        .verbs = true,
        .verbs_wanted = true,
        .listen_verbs = {.addresses = "10.9.8.7:0", .insecure = true}};
    EXPECT(node_open(&config, &node, error) != 0);
    EXPECT(strstr(error, "no RDMA device") != NULL);
}

int main(void)
{
    char names[FABRIC_VERBS_NAMES_BYTES];
    if (fabric_verbs_devices(names, sizeof(names)) != 0) {
        printf("1..0 # SKIP this machine has an RDMA device\n");
        return 0;
    }
    TAP_RUN(test_no_device);
    TAP_RUN(test_no_device_though_wanted);
    return tap_done();
}
