/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/poll_budget.h"
#include "tests/tap.h"

#define MIN_NS UINT64_C(50000)
#define MAX_NS (MIN_NS * 20)

static void test_grows(void)
{
    struct poll_budget budget;
    poll_budget_init(&budget, MIN_NS, MAX_NS, MAX_NS);
    EXPECT_EQ(budget.ns, MIN_NS);
    poll_budget_waited(&budget, 1);
    EXPECT_EQ(budget.ns, 2 * MIN_NS);
    for (int i = 0; i < 100; i++) {
        uint64_t before_ns = budget.ns;
        poll_budget_waited(&budget, MAX_NS - 1);
        EXPECT(budget.ns >= before_ns);
    }
    EXPECT_EQ(budget.ns, MAX_NS);
}

static void test_shrinks(void)
{
    struct poll_budget budget;
    poll_budget_init(&budget, MIN_NS, MAX_NS, MAX_NS);
    poll_budget_waited(&budget, MAX_NS);
    EXPECT_EQ(budget.ns, MIN_NS);
    for (int i = 0; i < 10; i++) {
        poll_budget_waited(&budget, 0);
    }
    poll_budget_waited(&budget, MAX_NS);
    EXPECT_EQ(budget.ns, MAX_NS / 2);
    for (int i = 0; i < 4; i++) {
        EXPECT(budget.ns > MIN_NS);
        poll_budget_waited(&budget, UINT64_MAX);
    }
    EXPECT_EQ(budget.ns, MIN_NS);
}

int main(void)
{
    TAP_RUN(test_grows);
    TAP_RUN(test_shrinks);
    return tap_done();
}
