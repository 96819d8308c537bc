/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/prefetch.h"

#include "computenode/unikernel/far/fetch.h"
#include "computenode/unikernel/far/internal.h"
#include "computenode/unikernel/far/page_table.h"

static void none_reset(void)
{
}

static uint32_t none_observe(uint64_t va, uint64_t *ret_va)
{
    return 0;
}

const struct prefetcher prefetch_none = {"none", none_reset, none_observe};

static const struct prefetcher *const prefetchers[] = {&prefetch_none, &prefetch_readahead};

const struct prefetcher *prefetch_find(const char *name, uint32_t length)
{
    for (uint32_t i = 0; i < ARRAY_LEN(prefetchers); i++) {
        const char *n = prefetchers[i]->name;
        uint32_t at = 0;
        while (at < length && n[at] != '\0' && n[at] == name[at]) {
            at++;
        }
        if (at == length && n[at] == '\0') {
            return prefetchers[i];
        }
    }
    return NULL;
}

void prefetch_observe(uint64_t va)
{
    uint64_t wanted[PREFETCH_MAX];
    uint32_t count = pager.prefetcher->observe(va, wanted);
    for (uint32_t i = 0; i < count; i++) {
        if (!va_is_user(wanted[i]) && !va_is_window(wanted[i])) {
            continue;
        }
        pte_t *pte = pt_find(wanted[i]);
        if (pte != NULL) {
            (void)fetch_ahead(pte, wanted[i]);
        }
    }
    io_kick();
}
