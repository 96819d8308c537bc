/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "computenode/agent/elf_deps.h"
#include "computenode/agent/far_delay.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define OPTION_COUNT 13u
#define MEMORY_MIN   (512 * MIB)

static const char examples[] =
    "  dilos-agent --name a1 --controller 10.0.0.1:7400\n"
    "  dilos-agent --name a2 --state /tmp/a2 --accel tcg --fabric only=tcp\n"
    "  dilos-agent --check\n";

/* The table lives as long as the program; there is one set of options in it. */
static const struct config_option *table(struct options *o)
{
    static struct config_option options[OPTION_COUNT];
    const struct config_option rows[OPTION_COUNT] = {
        {"name", CONFIG_TEXT, &o->name, "NAME", "Name in the pool; default: the host's name."},
        {"controller", CONFIG_TEXT, &o->controller, "ADDRESS",
         "The controller, HOST:PORT or unix:/PATH; default 127.0.0.1:7400."},
        {"state", CONFIG_TEXT, &o->state, "FOLDER",
         "Where images, logs and the agent's identity are; default /var/lib/dilos/agent."},
        {"kernel", CONFIG_TEXT, &o->kernel, "PATH",
         "The unikernel, dilos.elf; default: beside this program, or in its build."},
        {"qemu", CONFIG_TEXT, &o->qemu, "PATH", "QEMU; default: qemu-system-x86_64 from PATH."},
        {"host", CONFIG_TEXT, &o->host, "NAME",
         "Failure domain that this agent is in; default: the host's name."},
        {"label", CONFIG_LIST, &o->labels, "KEY=VALUE", "Further failure domains, e.g. rack=r1."},
        {"accel", CONFIG_TEXT, &o->accel, "NAME",
         "auto (KVM if it works, else TCG), kvm or tcg; default auto."},
        {"fabric", CONFIG_TEXT, &o->fabric, "only=NAME",
         "Reach memory nodes by shm, tcp or verbs only; default: the best that works."},
        {"image-cache", CONFIG_SIZE, &o->image_cache_bytes, "SIZE",
         "Root images of earlier launches are kept up to this size; default 4G."},
        {"allow-foreign-guests", CONFIG_FLAG, &o->foreign_guests, NULL,
         "Serve far memory to VMMs that others start here too (dilosctl launch --device-only)."},
        {"far-delay", CONFIG_NUMBER, &o->far_delay_us, "MICROSECONDS",
         "For experiments: answers from far memory are held so long; up to 100000, default 0."},
        {"check", CONFIG_FLAG, &o->check, NULL,
         "Say what this machine has and lacks for these settings, then exit."},
    };
    memcpy(options, rows, sizeof(options));
    return options;
}

static int wrong(const char *what, const char *value)
{
    (void)fprintf(stderr, "dilos-agent: %s \"%s\"\n", what, value);
    return -EINVAL;
}

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int check_fabric(struct options *o)
{
    static const char *const fabrics[] = {"shm", "tcp", "verbs"};
    if (o->fabric == NULL) {
        return 0;
    }
    if (strncmp(o->fabric, "only=", 5) != 0 ||
        !is_one_of(o->fabric + 5, fabrics, ARRAY_LEN(fabrics))) {
        return wrong("--fabric has to be only=shm, only=tcp or only=verbs, not", o->fabric);
    }
    o->fabric_only = o->fabric + 5;
    return 0;
}

static int check(struct options *o)
{
    static const char *const accelerators[] = {"auto", "kvm", "tcg"};
    if (!text_is_name(o->name)) {
        return wrong("--name has to be [a-z0-9][a-z0-9-]*, at most 63 characters, not", o->name);
    }
    if (o->host[0] == '\0') {
        return wrong("--host has to be a name, not", o->host);
    }
    if (!is_one_of(o->accel, accelerators, ARRAY_LEN(accelerators))) {
        return wrong("--accel has to be auto, kvm or tcg, not", o->accel);
    }
    for (uint32_t i = 0; i < o->labels.count; i++) {
        const char *equals = strchr(o->labels.items[i], '=');
        if (equals == NULL || equals == o->labels.items[i] || equals[1] == '\0' ||
            equals - o->labels.items[i] > 128) {
            return wrong("--label has to be KEY=VALUE, not", o->labels.items[i]);
        }
    }
    if (o->far_delay_us > FAR_DELAY_US_MAX) {
        (void)fprintf(stderr, "dilos-agent: --far-delay has to be at most %llu microseconds\n",
                      (unsigned long long)FAR_DELAY_US_MAX);
        return -EINVAL;
    }
    return check_fabric(o);
}

