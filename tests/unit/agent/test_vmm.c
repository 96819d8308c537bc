/* SPDX-License-Identifier: Apache-2.0 */
/* The test boot that tells whether an accelerator works, with scripts in QEMU's place. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "computenode/agent/image_stage.h"
#include "computenode/agent/vmm.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"

#define LIMIT_MS 400u
#define LONG_MS  20000u

static char folder[] = "/tmp/dilos-vmm-XXXXXX";
static char qemu[256];
static char probe[256];
static char reason[VMM_REASON_BYTES];

static bool boots_with(const char *script, uint32_t limit_ms)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    CHECK(sys_write_file(qemu, text, strlen(text)) == 0);
    CHECK(chmod(qemu, 0755) == 0);
    reason[0] = '\0';
    return vmm_boots(qemu, "/nonexistent/dilos.elf", probe, true, limit_ms, reason);
}

static void expect_reason(const char *part)
{
    if (strstr(reason, part) == NULL) {
        printf("# reason: %s\n", reason);
    }
    EXPECT(strstr(reason, part) != NULL);
}

static void test_works(void)
{
    /* QEMU's own status is 1 after isa-debug-exit with 0: only what the kernel said counts. */
    EXPECT(boots_with("echo 'dilos: probe ok' >serial; exit 1", LONG_MS));
    EXPECT(
        boots_with("test \"$(head -c 4 spec)\" = DBSP && echo 'dilos: probe ok' >serial", LONG_MS));
}

static void test_fails(void)
{
    EXPECT(!boots_with("echo 'ioctl(KVM_CREATE_VM) failed' >&2; exit 1", LONG_MS));
    expect_reason("a test boot failed: ioctl(KVM_CREATE_VM) failed");
    EXPECT(!boots_with("echo 'dilos: panic' >serial; exit 1", LONG_MS));
    expect_reason("a test boot failed");
    EXPECT(!boots_with("kill -9 $$", LONG_MS));
    expect_reason("a test boot failed");
}

/* What an earlier test boot left says nothing about this one. */
static void test_leftovers(void)
{
    EXPECT(boots_with("echo 'dilos: probe ok' >serial", LONG_MS));
    EXPECT(!boots_with("exit 1", LONG_MS));
}

static void test_hangs(void)
{
    char *text;
    size_t bytes;
    char path[300];
    EXPECT(!boots_with("echo $$ >pid; exec sleep 60", LIMIT_MS));
    expect_reason("did not end within 400 ms");
    (void)snprintf(path, sizeof(path), "%s/pid", probe);
    EXPECT_EQ(sys_read_file(path, 32, &text, &bytes), 0);
    EXPECT(kill((pid_t)atoi(text), 0) < 0 && errno == ESRCH);
    free(text);
    /* Whoever says that it works must also end. */
    EXPECT(!boots_with("echo 'dilos: probe ok' >serial; exec sleep 60", LIMIT_MS));
}

static void test_not_there(void)
{
    EXPECT(!vmm_boots("/nonexistent/qemu", "/nonexistent/dilos.elf", probe, true, LONG_MS, reason));
    expect_reason("QEMU can't be started");
    char file[300];
    (void)snprintf(file, sizeof(file), "%s/file", folder);
    CHECK(sys_write_file(file, "", 0) == 0);
    (void)strcat(file, "/probe");
    EXPECT(!vmm_boots(qemu, "/nonexistent/dilos.elf", file, true, LONG_MS, reason));
    expect_reason("/file/probe");
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(qemu, sizeof(qemu), "%s/qemu", folder);
    (void)snprintf(probe, sizeof(probe), "%s/probe", folder);
    TAP_RUN(test_works);
    TAP_RUN(test_fails);
    TAP_RUN(test_leftovers);
    TAP_RUN(test_hangs);
    TAP_RUN(test_not_there);
    image_stage_delete(folder);
    return tap_done();
}
