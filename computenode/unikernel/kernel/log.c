/* SPDX-License-Identifier: Apache-2.0 */
/* klog(), panic() and CHECK's failure (port.h, lib/base/check.h). */
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/arch/x86_64/power.h"
#include "computenode/unikernel/arch/x86_64/serial.h"
#include "computenode/unikernel/kernel/backtrace.h"
#include "computenode/unikernel/kernel/control.h"
#include "computenode/unikernel/kernel/format.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/thread.h"
#include "lib/base/check.h"

#define LINE_BYTES_MAX  512u
#define PANIC_BYTES_MAX 4096u

void klog(int level, const char *format, ...)
{
    char line[LINE_BYTES_MAX];
    va_list args;
    va_start(args, format);
    int length = kvsnprintf(line, sizeof(line), format, args);
    va_end(args);
    control_log(level, line, MIN((size_t)length, sizeof(line) - 1));
}

/* One processor speaks; a panic inside its panic says so on the serial port and goes. */
void panic(const char *format, ...)
{
    static char text[PANIC_BYTES_MAX];
    static _Atomic uint32_t speaker; /* processor + 1 */
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong(&speaker, &nobody, cpu_index() + 1)) {
        if (nobody != cpu_index() + 1) {
            thread_stop_here();
        }
        static const char again[] = "dilos: panic inside panic\n";
        serial_write(again, sizeof(again) - 1);
        power_off(CTL_PANIC);
    }
    va_list args;
    va_start(args, format);
    int length = kvsnprintf(text, sizeof(text) - 1, format, args);
    va_end(args);
    size_t at = MIN((size_t)length, sizeof(text) - 2);
    text[at++] = '\n';
    (void)backtrace_format(text + at, sizeof(text) - at);
    machine_exit(CTL_PANIC, 0, text);
}

void check_failed(const char *condition, const char *file, int line)
{
    panic("%s:%d: check failed: %s", file, line, condition);
}
