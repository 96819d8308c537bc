/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/pager.h"

#include <errno.h>

#include "computenode/unikernel/far/discard.h"
#include "computenode/unikernel/far/frame_table.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/io.h"
#include "computenode/unikernel/far/prefetch.h"
#include "computenode/unikernel/far/reclaim.h"
#include "computenode/unikernel/far/space.h"
#include "computenode/unikernel/far/tlb_batch.h"
#include "computenode/unikernel/far/writeback.h"
#include "lib/base/check.h"
#include "lib/wire/ctl.h"

#define FAR_SECTORS ((1ull << 48) / BLKQ_SECTOR_BYTES)

struct pager pager;

/* Counts what happens before pager_init() is given the real structures. */
static struct gueststats early_stats;

void pager_reset(void)
{
    early_stats = (struct gueststats){0};
    __builtin_memset(&pager, 0, sizeof(pager));
    atomic_store(&pager.prefetcher, &prefetch_none);
    pager.direct = phys_to_virt((phys_addr_t){0});
    pager.root = (pte_t *)port_root_table();
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        pager.cpus[i].stats = &early_stats;
    }
    io_init();
    discard_init();
    tlb_batch_init();
    writeback_init();
    mm_init(mm_current());
}

uint64_t stats_sum(size_t offset)
{
    uint64_t sum = 0;
    if (pager.cpus[0].stats == &early_stats) {
        return *(const uint64_t *)(const void *)((const uint8_t *)&early_stats + offset);
    }
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        const uint8_t *block = (const uint8_t *)pager.cpus[i].stats;
        if (block != NULL) {
            sum +=
                __atomic_load_n((const uint64_t *)(const void *)(block + offset), __ATOMIC_RELAXED);
        }
    }
    return sum;
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
    atomic_store(&pager.prefetcher, p);
    return 0;
}

/* The caller has filled in the headers; the counters so far are those of processor 0. */
static void stats_take_over(struct gueststats *blocks)
{
    blocks->frames_total = early_stats.frames_total;
    blocks->frames_free = early_stats.frames_free;
    blocks->frames_kernel = early_stats.frames_kernel;
    blocks->pages_local = early_stats.pages_local;
    blocks->block_count = CPU_COUNT_MAX;
    blocks->sample = GUESTSTATS_SAMPLE;
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        pager.cpus[i].stats = &blocks[i];
    }
}

static void device_set(const struct pager_config *config)
{
    struct blkq *q = config->demand[0];
    if (q == NULL) {
        return;
    }
    if (blkq_capacity(q) < FAR_SECTORS) {
        klog(CTL_LEVEL_ERROR,
             "far: the device has %llu sectors, but far addresses need %llu: not used",
             (unsigned long long)blkq_capacity(q), (unsigned long long)FAR_SECTORS);
        return;
    }
    for (uint32_t i = 0; i < CPU_COUNT_MAX && config->demand[i] != NULL; i++) {
        if (io_add(i, config->demand[i], config->background[i]) < 0) {
            panic("no memory for the requests of the far device");
        }
    }
    pager.has_far = true;
    atomic_store(&pager.far_bytes, config->far_bytes);
}

void pager_init(const struct pager_config *config)
{
    if (config->stats != NULL) {
        stats_take_over(config->stats);
    }
    atomic_store(&pager.local_bytes, frame_limit() * PAGE_BYTES);
    pager.image_bytes = config->image_bytes;
    reclaim_share_out(); /* by now it is known how many processors run */
    device_set(config);
    if (config->prefetch_length > 0 &&
        pager_prefetcher_set(config->prefetch, config->prefetch_length) < 0) {
        klog(CTL_LEVEL_WARNING, "far: no prefetcher named %.*s: none is used",
             (int)config->prefetch_length, config->prefetch);
    }
}

bool pager_idle(void)
{
    (void)io_poll();
    return reclaim_more();
}

void pager_quiesce(void)
{
    struct io_wait wait = {0};
    while (io_background_count() > 0) {
        io_wait_step(&wait);
    }
}
