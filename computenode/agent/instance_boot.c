/* SPDX-License-Identifier: Apache-2.0 */
/* The boot specification of an instance, and its VM. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "computenode/agent/instance_internal.h"
#include "computenode/agent/vmm.h"
#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "lib/wire/bootspec.h"

#define TAIL_BYTES 1024u
/* RAM that is not memory to the kernel (firmware's, the hole below 1 MiB) must not be missing. */
#define RAM_EXTRA_BYTES (2 * MIB)

static struct bootspec_string text(const char *from)
{
    return (struct bootspec_string){.data = from, .length = (uint32_t)strlen(from)};
}

static int spec_fill(const struct instance *instance, const struct image_result *image,
                     struct bootspec *spec)
{
    const Dilos__InstanceSpec *from = instance->start->spec;
    if (from->n_arguments > BOOTSPEC_ARGUMENTS_MAX ||
        from->n_environment > BOOTSPEC_ENVIRONMENT_MAX) {
        return -EMSGSIZE;
    }
    for (size_t i = 0; i < from->n_arguments; i++) {
        spec->arguments[i] = text(i == 0 ? image->program : from->arguments[i]);
    }
    spec->argument_count = (uint32_t)from->n_arguments;
    if (spec->argument_count == 0) {
        spec->arguments[spec->argument_count++] = text(image->program);
    }
    for (size_t i = 0; i < from->n_environment; i++) {
        spec->environment[i] = text(from->environment[i]);
    }
    spec->environment_count = (uint32_t)from->n_environment;
    spec->directory = text(from->directory);
    spec->hostname = text(from->name);
    spec->prefetch = text(from->prefetch);
    spec->local_bytes = from->local_bytes;
    spec->far_bytes = from->far_bytes;
    spec->slab_bytes = instance->start->slab_bytes;
    spec->vcpus = from->vcpus;
    spec->mode = from->measure_device ? BOOTSPEC_BENCH_DEVICE : BOOTSPEC_RUN;
    spec->realtime_ns = sys_realtime_ns();
    sys_random(spec->seed, sizeof(spec->seed));
    return 0;
}

static int write_spec(const struct instance *instance, const struct image_result *image)
{
    struct bootspec *spec = calloc(1, sizeof(*spec));
    uint8_t *data = malloc(BOOTSPEC_BYTES_MAX);
    char path[IMAGE_PATH_BYTES + 8];
    size_t length;
    int r = spec == NULL || data == NULL ? -ENOMEM : spec_fill(instance, image, spec);
    if (r == 0) {
        r = bootspec_encode(spec, data, BOOTSPEC_BYTES_MAX, &length);
    }
    if (r == 0) {
        (void)snprintf(path, sizeof(path), "%s/spec", instance->folder);
        r = sys_write_file(path, data, length);
    }
    free(spec);
    free(data);
    return r;
}

/*
 * Before it has a control channel the kernel says on the serial port why it ends:
 * "dilos: exit kind=KIND code=N reason=TEXT".
 */
static bool verdict_of_serial(struct instance *instance, const char *said)
{
    static const char *const kinds[] = {"refused", "no-memory", "far-lost", "panic"};
    static const char mark[] = "dilos: exit kind=";
    const char *from = strstr(said, mark);
    char kind[16];
    int code = 0;
    int reason_at = 0;
    if (from == NULL || sscanf(from + sizeof(mark) - 1, "%15[a-z-] code=%d reason=%n", kind, &code,
                               &reason_at) != 2) {
        return false;
    }
    const char *reason = from + sizeof(mark) - 1 + reason_at;
    for (size_t i = 0; i < ARRAY_LEN(kinds) && reason_at > 0; i++) {
        if (strcmp(kinds[i], kind) == 0) {
            bool local = strstr(reason, "local memory") != NULL;
            instance_verdict(instance, kinds[i], code, "%.*s%s", (int)strcspn(reason, "\n"), reason,
                             local ? "; give it more with --local-memory" : "");
            return true;
        }
    }
    return false;
}

