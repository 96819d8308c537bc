/* SPDX-License-Identifier: Apache-2.0 */
/* How instances end, with a script in QEMU's place. */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "computenode/agent/image_stage.h"
#include "computenode/agent/instance.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "tests/tap.h"

#define WAIT_MS 20000u

static char folder[] = "/tmp/dilos-inst-XXXXXX";
static char qemu[512];
static struct event_base *base;
static struct instance_host host;
static struct instance *instance;
static Dilos__InstanceReport report;
static char seen[256]; /* states, in order */
static char error[INSTANCE_REASON_BYTES];
static bool device_only; /* what `start` asks for */

static void on_changed(void *context, struct instance *which)
{
    size_t used = strlen(seen);
    (void)snprintf(seen + used, sizeof(seen) - used, "%d ", (int)instance_state(which));
}

static void on_output(void *context, struct instance *which)
{
}

static void on_ask(void *context, struct instance *which, uint32_t slab_count)
{
    instance_refused(which, "the test has none");
}

static void on_release(void *context, struct instance *which, const struct slab_identity *slab)
{
}

static int start(const char *name, const char *program, uint64_t local_bytes)
{
    char *arguments[] = {(char *)(uintptr_t)program};
    Dilos__InstanceSpec spec = DILOS__INSTANCE_SPEC__INIT;
    Dilos__InstanceStart message = DILOS__INSTANCE_START__INIT;
    spec.name = (char *)(uintptr_t)name;
    spec.n_arguments = 1;
    spec.arguments = arguments;
    spec.local_bytes = local_bytes;
    spec.far_bytes = 64 * MIB;
    spec.device_only = device_only;
    char id[] = "id1";
    message.instance_id = id;
    message.spec = &spec;
    message.slab_bytes = MIB;
    seen[0] = '\0';
    return instance_open(&host, &message, &instance, error);
}

static void on_late(int fd, short events, void *context)
{
    *(bool *)context = true;
}

/* Until the instance is in `state`. */
static bool reach(enum instance_state state)
{
    bool late = false;
    struct event *timer = event_new(base, -1, 0, on_late, &late);
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    CHECK(event_add(timer, &limit) == 0);
    while (!late && instance_state(instance) < state) {
        CHECK(event_base_loop(base, EVLOOP_ONCE) >= 0);
    }
    event_free(timer);
    return instance_state(instance) >= state;
}

static void expect_end(const char *kind, int code, const char *part)
{
    EXPECT(reach(INSTANCE_ENDED));
    dilos__instance_report__init(&report);
    instance_report(instance, &report);
    EXPECT_STR(report.exit_kind, kind);
    EXPECT_EQ(report.exit_code, code);
    if (strstr(report.reason, part) == NULL) {
        printf("# reason: %s\n", report.reason);
    }
    EXPECT(strstr(report.reason, part) != NULL);
}

static void finish(void)
{
    if (instance != NULL && instance_state(instance) != INSTANCE_ENDED) {
        instance_kill(instance, "stopped", "the test is over");
        EXPECT(reach(INSTANCE_ENDED));
    }
    instance = instance_close(instance);
}

static void expect_stream(enum output_stream stream, const char *text)
{
    char data[256] = "";
    EXPECT(output_log_read(instance_log(instance), stream, 0, data, sizeof(data) - 1) >= 0);
    EXPECT_STR(data, text);
}

static void test_output_and_exit(void)
{
    EXPECT_EQ(start("output", "/bin/true", 32 * MIB), 0);
    expect_end("exited", 7, "");
    EXPECT_EQ(report.state, DILOS__INSTANCE_STATE__INSTANCE_EXITED);
    EXPECT_STR(seen, "2 3 5 6 ");
    expect_stream(OUTPUT_STDOUT, "out\n");
    expect_stream(OUTPUT_STDERR, "err\n");
    expect_stream(OUTPUT_MERGED, "out\nerr\n");
    char syscalls[INSTANCE_SYSCALLS_MAX][INSTANCE_SYSCALL_BYTES];
    EXPECT_EQ(instance_syscalls(instance, syscalls), 1);
    EXPECT_STR(syscalls[0], "clone (56)");
    finish();
}

static void test_other_ends(void)
{
    EXPECT_EQ(start("segv", "/bin/true", 32 * MIB), 0);
    expect_end("signaled", 11, "SIGSEGV at 0x0");
    finish();
    EXPECT_EQ(start("panic", "/bin/true", 32 * MIB), 0);
    expect_end("panic", 0, "#0 reclaim");
    EXPECT_EQ(report.state, DILOS__INSTANCE_STATE__INSTANCE_FAILED);
    finish();
}

