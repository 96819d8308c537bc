/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/pager.h"

#include <errno.h>

#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/io.h"
#include "computenode/unikernel/far/page_table.h"
#include "computenode/unikernel/far/prefetch.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"
#include "lib/wire/ctl.h"

#define FAR_SECTORS ((1ull << 48) / BLKQ_SECTOR_BYTES)

struct pager pager;

/* Counts what happens before pager_init() is given the real structure. */
static struct gueststats early_stats;

void pager_reset(void)
{
    early_stats = (struct gueststats){0};
    pager = (struct pager){.stats = &early_stats, .prefetcher = &prefetch_none};
    list_init(&pager.free);
    list_init(&pager.active);
    list_init(&pager.clean);
    io_init();
    writeback_init();
    mm_init(mm_current());
}

bool pager_prefetcher_exists(const char *name, uint32_t length)
{
    return prefetch_find(name, length) != NULL;
}

int pager_prefetcher_set(const char *name, uint32_t length)
{
    const struct prefetcher *p = prefetch_find(name, length);
    if (p == NULL) {
        return -EINVAL;
    }
    pager.prefetcher = p;
    p->reset();
    return 0;
}

/* Not yet: refused. */
int pager_resize(uint64_t local_bytes, uint64_t *ret_bytes)
{
    *ret_bytes = pager.local_bytes;
    return -ENOTSUP;
}

/* The caller has filled in the header; the counters so far are ours. */
static void stats_take_over(struct gueststats *stats)
{
    stats->frames_total = early_stats.frames_total;
    stats->frames_free = early_stats.frames_free;
    stats->frames_kernel = early_stats.frames_kernel;
    stats->pages_local = early_stats.pages_local;
    pager.stats = stats;
}

void pager_init(const struct pager_config *config)
{
    if (config->stats != NULL) {
        stats_take_over(config->stats);
    }
    pager.local_bytes = frame_count() * PAGE_BYTES;
    if (config->demand[0] != NULL && blkq_capacity(config->demand[0]) < FAR_SECTORS) {
        klog(CTL_LEVEL_ERROR,
             "far: the device has %llu sectors, but far addresses need %llu: not used",
             (unsigned long long)blkq_capacity(config->demand[0]), (unsigned long long)FAR_SECTORS);
    } else if (config->demand[0] != NULL) {
        pager.demand = config->demand[0];
        pager.background = config->background[0] != NULL ? config->background[0] : pager.demand;
        pager.far_bytes = config->far_bytes;
    }
    const struct prefetcher *p = &prefetch_none;
    if (config->prefetch_length > 0) {
        p = prefetch_find(config->prefetch, config->prefetch_length);
        if (p == NULL) {
            klog(CTL_LEVEL_WARNING, "far: no prefetcher named %.*s: none is used",
                 (int)config->prefetch_length, config->prefetch);
            p = &prefetch_none;
        }
    }
    pager.prefetcher = p;
    p->reset();
}

bool pager_idle(void)
{
    io_poll();
    return reclaim_slice();
}

void pager_quiesce(void)
{
    while (io_background_count() > 0) {
        io_wait_background();
    }
}