static int absolute(const char *path, char *to, const char *what)
{
    char folder[VMM_PATH_BYTES] = "";
    if (path[0] != '/') {
        if (getcwd(folder, sizeof(folder) - 1) == NULL) {
            return wrong("the current folder has no path; give an absolute one instead of", path);
        }
        strcat(folder, "/");
    }
    int length = snprintf(to, VMM_PATH_BYTES, "%s%s", folder, path);
    return length < 0 || (unsigned)length >= VMM_PATH_BYTES ? wrong(what, path) : 0;
}

/* Beside the program, as installed; or where the build puts it. */
static void find_kernel(struct options *o)
{
    static const char *const places[] = {"dilos.elf", "../unikernel/dilos.elf",
                                         "../lib/dilos/dilos.elf"};
    char program[VMM_PATH_BYTES];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash == NULL) {
        return;
    }
    *slash = '\0';
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        char path[2 * VMM_PATH_BYTES];
        (void)snprintf(path, sizeof(path), "%s/%s", program, places[i]);
        if (strlen(path) < sizeof(o->kernel_path) && access(path, R_OK) == 0) {
            (void)strcpy(o->kernel_path, path);
            return;
        }
    }
}

static int resolve(struct options *o)
{
    int r = absolute(o->state, o->state_path, "too long is the path");
    o->state = o->state_path;
    if (r == 0 && o->kernel != NULL) {
        r = absolute(o->kernel, o->kernel_path, "too long is the path");
        if (r == 0 && access(o->kernel_path, R_OK) < 0) {
            o->kernel_path[0] = '\0';
        }
    } else if (r == 0) {
        find_kernel(o);
    }
    if (vmm_find(o->qemu, o->qemu_path) < 0) {
        o->qemu_path[0] = '\0';
    }
    return r;
}

int options_load(struct options *options, int argc, char **argv)
{
    *options = (struct options){.controller = "127.0.0.1:7400",
                                .state = "/var/lib/dilos/agent",
                                .accel = "auto",
                                .image_cache_bytes = 4 * GIB};
    sys_host_name(options->name_default, "agent");
    options->name = options->name_default;
    options->host = options->name_default;
    options->config = (struct config){
        .program = "dilos-agent",
        .summary = "Runs DiLOS unikernels on this machine on memory from a pool.",
        .examples = examples,
        .options = table(options),
        .option_count = OPTION_COUNT,
    };
    int answered = config_load(&options->config, "/etc/dilos/agent.conf", argc, argv);
    if (answered != 0) {
        return answered;
    }
    int error = check(options);
    error = error == 0 ? resolve(options) : error;
    if (error != 0) {
        options_fini(options);
    }
    return error;
}

void options_fini(struct options *options)
{
    config_fini(&options->config);
}

static bool say(bool good, const char *what, const char *detail, const char *remedy)
{
    (void)printf("%-8s %-10s %s%s%s\n", good ? "ok" : "missing", what, detail,
                 good || remedy[0] == '\0' ? "" : "; fix: ", good ? "" : remedy);
    return good;
}

bool options_check_machine(const struct options *options)
{
    char path[ELF_DEPS_PATH_BYTES];
    char reason[VMM_REASON_BYTES] = "";
    char folder[VMM_PATH_BYTES + 8];
    char size[16];
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    bool has_qemu = options->qemu_path[0] != '\0';
    bool has_kernel = options->kernel_path[0] != '\0';
    bool good = say(has_qemu, "qemu", has_qemu ? options->qemu_path : "qemu-system-x86_64",
                    "apt-get install qemu-system-x86");
    good &= say(has_kernel, "kernel", has_kernel ? options->kernel_path : "dilos.elf",
                "build it (ninja) or give --kernel PATH");
    bool has_mkfs = elf_deps_find_program("mkfs.erofs", getenv("PATH"), path) == 0;
    good &= say(has_mkfs, "mkfs.erofs", has_mkfs ? path : "makes root images",
                "apt-get install erofs-utils");
    good &= say(memory >= MEMORY_MIN, "memory", text_format_size(memory, size),
                "instances need their local memory here");
    (void)snprintf(folder, sizeof(folder), "%s/probe", options->state);
    bool kvm = has_qemu && has_kernel && strcmp(options->accel, "tcg") != 0 &&
               vmm_kvm_works(options->qemu_path, options->kernel_path, folder, reason);
    if (kvm || strcmp(options->accel, "kvm") == 0) {
        good &= say(kvm, "kvm", kvm ? "a test boot worked" : reason, "use --accel tcg or auto");
    } else {
        (void)printf("%-8s %-10s %s\n", "ok", "tcg",
                     reason[0] == '\0' ? "emulation" : "emulation, since KVM does not work:");
        if (reason[0] != '\0') {
            (void)printf("%-8s %-10s %s\n", "", "", reason);
        }
    }
    return good;
}
