/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/poll_budget.h"

#include "lib/base/compiler.h"

void poll_budget_init(struct poll_budget *budget, uint64_t min_ns)
{
    *budget =
        (struct poll_budget){.ns = min_ns, .min_ns = min_ns, .max_ns = min_ns * POLL_BUDGET_GROWTH};
}

void poll_budget_slept(struct poll_budget *budget, uint64_t slept_ns)
{
    if (slept_ns < budget->max_ns) {
        budget->ns = MIN(budget->ns * 2, budget->max_ns);
    } else {
        budget->ns = MAX(budget->ns / 2, budget->min_ns);
    }
}
