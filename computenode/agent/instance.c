/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/instance.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "computenode/agent/image_stage.h"
#include "computenode/agent/instance_internal.h"
#include "lib/base/check.h"
#include "lib/base/state.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define ID_BYTES_MAX 64u

static const uint32_t moves[] = {
    [INSTANCE_NEW] = STATE_TO(INSTANCE_PREPARING),
    [INSTANCE_PREPARING] =
        STATE_TO(INSTANCE_BOOTING) | STATE_TO(INSTANCE_STOPPING) | STATE_TO(INSTANCE_ENDING),
    [INSTANCE_BOOTING] =
        STATE_TO(INSTANCE_RUNNING) | STATE_TO(INSTANCE_STOPPING) | STATE_TO(INSTANCE_ENDING),
    [INSTANCE_RUNNING] = STATE_TO(INSTANCE_STOPPING) | STATE_TO(INSTANCE_ENDING),
    [INSTANCE_STOPPING] = STATE_TO(INSTANCE_ENDING),
    [INSTANCE_ENDING] = STATE_TO(INSTANCE_ENDED),
    [INSTANCE_ENDED] = 0,
};

/* The making of the image, on a thread. Everything in it is the job's own. */
struct prepare {
    struct instance *instance;
    struct image_request request;
    struct image_file *files;
    char folder[IMAGE_PATH_BYTES];
    char link[IMAGE_PATH_BYTES];
    int error;
    struct image_result result;
};

/* The name by which it keeps its image while it runs. */
static void root_link(const struct instance *instance, char *ret)
{
    (void)snprintf(ret, IMAGE_PATH_BYTES, "%.1000s/root.erofs", instance->folder);
}

void instance_move(struct instance *instance, enum instance_state to)
{
    CHECK(state_may_move(moves, instance->state, to));
    instance->state = to;
    if (to >= INSTANCE_STOPPING) {
        instance_questions_fail(instance);
    }
    instance->host->changed(instance->host->context, instance);
    if (to == INSTANCE_ENDED) {
        char link[IMAGE_PATH_BYTES];
        root_link(instance, link);
        (void)unlink(link); /* its image may go from the cache */
        instance->host->output(instance->host->context, instance);
    }
}

