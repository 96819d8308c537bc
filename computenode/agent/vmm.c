/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "computenode/agent/elf_deps.h"
#include "lib/sys/sys.h"
#include "lib/wire/bootspec.h"

#define ARGUMENTS_MAX 64u
#define TEXT_BYTES    (3 * VMM_PATH_BYTES)
#define PROBE_MEMORY  (64 * MIB)
#define PROBE_OK      "dilos: probe ok"
#define EXEC_FAILED   127

/* A command line in the making; texts are its own. */
struct command {
    uint32_t count;
    char *arguments[ARGUMENTS_MAX + 1];
};

static void add(struct command *command, const char *format, ...) PRINTF_LIKE(2, 3);

static void add(struct command *command, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (command->count < ARGUMENTS_MAX) {
        command->arguments[command->count++] = strdup(text);
    }
}

static void add_pair(struct command *command, const char *option, const char *value)
{
    add(command, "%s", option);
    add(command, "%s", value);
}

static void command_fini(struct command *command)
{
    for (uint32_t i = 0; i < command->count; i++) {
        free(command->arguments[i]);
    }
}

static bool command_is_whole(const struct command *command)
{
    for (uint32_t i = 0; i < command->count; i++) {
        if (command->arguments[i] == NULL) {
            return false;
        }
    }
    return command->count < ARGUMENTS_MAX;
}

static void add_machine(struct command *command, const struct vmm_config *config)
{
    unsigned long long mib = config->memory_bytes / MIB;
    add_pair(command, "-M", "microvm,acpi=off,memory-backend=mem");
    add_pair(command, "-accel", config->kvm ? "kvm" : "tcg");
    /* Emulated "rep movsb" is eight times slower than a loop: the guest must not choose it. */
    add_pair(command, "-cpu", config->kvm ? "host" : "max,-erms,-fsrm");
    add(command, "-smp");
    add(command, "%u", MAX(config->vcpus, 1u));
    add(command, "-m");
    add(command, "%lluM", mib);
    add(command, "-object");
    add(command, "memory-backend-memfd,id=mem,size=%lluM,share=on", mib);
    add(command, "-nodefaults");
    add(command, "-no-user-config");
    add(command, "-nographic");
    add(command, "-no-reboot");
    add_pair(command, "-global", "virtio-mmio.force-legacy=false");
    add_pair(command, "-device", "isa-debug-exit,iobase=0xf4,iosize=4");
    add_pair(command, "-kernel", config->kernel);
    add_pair(command, "-initrd", "spec"); /* in its working folder, as all that follows */
    add_pair(command, "-serial", "file:serial");
}

static void add_devices(struct command *command, const struct vmm_config *config)
{
    if (config->devices) {
        add_pair(command, "-chardev", "socket,id=far,path=far");
        add(command, "-device");
        add(command, "vhost-user-blk,chardev=far,num-queues=%u",
            MAX(config->vcpus, 1u) * VMM_QUEUES_PER_VCPU);
    }
    if (config->image != NULL) {
        /* A comma in a value is doubled; the state folder's path may hold one. */
        add(command, "-drive");
        char text[TEXT_BYTES] = "if=none,id=root,format=raw,readonly=on,file=";
        size_t at = strlen(text);
        for (const char *c = config->image; *c != '\0' && at + 3 < sizeof(text); c++) {
            text[at++] = *c;
            if (*c == ',') {
                text[at++] = ',';
            }
        }
        text[at] = '\0';
        add(command, "%s", text);
        add_pair(command, "-device", "virtio-blk-device,drive=root,serial=root");
    }
    if (config->devices) {
        add_pair(command, "-chardev", "socket,id=ctl,path=ctl");
        add_pair(command, "-device", "virtio-serial-device,max_ports=2");
        add_pair(command, "-device", "virtserialport,chardev=ctl,nr=1");
    }
}

/* In the child: nothing but what is safe after fork(2). */
static void child(const struct vmm_config *config, struct command *command, int log_fd,
                  pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int null_fd = open("/dev/null", O_RDONLY);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || chdir(config->folder) < 0 ||
        dup2(null_fd, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0) {
        _exit(EXEC_FAILED);
    }
    (void)setpgid(0, 0); /* a Ctrl-C at the agent's terminal is the agent's to handle */
    (void)execv(command->arguments[0], command->arguments);
    _exit(EXEC_FAILED);
}

static int spawn(const struct vmm_config *config, struct command *command, pid_t *ret_pid,
                 int *ret_pidfd)
{
    char path[TEXT_BYTES];
    (void)snprintf(path, sizeof(path), "%s/qemu.log", config->folder);
    CLEANUP(sys_close)
    int log_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0) {
        return -errno;
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        return -errno;
    }
    if (pid == 0) {
        child(config, command, log_fd, parent);
    }
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        int r = -errno;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return r;
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    return 0;
}

