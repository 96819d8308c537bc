/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/far_delay.h"

void far_delay_init(struct far_delay *delay, uint64_t ns)
{
    list_init(&delay->held);
    delay->ns = ns;
}

void far_delay_put(struct far_delay *delay, struct far_request *request, uint64_t now_ns)
{
    request->answer_ns = now_ns + delay->ns;
    list_append(&delay->held, &request->link);
}

struct far_request *far_delay_take(struct far_delay *delay, uint64_t now_ns)
{
    if (list_empty(&delay->held)) {
        return NULL;
    }
    struct far_request *request = list_entry(list_first(&delay->held), struct far_request, link);
    if (request->answer_ns > now_ns) {
        return NULL;
    }
    list_remove(&request->link);
    return request;
}
