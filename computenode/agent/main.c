/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "computenode/agent/agent.h"
#include "computenode/agent/options.h"
#include "lib/sys/log.h"
#include "lib/sys/sys.h"

static void on_signal(int number, short events, void *context)
{
    (void)events;
    log_info("stopping", "signal=%d", number);
    (void)event_base_loopbreak(context);
}

static int fail(const char *what, const char *reason)
{
    log_error("start-failed", "what=%s reason=\"%s\"", what, reason);
    return EXIT_FAILURE;
}

static int serve(struct agent_config *config)
{
    struct agent *agent = NULL;
    int status = EXIT_FAILURE;
    config->base = event_base_new();
    if (config->base == NULL) {
        return fail("loop", "out of memory");
    }
    struct event *term = evsignal_new(config->base, SIGTERM, on_signal, config->base);
    struct event *interrupt = evsignal_new(config->base, SIGINT, on_signal, config->base);
    if (term == NULL || interrupt == NULL || event_add(term, NULL) != 0 ||
        event_add(interrupt, NULL) != 0) {
        status = fail("loop", "out of memory");
        goto out;
    }
    int r = agent_open(config, &agent);
    if (r < 0) {
        status = fail("session",
                      r == -EINVAL ? "--controller is not HOST:PORT or unix:/PATH" : strerror(-r));
        goto out;
    }
    (void)event_base_dispatch(config->base);
    agent = agent_close(agent);
    status = EXIT_SUCCESS;
out:
    if (term != NULL) {
        event_free(term);
    }
    if (interrupt != NULL) {
        event_free(interrupt);
    }
    event_base_free(config->base);
    return status;
}

/* Which accelerator instances get. False: the one that was asked for does not work. */
static bool choose_accelerator(const struct options *options, struct agent_config *config,
                               char *reason)
{
    char folder[VMM_PATH_BYTES + 8];
    bool possible = config->qemu != NULL && config->kernel != NULL;
    if (strcmp(options->accel, "tcg") == 0 || !possible) {
        return true;
    }
    (void)snprintf(folder, sizeof(folder), "%s/probe", options->state);
    config->kvm = vmm_kvm_works(config->qemu, config->kernel, folder, reason);
    log_info("accelerator", "name=%s reason=\"%s\"", config->kvm ? "kvm" : "tcg", reason);
    return config->kvm || strcmp(options->accel, "kvm") != 0;
}

static int run(const struct options *options)
{
    char reason[VMM_REASON_BYTES] = "";
    char path[VMM_PATH_BYTES + 8];
    int lock_fd;
    int pid = 0;
    int r = sys_make_folders(options->state);
    if (r < 0) {
        (void)snprintf(reason, sizeof(reason), "%.180s: %s", options->state, strerror(-r));
        return fail("state", reason);
    }
    (void)snprintf(path, sizeof(path), "%s/lock", options->state);
    r = sys_lock_file(path, &lock_fd, &pid);
    if (r < 0) {
        (void)snprintf(reason, sizeof(reason),
                       r == -EWOULDBLOCK ? "process %d uses this state folder; stop it or give "
                                           "another --state"
                                         : "the lock file can't be made (%d)",
                       r == -EWOULDBLOCK ? pid : -r);
        return fail("state", reason);
    }
    struct agent_config config = {
        .name = options->name,
        .controller = options->controller,
        .state = options->state,
        .host = options->host,
        .labels = &options->labels,
        .qemu = options->qemu_path[0] == '\0' ? NULL : options->qemu_path,
        .kernel = options->kernel_path[0] == '\0' ? NULL : options->kernel_path,
        .fabric_only = options->fabric_only,
        .foreign_guests = options->foreign_guests,
        .far_delay_ns = options->far_delay_us * 1000,
        .image_cache_bytes = options->image_cache_bytes,
        .kvm_reason = reason,
    };
    if (!choose_accelerator(options, &config, reason)) {
        return fail("kvm", reason);
    }
    if (config.far_delay_ns > 0) {
        log_warning("far-delay",
                    "us=%llu note=\"every far memory access is held back: for experiments\"",
                    (unsigned long long)options->far_delay_us);
    }
    log_info("started", "name=%s qemu=%s kernel=%s accelerator=%s", config.name,
             config.qemu == NULL ? "none" : config.qemu,
             config.kernel == NULL ? "none" : config.kernel, config.kvm ? "kvm" : "tcg");
    return serve(&config);
}

int main(int argc, char **argv)
{
    static struct options options;
    int answered = options_load(&options, argc, argv);
    if (answered != 0) {
        return answered == 1 ? EXIT_SUCCESS : 2;
    }
    log_init("agent", LOG_LEVEL_INFO);
    sys_forbid_dumps();
    int status;
    if (options.check) {
        status = options_check_machine(&options) ? EXIT_SUCCESS : EXIT_FAILURE;
    } else {
        status = run(&options);
    }
    options_fini(&options);
    return status;
}