static void test_qemu_dies(void)
{
    EXPECT_EQ(start("dies", "/bin/true", 32 * MIB), 0);
    expect_end("vmm", 3, "no such machine");
    EXPECT_STR(seen, "2 5 6 ");
    finish();
    EXPECT_EQ(start("silent-death", "/bin/true", 32 * MIB), 0);
    expect_end("vmm", 9, "signal 9");
    finish();
}

/* It has no control channel yet. */
static void test_kernel_refuses(void)
{
    EXPECT_EQ(start("early-end", "/bin/true", 5 * MIB), 0);
    expect_end("refused", 1, "the kernel needs 4756 KiB; give it more with --local-memory");
    finish();
}

static void test_broken_rules(void)
{
    EXPECT_EQ(start("garbage", "/bin/true", 32 * MIB), 0);
    expect_end("vmm", 0, "the control channel broke its rules");
    finish();
    EXPECT_EQ(start("far-garbage", "/bin/true", 32 * MIB), 0);
    expect_end("vmm", 0, "the far-memory device was misused");
    finish();
}

static void test_stop(void)
{
    EXPECT_EQ(start("obeys", "/bin/true", 32 * MIB), 0);
    EXPECT(reach(INSTANCE_RUNNING));
    instance_signal(instance, 15, 10000);
    expect_end("stopped", 15, "on request");
    EXPECT_STR(seen, "2 3 4 5 6 ");
    finish();
    EXPECT_EQ(start("deaf", "/bin/true", 32 * MIB), 0);
    EXPECT(reach(INSTANCE_RUNNING));
    instance_signal(instance, 15, 100);
    expect_end("stopped", 15, "did not end by itself");
    finish();
}

static struct instance_answer answers[8];
static char answer_text[8][64];
static uint32_t answer_count;

static void on_answer(void *context, const struct instance_answer *answer)
{
    CHECK(answer_count < ARRAY_LEN(answers));
    (void)snprintf(answer_text[answer_count], sizeof(answer_text[0]), "%s", answer->text);
    answers[answer_count++] = *answer;
}

static bool reach_answers(uint32_t count)
{
    bool late = false;
    struct event *timer = event_new(base, -1, 0, on_late, &late);
    const struct timeval limit = {.tv_sec = WAIT_MS / 1000};
    CHECK(event_add(timer, &limit) == 0);
    while (!late && answer_count < count) {
        CHECK(event_base_loop(base, EVLOOP_ONCE) >= 0);
    }
    event_free(timer);
    return answer_count >= count;
}

static void test_changes(void)
{
    struct instance_sizes sizes;
    answer_count = 0;
    EXPECT_EQ(start("tunable", "/bin/true", 24 * MIB), 0);
    EXPECT_EQ(instance_tune(instance, "prefetch=none", on_answer, NULL), -ENOTCONN);
    EXPECT(reach(INSTANCE_RUNNING));
    EXPECT_EQ(instance_tune(instance, "", on_answer, NULL), -EINVAL);
    EXPECT_EQ(instance_resize(instance, 100 * MIB, on_answer, NULL), -ERANGE);
    EXPECT_EQ(instance_tune(instance, "prefetch=none", on_answer, NULL), 0);
    EXPECT_EQ(instance_tune(instance, "prefetch=all", on_answer, NULL), 0);
    EXPECT_EQ(instance_resize(instance, 48 * MIB, on_answer, NULL), 0);
    EXPECT_EQ(instance_resize(instance, 17 * MIB, on_answer, NULL), 0);
    EXPECT(reach_answers(4));
    EXPECT_EQ(answers[0].status, 0);
    EXPECT_EQ(answers[1].status, -EINVAL);
    EXPECT_STR(answer_text[1], "there are: none");
    EXPECT_EQ(answers[2].status, 0);
    EXPECT_EQ(answers[3].status, -ERANGE);
    EXPECT_EQ(answers[3].bytes, 20 * MIB);
    instance_sizes(instance, &sizes);
    EXPECT_EQ(sizes.local_bytes, 48 * MIB);
    EXPECT_EQ(sizes.local_bytes_max, 48 * MIB);
    EXPECT_EQ(instance_set_far(instance, 32 * MIB), 0);
    instance_sizes(instance, &sizes);
    EXPECT_EQ(sizes.far_bytes, 32 * MIB);
    instance_signal(instance, 15, 10000);
    EXPECT_EQ(instance_tune(instance, "prefetch=none", on_answer, NULL), -ENOTCONN);
    expect_end("stopped", 15, "on request");
    finish();
}