/* QEMU is gone. What it left says why, unless the kernel has told. */
static void verdict_of_exit(struct instance *instance, const siginfo_t *info)
{
    char path[IMAGE_PATH_BYTES + 16];
    char said[TAIL_BYTES];
    if (instance->exit_kind != NULL) {
        return;
    }
    if (instance->stop_wanted) {
        instance_verdict(instance, "stopped", (int32_t)instance->stop_signal,
                         "on request; it did not end by itself in time");
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/serial", instance->folder);
    vmm_tail(path, said, sizeof(said));
    if (verdict_of_serial(instance, said)) {
        return;
    }
    char complaint[TAIL_BYTES];
    (void)snprintf(path, sizeof(path), "%s/qemu.log", instance->folder);
    vmm_tail(path, complaint, sizeof(complaint));
    if (complaint[0] != '\0') {
        (void)strcpy(said, complaint);
    }
    instance_verdict(instance, "vmm", info->si_status, "QEMU ended by %s %d: %s",
                     info->si_code == CLD_EXITED ? "exit status" : "signal", info->si_status,
                     said[0] == '\0' ? "it said nothing" : said);
}

static void on_qemu_exit(int fd, short events, void *context)
{
    struct instance *instance = context;
    siginfo_t info = {0};
    (void)events;
    if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) {
        return;
    }
    event_free(instance->exit_event);
    instance->exit_event = NULL;
    (void)close(instance->pidfd);
    instance->pidfd = -1;
    instance->pid = 0;
    ctl_channel_drain(instance->ctl);
    verdict_of_exit(instance, &info);
    instance_end(instance);
}

static int watch(struct instance *instance)
{
    instance->exit_event = event_new(instance->host->base, instance->pidfd, EV_READ | EV_PERSIST,
                                     on_qemu_exit, instance);
    return instance->exit_event != NULL && event_add(instance->exit_event, NULL) == 0 ? 0 : -ENOMEM;
}

static bool refuse(struct instance *instance, const char *what, int error)
{
    instance_verdict(instance, "refused", 0, "%s: %s", what, strerror(-error));
    return false;
}

/* More virtual CPUs than the host has are allowed: they take turns. */
static void note_vcpus(const struct instance *instance)
{
    long host = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t vcpus = instance->start->spec->vcpus;
    if (host > 0 && vcpus > (unsigned long)host) {
        output_log_note(instance->log,
                        "agent: %u virtual CPUs take turns on the %ld that this host has: expect "
                        "threads that wait for each other to be slow",
                        vcpus, host);
    }
}

bool instance_boot(struct instance *instance, const struct image_result *image)
{
    const struct instance_host *host = instance->host;
    int r = write_spec(instance, image);
    if (r < 0) {
        return refuse(instance,
                      r == -EMSGSIZE ? "arguments and environment are too long"
                                     : "the boot specification can't be written",
                      r);
    }
    r = instance_ctl_open(instance);
    r = r < 0 ? r : instance_far_open(instance);
    if (r < 0) {
        return refuse(instance,
                      "the instance's sockets can't be made (shorter --state helps if the "
                      "name is too long)",
                      r);
    }
    note_vcpus(instance);
    const struct vmm_config config = {
        .qemu = host->qemu,
        .kernel = host->kernel,
        .folder = instance->folder,
        .image = image->path,
        .kvm = host->kvm,
        .devices = true,
        .memory_bytes = instance->local_bytes_max + RAM_EXTRA_BYTES,
        .vcpus = instance->start->spec->vcpus,
    };
    r = vmm_start(&config, &instance->pid, &instance->pidfd);
    if (r < 0) {
        return refuse(instance, "QEMU can't be started (apt-get install qemu-system-x86)", r);
    }
    r = watch(instance);
    if (r < 0) {
        return refuse(instance, "QEMU can't be watched", r);
    }
    return true;
}
