/* SPDX-License-Identifier: Apache-2.0 */
/* uname(2), sysinfo(2), limits. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/linux/call.h"
#include "computenode/unikernel/linux/system.h"

int64_t sys_uname(const struct call *c)
{
    struct lx_utsname u = {0};
    struct bootspec_string host = boot_spec()->hostname;
    size_t length = MIN(host.length, sizeof(u.nodename) - 1);
    (void)ksnprintf(u.sysname, sizeof(u.sysname), "Linux");
    (void)ksnprintf(u.nodename, sizeof(u.nodename), "dilos");
    if (length > 0) {
        memcpy(u.nodename, host.data, length);
        u.nodename[length] = 0;
    }
    (void)ksnprintf(u.release, sizeof(u.release), "%s", SYSTEM_RELEASE);
    (void)ksnprintf(u.version, sizeof(u.version), "%s", SYSTEM_VERSION);
    (void)ksnprintf(u.machine, sizeof(u.machine), "x86_64");
    (void)ksnprintf(u.domainname, sizeof(u.domainname), "(none)");
    return copy_to_user(c->arg[0], &u, sizeof(u));
}

void system_memory(struct system_memory *ret)
{
    struct gueststats sum;
    const struct gueststats *stats = &sum;
    machine_stats_read(&sum);
    ret->local_bytes = stats->frames_total * PAGE_BYTES;
    ret->local_free_bytes = stats->frames_free * PAGE_BYTES;
    ret->far_bytes = mm_far_bytes();
    ret->far_used_bytes = MIN(stats->pages_remote * PAGE_BYTES, ret->far_bytes);
}

/* Far memory is memory: a program that sizes itself by RAM should see all of it. */
int64_t sys_sysinfo(const struct call *c)
{
    struct system_memory m;
    system_memory(&m);
    struct lx_sysinfo info = {
        .uptime = (int64_t)(clock_ns() / 1000000000u),
        .totalram = m.local_bytes + m.far_bytes,
        .freeram = m.local_free_bytes + m.far_bytes - m.far_used_bytes,
        .sharedram = content_used_pages() * PAGE_BYTES,
        .procs = 1,
        .mem_unit = 1,
    };
    return copy_to_user(c->arg[0], &info, sizeof(info));
}

static int64_t limit_get(const struct call *c, uint64_t resource, uint64_t user)
{
    if (resource >= LX_RLIMIT_COUNT) {
        return -EINVAL;
    }
    return copy_to_user(user, &c->p->limits[resource], sizeof(struct lx_rlimit));
}

static int64_t limit_set(const struct call *c, uint64_t resource, const struct lx_rlimit *limit)
{
    if (resource >= LX_RLIMIT_COUNT || limit->soft > limit->hard) {
        return -EINVAL;
    }
    if (limit->hard > c->p->limits[resource].hard &&
        (c->p->uid != 0 || resource == LX_RLIMIT_NOFILE)) {
        return -EPERM;
    }
    c->p->limits[resource] = *limit;
    return 0;
}

int64_t sys_getrlimit(const struct call *c)
{
    return limit_get(c, (uint32_t)c->arg[0], c->arg[1]);
}

int64_t sys_setrlimit(const struct call *c)
{
    struct lx_rlimit limit;
    if (copy_from_user(&limit, c->arg[1], sizeof(limit)) != 0) {
        return -EFAULT;
    }
    return limit_set(c, (uint32_t)c->arg[0], &limit);
}

int64_t sys_prlimit64(const struct call *c)
{
    struct lx_rlimit limit;
    uint64_t resource = (uint32_t)c->arg[1];
    if ((uint32_t)c->arg[0] != 0 && (uint32_t)c->arg[0] != c->p->pid) {
        return -ESRCH;
    }
    if (resource >= LX_RLIMIT_COUNT) {
        return -EINVAL;
    }
    if (c->arg[2] != 0 && copy_from_user(&limit, c->arg[2], sizeof(limit)) != 0) {
        return -EFAULT;
    }
    int64_t rc = c->arg[3] != 0 ? limit_get(c, resource, c->arg[3]) : 0;
    return rc == 0 && c->arg[2] != 0 ? limit_set(c, resource, &limit) : rc;
}
