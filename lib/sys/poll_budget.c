/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/poll_budget.h"

#include "lib/base/compiler.h"

void poll_budget_init(struct poll_budget *budget, uint64_t min_ns, uint64_t max_ns,
                      uint64_t short_ns)
{
    *budget = (struct poll_budget){
        .ns = min_ns, .min_ns = min_ns, .max_ns = max_ns, .short_ns = short_ns};
}

void poll_budget_waited(struct poll_budget *budget, uint64_t waited_ns)
{
    if (waited_ns < budget->short_ns) {
        budget->ns = MIN(budget->ns * 2, budget->max_ns);
    } else {
        budget->ns = MAX(budget->ns / 2, budget->min_ns);
    }
}
