/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/list.h"

#include "tests/tap.h"

struct item {
    int value;
    struct list link;
};

static void test_order_and_removal_while_walking(void)
{
    struct list head;
    struct item items[5];
    list_init(&head);
    EXPECT(list_first(&head) == NULL);
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_append(&head, &items[i].link);
    }
    int expected = 0;
    list_for_each_safe (node, &head) {
        struct item *item = list_entry(node, struct item, link);
        EXPECT_EQ(item->value, expected++);
        if (item->value % 2 == 0) {
            list_remove(node);
        }
    }
    EXPECT_EQ(expected, 5);
    EXPECT_EQ(list_entry(list_first(&head), struct item, link)->value, 1);
    list_remove(&items[0].link); /* unlinked already: nothing happens */
    list_prepend(&head, &items[4].link);
    EXPECT_EQ(list_entry(list_first(&head), struct item, link)->value, 4);
}

int main(void)
{
    TAP_RUN(test_order_and_removal_while_walking);
    return tap_done();
}