int vmm_start(const struct vmm_config *config, pid_t *ret_pid, int *ret_pidfd)
{
    struct command command = {.count = 0};
    if (access(config->qemu, X_OK) < 0) {
        return -ENOENT;
    }
    add(&command, "%s", config->qemu);
    add_machine(&command, config);
    add_devices(&command, config);
    int r = command_is_whole(&command) ? spawn(config, &command, ret_pid, ret_pidfd) : -ENOMEM;
    command_fini(&command);
    return r;
}

int vmm_find(const char *wanted, char ret_path[VMM_PATH_BYTES])
{
    const char *name = wanted == NULL ? "qemu-system-x86_64" : wanted;
    int r = elf_deps_find_program(name, getenv("PATH"), ret_path);
    return r == 0 && access(ret_path, X_OK) == 0 ? 0 : -ENOENT;
}

void vmm_tail(const char *path, char *to, uint32_t capacity)
{
    to[0] = '\0';
    CLEANUP(sys_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) < 0) {
        return;
    }
    off_t from = info.st_size > (off_t)capacity - 1 ? info.st_size - (off_t)capacity + 1 : 0;
    ssize_t n = pread(fd, to, capacity - 1, from);
    n = n < 0 ? 0 : n;
    while (n > 0 && (to[n - 1] == '\n' || to[n - 1] == '\r')) {
        n--;
    }
    to[n] = '\0';
    for (ssize_t i = 0; i < n; i++) {
        bool plain = to[i] == '\n' || ((unsigned char)to[i] >= ' ' && to[i] != 0x7f);
        to[i] = plain ? to[i] : '?';
    }
}

static int write_probe_spec(const char *folder)
{
    struct bootspec *spec = calloc(1, sizeof(*spec));
    uint8_t data[512];
    size_t length;
    char path[TEXT_BYTES];
    if (spec == NULL) {
        return -ENOMEM;
    }
    spec->mode = BOOTSPEC_PROBE;
    int r = bootspec_encode(spec, data, sizeof(data), &length);
    free(spec);
    (void)snprintf(path, sizeof(path), "%s/spec", folder);
    return r < 0 ? r : sys_write_file(path, data, length);
}

static bool probe_boot(const struct vmm_config *config, uint32_t limit_ms, char *ret_reason)
{
    char path[TEXT_BYTES];
    char said[512];
    pid_t pid;
    int pidfd;
    (void)snprintf(path, sizeof(path), "%s/serial", config->folder);
    (void)unlink(path); /* what an earlier boot said */
    int r = vmm_start(config, &pid, &pidfd);
    if (r < 0) {
        (void)snprintf(ret_reason, VMM_REASON_BYTES, "QEMU can't be started: %s", strerror(-r));
        return false;
    }
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    bool ended = poll(&end, 1, (int)limit_ms) > 0;
    if (!ended) {
        (void)kill(pid, SIGKILL);
    }
    (void)waitpid(pid, NULL, 0);
    (void)close(pidfd);
    vmm_tail(path, said, sizeof(said));
    if (ended && strstr(said, PROBE_OK) != NULL) {
        return true;
    }
    (void)snprintf(path, sizeof(path), "%s/qemu.log", config->folder);
    vmm_tail(path, said, sizeof(said));
    if (ended) {
        (void)snprintf(ret_reason, VMM_REASON_BYTES, "a test boot failed: %.180s", said);
    } else {
        (void)snprintf(ret_reason, VMM_REASON_BYTES, "a test boot did not end within %u ms",
                       limit_ms);
    }
    return false;
}

bool vmm_boots(const char *qemu, const char *kernel, const char *folder, bool kvm,
               uint32_t limit_ms, char *ret_reason)
{
    int r = sys_make_folders(folder);
    r = r < 0 ? r : write_probe_spec(folder);
    if (r < 0) {
        (void)snprintf(ret_reason, VMM_REASON_BYTES, "%.180s: %s", folder, strerror(-r));
        return false;
    }
    struct vmm_config config = {
        .qemu = qemu, .kernel = kernel, .folder = folder, .kvm = kvm, .memory_bytes = PROBE_MEMORY};
    return probe_boot(&config, limit_ms, ret_reason);
}

bool vmm_kvm_works(const char *qemu, const char *kernel, const char *folder, char *ret_reason)
{
    CLEANUP(sys_close) int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        (void)snprintf(ret_reason, VMM_REASON_BYTES, "/dev/kvm: %s", strerror(errno));
        return false;
    }
    return vmm_boots(qemu, kernel, folder, true, VMM_PROBE_MS, ret_reason);
}