void instance_verdict(struct instance *instance, const char *kind, int32_t code, const char *format,
                      ...)
{
    if (instance->exit_kind != NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(instance->reason, sizeof(instance->reason), format, arguments);
    va_end(arguments);
    instance->exit_kind = kind;
    instance->exit_code = code;
    output_log_note(instance->log, "agent: end kind=%s code=%d reason=%s", kind, code,
                    instance->reason);
}

void instance_timer(struct instance *instance, uint32_t after_ms)
{
    const struct timeval delay = {.tv_sec = after_ms / 1000,
                                  .tv_usec = (suseconds_t)(after_ms % 1000) * 1000};
    CHECK(event_add(instance->timer, &delay) == 0);
}

void instance_end(struct instance *instance)
{
    if (instance->far != NULL) {
        far_device_ending(instance->far);
    }
    if (instance->pid != 0) {
        (void)pidfd_send_signal(instance->pidfd, SIGKILL, NULL, 0);
        return; /* its exit brings us back here */
    }
    if (instance->state >= INSTANCE_ENDING || instance->preparing) {
        return; /* the end of the job brings us back here */
    }
    (void)event_del(instance->timer);
    instance_move(instance, INSTANCE_ENDING);
    if (instance->far == NULL) {
        instance_live_answer(instance, NULL);
        instance_move(instance, INSTANCE_ENDED);
    } else if (far_device_stop(instance->far, instance->stats_address) < 0) {
        instance_far_fini(instance); /* waits instead of being told */
        instance_move(instance, INSTANCE_ENDED);
    }
}

static void on_timer(int fd, short events, void *context)
{
    struct instance *instance = context;
    (void)fd;
    (void)events;
    if (instance->state == INSTANCE_BOOTING) {
        instance_verdict(instance, "vmm", 0, "the kernel did not come up within %u s",
                         INSTANCE_BOOT_MS / 1000);
    }
    instance_end(instance);
}

/* ---- the image ---- */

static void prepare_work(void *context)
{
    struct prepare *job = context;
    /* Nothing is prepared for another's VMM. */
    if (!job->instance->start->spec->device_only) {
        job->error = image_prepare(&job->request, &job->result);
    }
}

/* Starts what was asked for; false: the verdict says why not. */
static bool begin(struct instance *instance, const struct image_result *image)
{
    if (instance->start->spec->device_only) {
        if (!instance_far_serve(instance)) {
            return false;
        }
        instance_move(instance, INSTANCE_BOOTING);
        instance_move(instance, INSTANCE_RUNNING);
        return true;
    }
    output_log_note(instance->log, "agent: image %s program=%s bytes=%llu", image->path,
                    image->program, (unsigned long long)image->bytes);
    if (!instance_boot(instance, image)) {
        return false;
    }
    instance_move(instance, INSTANCE_BOOTING);
    instance_timer(instance, INSTANCE_BOOT_MS);
    return true;
}

static void prepare_done(void *context)
{
    struct prepare *job = context;
    struct instance *instance = job->instance;
    instance->preparing = false;
    if (job->error < 0) {
        instance_verdict(instance, "refused", 0, "%s", job->result.error);
    }
    if (instance->stop_wanted) {
        instance_verdict(instance, "stopped", (int32_t)instance->stop_signal,
                         "on request, before it started");
    }
    if (instance->exit_kind != NULL || !begin(instance, &job->result)) {
        instance_end(instance);
    }
    free(job->files);
    free(job);
}

static int prepare_start(struct instance *instance)
{
    const Dilos__InstanceSpec *spec = instance->start->spec;
    struct prepare *job = calloc(1, sizeof(*job));
    if (job == NULL) {
        return -ENOMEM;
    }
    job->files = calloc(spec->n_files + 1, sizeof(*job->files));
    if (job->files == NULL) {
        free(job);
        return -ENOMEM;
    }
    for (size_t i = 0; i < spec->n_files; i++) {
        job->files[i] = (struct image_file){.host_path = spec->files[i]->host_path,
                                            .guest_path = spec->files[i]->guest_path};
    }
    (void)snprintf(job->folder, sizeof(job->folder), "%.900s/images", instance->host->state);
    root_link(instance, job->link);
    job->instance = instance;
    job->request = (struct image_request){
        .folder = job->folder,
        .name = spec->image,
        .program = spec->n_arguments > 0 ? spec->arguments[0] : "",
        .files = job->files,
        .file_count = (uint32_t)spec->n_files,
        .link = job->link,
        .cache_bytes = instance->host->image_cache_bytes,
    };
    int r = jobs_run(instance->host->jobs, prepare_work, prepare_done, job);
    if (r < 0) {
        free(job->files);
        free(job);
    }
    instance->preparing = r == 0;
    return r;
}

/* ---- opening and closing ---- */

static int refuse(char *ret_error, const char *format, ...) PRINTF_LIKE(2, 3);

static int refuse(char *ret_error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(ret_error, INSTANCE_REASON_BYTES, format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static bool id_is_safe(const char *id)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    size_t length = strlen(id);
    return length > 0 && length <= ID_BYTES_MAX && strspn(id, allowed) == length;
}

/* The VM has RAM for so much. What is not used of it costs its host nothing: it is a memfd. */
static uint64_t local_bytes_max(const Dilos__InstanceSpec *spec)
{
    uint64_t bytes = spec->local_bytes_max != 0 ? spec->local_bytes_max : 2 * spec->local_bytes;
    return ALIGN_UP(bytes, MIB);
}

static int check_start(const struct instance_host *host, const Dilos__InstanceStart *start,
                       char *ret_error)
{
    const Dilos__InstanceSpec *spec = start->spec;
    if (spec == NULL || !id_is_safe(start->instance_id)) {
        return refuse(ret_error, "the request has no valid instance id or specification");
    }
    if (spec->n_arguments == 0 && spec->image[0] == '\0') {
        return refuse(ret_error, "no program was given");
    }
    if (spec->device_only && !host->foreign_guests) {
        return refuse(ret_error, "this agent serves far memory to its own unikernels only: start "
                                 "it with --allow-foreign-guests, or leave out --device-only");
    }
    if (!spec->device_only && host->qemu == NULL) {
        return refuse(ret_error, "qemu-system-x86_64 is not on the agent's host: apt-get install "
                                 "qemu-system-x86, or --qemu PATH, then restart the agent");
    }
    if (!spec->device_only && host->kernel == NULL) {
        return refuse(ret_error, "dilos.elf is not on the agent's host: start the agent with "
                                 "--kernel PATH");
    }
    char size[16];
    if (spec->local_bytes < INSTANCE_LOCAL_BYTES_MIN) {
        return refuse(ret_error,
                      "local memory is too small: the kernel needs %s, give "
                      "--local-memory %s or more",
                      text_format_size(INSTANCE_LOCAL_BYTES_MIN, size),
                      text_format_size(INSTANCE_LOCAL_BYTES_MIN, size));
    }
    if (spec->vcpus > INSTANCE_VCPUS_MAX) {
        return refuse(ret_error, "%u virtual CPUs are too many: give --vcpus %u or fewer",
                      spec->vcpus, INSTANCE_VCPUS_MAX);
    }
    if (spec->local_bytes_max != 0 && spec->local_bytes_max < spec->local_bytes) {
        return refuse(ret_error, "--max-local-memory is less than --local-memory");
    }
    if (!IS_POWER_OF_TWO(start->slab_bytes) || start->slab_bytes < SLAB_BYTES_MIN ||
        start->slab_bytes > SLAB_BYTES_MAX) {
        return refuse(ret_error, "a slab size of %llu bytes is not supported",
                      (unsigned long long)start->slab_bytes);
    }
    return 0;
}

/* Our own copy: messages are freed when their handler returns. */
static Dilos__InstanceStart *start_copy(const Dilos__InstanceStart *from)
{
    size_t bytes = dilos__instance_start__get_packed_size(from);
    uint8_t *packed = malloc(bytes + 1);
    if (packed == NULL) {
        return NULL;
    }
    (void)dilos__instance_start__pack(from, packed);
    Dilos__InstanceStart *copy = dilos__instance_start__unpack(NULL, bytes, packed);
    free(packed);
    return copy;
}

static int make_folder(struct instance *instance)
{
    int length = snprintf(instance->folder, sizeof(instance->folder), "%s/i/%s",
                          instance->host->state, instance->start->instance_id);
    if (length < 0 || (unsigned)length >= sizeof(instance->folder)) {
        return -ENAMETOOLONG;
    }
    image_stage_delete(instance->folder); /* of an agent that was killed */
    int r = sys_make_folders(instance->folder);
    return r < 0 ? r : output_log_open(instance->folder, &instance->log);
}

int instance_open(const struct instance_host *host, const Dilos__InstanceStart *start,
                  struct instance **ret, char *ret_error)
{
    int r = check_start(host, start, ret_error);
    if (r < 0) {
        return r;
    }
    struct instance *instance = calloc(1, sizeof(*instance));
    if (instance == NULL) {
        return -ENOMEM;
    }
    instance->host = host;
    instance->pidfd = -1;
    instance->start = start_copy(start);
    instance->local_bytes_max = local_bytes_max(start->spec);
    (void)snprintf(instance->prefetch, sizeof(instance->prefetch), "%s",
                   start->spec->prefetch[0] == '\0' ? "none" : start->spec->prefetch);
    instance->timer = event_new(host->base, -1, 0, on_timer, instance);
    r = instance->start == NULL || instance->timer == NULL ? -ENOMEM : make_folder(instance);
    if (r == 0) {
        r = prepare_start(instance);
    }
    if (r < 0) {
        (void)refuse(ret_error, "the instance can't be prepared: %s",
                     r == -EBUSY ? "too many are being started already, try again later"
                                 : strerror(-r));
        instance->state = INSTANCE_ENDED;
        (void)instance_close(instance);
        return -EINVAL;
    }
    instance->state = INSTANCE_PREPARING;
    *ret = instance;
    return 0;
}

struct instance *instance_close(struct instance *instance)
{
    if (instance == NULL) {
        return NULL;
    }
    CHECK(instance->state == INSTANCE_ENDED);
    instance_far_fini(instance);
    instance->ctl = ctl_channel_close(instance->ctl);
    if (instance->timer != NULL) {
        event_free(instance->timer);
    }
    instance->log = output_log_close(instance->log);
    free(instance->final);
    if (instance->folder[0] != '\0') {
        image_stage_delete(instance->folder);
    }
    if (instance->start != NULL) {
        dilos__instance_start__free_unpacked(instance->start, NULL);
    }
    free(instance);
    return NULL;
}

/* ---- from outside ---- */

void instance_signal(struct instance *instance, uint32_t number, uint32_t grace_ms)
{
    uint8_t body[4] = {(uint8_t)number, 0, 0, 0};
    if (instance->state >= INSTANCE_ENDING) {
        return;
    }
    if (!instance->stop_wanted) {
        instance->stop_wanted = true;
        instance->stop_signal = number;
        instance_move(instance, INSTANCE_STOPPING);
    }
    bool told = instance->ctl != NULL &&
                ctl_channel_send(instance->ctl, CTL_SIGNAL, body, sizeof(body)) == 0;
    if (instance->start->spec->device_only) {
        instance_verdict(instance, "stopped", (int32_t)number, "on request");
        instance_end(instance);
        return;
    }
    if (instance->pid == 0) {
        return; /* its image is being made; that ends first */
    }
    instance_timer(instance, told && number != SIGKILL ? MIN(grace_ms, INSTANCE_GRACE_MS_MAX) : 0);
}

void instance_kill(struct instance *instance, const char *exit_kind, const char *reason)
{
    instance_verdict(instance, exit_kind, 0, "%s", reason);
    instance_end(instance);
}

const char *instance_id(const struct instance *instance)
{
    return instance->start->instance_id;
}

const char *instance_name(const struct instance *instance)
{
    return instance->start->spec->name;
}

enum instance_state instance_state(const struct instance *instance)
{
    return instance->state;
}

const struct output_log *instance_log(const struct instance *instance)
{
    return instance->log;
}

struct output_log *instance_log_writable(struct instance *instance)
{
    return instance->log;
}

static Dilos__InstanceState state_of_end(const char *kind)
{
    static const char *const own[] = {"exited", "signaled", "stopped"};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (strcmp(kind, own[i]) == 0) {
            return DILOS__INSTANCE_STATE__INSTANCE_EXITED;
        }
    }
    return DILOS__INSTANCE_STATE__INSTANCE_FAILED;
}

void instance_report(const struct instance *instance, Dilos__InstanceReport *ret)
{
    static const Dilos__InstanceState states[] = {
        [INSTANCE_NEW] = DILOS__INSTANCE_STATE__INSTANCE_STARTING,
        [INSTANCE_PREPARING] = DILOS__INSTANCE_STATE__INSTANCE_STARTING,
        [INSTANCE_BOOTING] = DILOS__INSTANCE_STATE__INSTANCE_STARTING,
        [INSTANCE_RUNNING] = DILOS__INSTANCE_STATE__INSTANCE_RUNNING,
        [INSTANCE_STOPPING] = DILOS__INSTANCE_STATE__INSTANCE_STOPPING,
        [INSTANCE_ENDING] = DILOS__INSTANCE_STATE__INSTANCE_STOPPING,
    };
    ret->instance_id = instance->start->instance_id;
    if (instance->state != INSTANCE_ENDED) {
        ret->state = states[instance->state];
        return;
    }
    CHECK(instance->exit_kind != NULL);
    ret->state = state_of_end(instance->exit_kind);
    ret->exit_kind = (char *)(uintptr_t)instance->exit_kind;
    ret->exit_code = instance->exit_code;
    ret->reason = (char *)(uintptr_t)instance->reason;
}

uint32_t instance_syscalls(const struct instance *instance, char ret[][INSTANCE_SYSCALL_BYTES])
{
    memcpy(ret, instance->syscalls, instance->syscall_count * sizeof(instance->syscalls[0]));
    return instance->syscall_count;
}

void instance_set_data(struct instance *instance, void *data)
{
    instance->data = data;
}

void *instance_data(const struct instance *instance)
{
    return instance->data;
}