/* Who asked gets an answer, also when none comes; so many may wait. */
static void test_changes_without_answer(void)
{
    answer_count = 0;
    EXPECT_EQ(start("deaf", "/bin/true", 24 * MIB), 0);
    EXPECT(reach(INSTANCE_RUNNING));
    for (uint32_t i = 0; i < INSTANCE_QUESTIONS_MAX; i++) {
        EXPECT_EQ(instance_tune(instance, "prefetch=none", on_answer, NULL), 0);
    }
    EXPECT_EQ(instance_resize(instance, 32 * MIB, on_answer, NULL), -EBUSY);
    EXPECT_EQ(answer_count, 0);
    instance_kill(instance, "stopped", "by the test");
    expect_end("stopped", 0, "by the test");
    EXPECT_EQ(answer_count, INSTANCE_QUESTIONS_MAX);
    EXPECT_EQ(answers[0].status, -ENOTCONN);
    finish();
    EXPECT_EQ(start("unasked", "/bin/true", 24 * MIB), 0);
    expect_end("vmm", 0, "nobody asked for");
    finish();
}

static void test_stop_while_preparing(void)
{
    EXPECT_EQ(start("deaf", "/usr/bin/sort", 32 * MIB), 0);
    instance_signal(instance, 15, 1000);
    expect_end("stopped", 15, "before it started");
    finish();
}

static void test_refusals(void)
{
    EXPECT_EQ(start("output", "/bin/true", MIB), -EINVAL);
    EXPECT(strstr(error, "local memory is too small") != NULL);
    EXPECT_EQ(start("output", "/nonexistent/program", 32 * MIB), 0);
    expect_end("refused", 0, "/nonexistent/program");
    finish();
    const char *before = host.qemu;
    host.qemu = NULL;
    EXPECT_EQ(start("output", "/bin/true", 32 * MIB), -EINVAL);
    EXPECT(strstr(error, "apt-get install qemu-system-x86") != NULL);
    host.qemu = "/nonexistent/qemu";
    EXPECT_EQ(start("output", "/bin/true", 32 * MIB), 0);
    expect_end("refused", 0, "QEMU can't be started");
    finish();
    host.qemu = before;
}

static int connect_to_far(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/i/id1/far", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void test_device_only(void)
{
    const char *before = host.qemu;
    device_only = true;
    EXPECT_EQ(start("swap", "linux", 32 * MIB), -EINVAL);
    EXPECT(strstr(error, "--allow-foreign-guests") != NULL);
    host.foreign_guests = true;
    host.qemu = NULL; /* it isn't needed */
    EXPECT_EQ(start("swap", "linux", 32 * MIB), 0);
    EXPECT(reach(INSTANCE_RUNNING));
    char log[512] = "";
    EXPECT(output_log_read(instance_log(instance), OUTPUT_LOG, 0, log, sizeof(log) - 1) >= 0);
    EXPECT(strstr(log, "i/id1/far\n") != NULL);
    int fd = connect_to_far();
    EXPECT(fd >= 0);
    (void)close(fd);
    expect_end("exited", 0, "the VMM closed the device");
    EXPECT_STR(seen, "2 3 5 6 ");
    finish();
    EXPECT_EQ(start("swap", "linux", 32 * MIB), 0);
    EXPECT(reach(INSTANCE_RUNNING));
    instance_signal(instance, 15, 10000);
    expect_end("stopped", 15, "on request");
    finish();
    host.qemu = before;
    device_only = false;
}

int main(void)
{
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(qemu, sizeof(qemu), "%s/tests/unit/agent/fake_qemu.py", getenv("DILOS_SOURCE"));
    base = event_base_new();
    host = (struct instance_host){.base = base,
                                  .state = folder,
                                  .qemu = qemu,
                                  .kernel = "/nonexistent/dilos.elf",
                                  .host_id = "test",
                                  .changed = on_changed,
                                  .output = on_output,
                                  .ask = on_ask,
                                  .release = on_release};
    CHECK(jobs_open(base, &host.jobs) == 0);
    TAP_RUN(test_output_and_exit);
    TAP_RUN(test_other_ends);
    TAP_RUN(test_qemu_dies);
    TAP_RUN(test_kernel_refuses);
    TAP_RUN(test_broken_rules);
    TAP_RUN(test_stop);
    TAP_RUN(test_changes);
    TAP_RUN(test_changes_without_answer);
    TAP_RUN(test_stop_while_preparing);
    TAP_RUN(test_refusals);
    TAP_RUN(test_device_only);
    host.jobs = jobs_close(host.jobs);
    event_base_free(base);
    image_stage_delete(folder);
    return tap_done();
}
