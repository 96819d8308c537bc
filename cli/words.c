/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/words.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/check.h"
#include "lib/base/compiler.h"

static const char *word(const char *const *words, size_t count, int value)
{
    if (value < 0 || (size_t)value >= count || words[value] == NULL) {
        return "unknown";
    }
    return words[value];
}

const char *words_node_state(Dilos__NodeState state)
{
    static const char *const words[] = {
        [DILOS__NODE_STATE__NODE_JOINING] = "joining",
        [DILOS__NODE_STATE__NODE_UP] = "up",
        [DILOS__NODE_STATE__NODE_SUSPECT] = "suspect",
        [DILOS__NODE_STATE__NODE_DOWN] = "down",
        [DILOS__NODE_STATE__NODE_DRAINING] = "draining",
        [DILOS__NODE_STATE__NODE_DRAINED] = "drained",
        [DILOS__NODE_STATE__NODE_GONE] = "gone",
    };
    return word(words, ARRAY_LEN(words), (int)state);
}

const char *words_slab_state(Dilos__SlabState state)
{
    static const char *const words[] = {
        [DILOS__SLAB_STATE__SLAB_FREE] = "free",
        [DILOS__SLAB_STATE__SLAB_RESERVED] = "reserved",
        [DILOS__SLAB_STATE__SLAB_GRANTED] = "granted",
        [DILOS__SLAB_STATE__SLAB_MIGRATING] = "migrating",
        [DILOS__SLAB_STATE__SLAB_REVOKING] = "revoking",
        [DILOS__SLAB_STATE__SLAB_SCRUBBING] = "scrubbing",
        [DILOS__SLAB_STATE__SLAB_LOST] = "lost",
    };
    return word(words, ARRAY_LEN(words), (int)state);
}

const char *words_instance_state(Dilos__InstanceState state)
{
    static const char *const words[] = {
        [DILOS__INSTANCE_STATE__INSTANCE_PENDING] = "pending",
        [DILOS__INSTANCE_STATE__INSTANCE_PLACING] = "placing",
        [DILOS__INSTANCE_STATE__INSTANCE_STARTING] = "starting",
        [DILOS__INSTANCE_STATE__INSTANCE_RUNNING] = "running",
        [DILOS__INSTANCE_STATE__INSTANCE_STOPPING] = "stopping",
        [DILOS__INSTANCE_STATE__INSTANCE_EXITED] = "exited",
        [DILOS__INSTANCE_STATE__INSTANCE_FAILED] = "failed",
    };
    return word(words, ARRAY_LEN(words), (int)state);
}

char *words_duration(uint64_t duration_ms, char *to)
{
    uint64_t s = duration_ms / 1000;
    if (duration_ms < 1000) {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 " ms", duration_ms);
    } else if (s < 60) {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 ".%" PRIu64 " s", s, duration_ms % 1000 / 100);
    } else if (s < 3600) {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
    } else {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s % 86400 / 3600);
    }
    return to;
}

char *words_latency(uint64_t latency_ns, char *to)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    uint32_t unit = 0;
    uint64_t tenths = latency_ns * 10;
    while (tenths >= 10000 && unit + 1 < ARRAY_LEN(units)) {
        tenths /= 1000;
        unit++;
    }
    if (unit == 0) {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 " ns", latency_ns);
    } else {
        snprintf(to, WORDS_TIME_BYTES, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10,
                 units[unit]);
    }
    return to;
}

char *words_time(uint64_t time_ns, char *to)
{
    time_t seconds = (time_t)(time_ns / 1000000000u);
    struct tm parts;
    if (time_ns == 0 || localtime_r(&seconds, &parts) == NULL ||
        strftime(to, WORDS_TIME_BYTES, "%Y-%m-%d %H:%M:%S", &parts) == 0) {
        strcpy(to, "-");
    }
    return to;
}

static bool needs_quotes(const char *argument)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_./=:,@%+";
    return argument[0] == '\0' || argument[strspn(argument, plain)] != '\0';
}

char *words_command(char *const *arguments, size_t argument_count, char *to, size_t capacity)
{
    CHECK(capacity >= 4);
    size_t used = 0;
    bool cut = false;
    to[0] = '\0';
    for (size_t i = 0; i < argument_count && !cut; i++) {
        const char *format = needs_quotes(arguments[i]) ? "%s'%s'" : "%s%s";
        int length = snprintf(to + used, capacity - used, format, i == 0 ? "" : " ", arguments[i]);
        cut = length < 0 || (size_t)length >= capacity - used;
        used = cut ? capacity - 1 : used + (size_t)length;
    }
    if (cut) {
        memcpy(to + capacity - 4, "...", 4);
    }
    return to;
}
