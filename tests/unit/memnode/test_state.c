/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/tap.h"

static char folder[64];

static void put(const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    EXPECT_EQ(sys_write_file(path, text, strlen(text)), 0);
}

static void test_identity_and_epoch_stay(void)
{
    char error[STATE_ERROR_BYTES];
    char node_id[SYS_ID_BYTES];
    struct state *state = NULL;
    EXPECT_EQ(state_open(folder, &state, error), 0);
    memcpy(node_id, state_node_id(state), sizeof(node_id));
    EXPECT_EQ(strlen(node_id), SYS_ID_BYTES - 1);
    EXPECT_EQ(state_epoch(state), 0);
    EXPECT_EQ(state_see_epoch(state, 7), 0);
    EXPECT_EQ(state_see_epoch(state, 7), 0);
    EXPECT_EQ(state_see_epoch(state, 6), -ESTALE);
    state_close(state);
    EXPECT_EQ(state_open(folder, &state, error), 0);
    EXPECT_STR(state_node_id(state), node_id);
    EXPECT_EQ(state_epoch(state), 7);
    EXPECT_EQ(state_see_epoch(state, 6), -ESTALE);
    state_close(state);
}

static void test_one_process_a_folder(void)
{
    char error[STATE_ERROR_BYTES];
    char pid[32];
    struct state *state = NULL;
    struct state *second = NULL;
    EXPECT_EQ(state_open(folder, &state, error), 0);
    EXPECT_EQ(state_open(folder, &second, error), -EWOULDBLOCK);
    (void)snprintf(pid, sizeof(pid), "process %d", (int)getpid());
    EXPECT(strstr(error, pid) != NULL);
    EXPECT(strstr(error, "--state") != NULL);
    state_close(state);
    /* What a dead process left is no obstacle. */
    put("lock", "1\n");
    EXPECT_EQ(state_open(folder, &state, error), 0);
    state_close(state);
}

static void test_damaged_files(void)
{
    char error[STATE_ERROR_BYTES];
    struct state *state = NULL;
    put("epoch", "seven\n");
    EXPECT_EQ(state_open(folder, &state, error), -EINVAL);
    EXPECT(strstr(error, "epoch") != NULL);
    put("epoch", "7\n");
    put("node-id", "nobody\n");
    EXPECT_EQ(state_open(folder, &state, error), -EINVAL);
    EXPECT(strstr(error, "node-id") != NULL);
    EXPECT_EQ(state_open("/proc/nowhere", &state, error) < 0, 1);
    EXPECT(strstr(error, "--state") != NULL);
}

int main(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/dilos-state-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        printf("Bail out! no folder\n");
        return 1;
    }
    TAP_RUN(test_identity_and_epoch_stay);
    TAP_RUN(test_one_process_a_folder);
    TAP_RUN(test_damaged_files);
    const char *const names[] = {"node-id", "epoch", "lock"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return tap_done();
}
