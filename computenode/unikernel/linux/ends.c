/* SPDX-License-Identifier: Apache-2.0 */
/* How a program ends: by itself, by a signal, or because a page of it is lost. */
#include <errno.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/process.h"

#define REASON_BYTES 512

static const char *const signal_names[] = {
    "signal 0",  "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
    "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
    "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
    "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS",
};

const char *signal_name(int signal)
{
    if (signal >= 0 && (size_t)signal < ARRAY_LEN(signal_names)) {
        return signal_names[signal];
    }
    return "a real-time signal";
}

NORETURN void process_kill(int signal, const char *reason)
{
    machine_exit(CTL_SIGNALED, signal, reason);
}

NORETURN void process_exit(int status)
{
    machine_exit(CTL_EXITED, status & 0xff, "");
}

NORETURN void process_stop_memory(int failure, const char *where)
{
    char reason[REASON_BYTES];
    switch (failure) {
    case -ENOSPC:
        (void)ksnprintf(reason, sizeof(reason),
                        "far memory is used up, %s; give the instance more (--far-memory) or the "
                        "pool more memory nodes",
                        where);
        machine_exit(CTL_NO_MEMORY, 0, reason);
    case -ENOMEM:
        (void)ksnprintf(reason, sizeof(reason),
                        "no frame of local memory can be freed, %s; give the instance more local "
                        "memory (--local-memory) or far memory (--far-memory)",
                        where);
        machine_exit(CTL_NO_MEMORY, 0, reason);
    default:
        (void)ksnprintf(reason, sizeof(reason),
                        "a page can't be read back from far memory or the root image, %s; see the "
                        "health of its memory nodes (dilosctl status)",
                        where);
        machine_exit(CTL_FAR_LOST, 0, reason);
    }
}
