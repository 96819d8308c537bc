/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/register.h"

#include <stdlib.h>
#include <string.h>

/* protobuf-c's strings are not const; they are only read. */
#define TEXT(text) ((char *)(uintptr_t)(text))

struct register_message {
    Dilos__NodeRegister body;
    Dilos__Endpoint endpoint;
    Dilos__Label labels[CONFIG_LIST_MAX];
    Dilos__Label *label_list[CONFIG_LIST_MAX];
    char *label_text[CONFIG_LIST_MAX]; /* "key\0value" */
    Dilos__Health machine[CHECK_ITEMS_MAX];
    Dilos__Health *machine_list[CHECK_ITEMS_MAX];
    struct grants_item *items; /* one a slab; held ones are pointed to */
    Dilos__HeldGrant *held;
    Dilos__HeldGrant **held_list;
};

static int fill_labels(struct register_message *message, const struct config_list *labels)
{
    for (uint32_t i = 0; i < labels->count; i++) {
        char *text = strdup(labels->items[i]);
        if (text == NULL) {
            return -1;
        }
        char *value = text + strcspn(text, "=");
        message->label_text[i] = text;
        dilos__label__init(&message->labels[i]);
        message->labels[i].key = text;
        message->labels[i].value = *value == '=' ? value + 1 : value;
        *value = '\0';
        message->label_list[i] = &message->labels[i];
    }
    message->body.n_labels = labels->count;
    message->body.labels = message->label_list;
    return 0;
}

static void fill_machine(struct register_message *message, const struct check_report *report)
{
    for (uint32_t i = 0; report != NULL && i < report->count; i++) {
        const struct check_item *item = &report->items[i];
        dilos__health__init(&message->machine[i]);
        message->machine[i].code = TEXT(item->thing);
        message->machine[i].detail = TEXT(item->detail);
        message->machine[i].remedy = TEXT(item->fix);
        message->machine_list[i] = &message->machine[i];
        message->body.n_machine = i + 1;
    }
    message->body.machine = message->machine_list;
}

static int fill_held(struct register_message *message, const struct node *node)
{
    uint32_t slab_count = arena_slab_count(node_arena(node));
    size_t held_count = 0;
    message->items = calloc(slab_count, sizeof(*message->items));
    message->held = calloc(slab_count, sizeof(*message->held));
    message->held_list = calloc(slab_count, sizeof(*message->held_list));
    if (message->items == NULL || message->held == NULL || message->held_list == NULL) {
        return -1;
    }
    for (uint32_t i = 0; i < slab_count; i++) {
        struct grants_item *item = &message->items[i];
        grants_get(node_grants(node), i, item);
        memset(item->key, 0, sizeof(item->key));
        /* A slab whose cleaning failed is still its last tenant's. */
        if (item->state == GRANT_FREE) {
            continue;
        }
        Dilos__HeldGrant *held = &message->held[held_count];
        dilos__held_grant__init(held);
        held->slab_index = i;
        held->generation = item->generation;
        held->instance_id = item->instance;
        message->held_list[held_count++] = held;
    }
    message->body.n_held = held_count;
    message->body.held = message->held_list;
    return 0;
}

static void fill_endpoint(struct register_message *message, const struct register_facts *facts,
                          const struct node *node)
{
    dilos__endpoint__init(&message->endpoint);
    message->endpoint.host_id = TEXT(facts->host_id);
    if (node_tcp_address(node) != NULL) {
        message->endpoint.tcp_address = TEXT(node_tcp_address(node));
    }
    if (node_shm_path(node) != NULL) {
        message->endpoint.shm_path = TEXT(node_shm_path(node));
    }
    if (node_verbs_addresses(node) != NULL) {
        message->endpoint.verbs_address = TEXT(node_verbs_addresses(node));
    }
    message->body.endpoint = &message->endpoint;
}

struct register_message *register_message_open(const struct register_facts *facts,
                                               const struct node *node, struct report *report)
{
    struct register_message *message = calloc(1, sizeof(*message));
    if (message == NULL) {
        return NULL;
    }
    Dilos__NodeRegister *body = &message->body;
    dilos__node_register__init(body);
    body->name = TEXT(facts->name);
    body->node_id = TEXT(facts->node_id);
    body->arena_id = TEXT(facts->arena_id);
    body->host = TEXT(facts->host);
    body->slab_bytes = arena_slab_bytes(node_arena(node));
    body->slab_count = arena_slab_count(node_arena(node));
    body->epoch_seen = facts->epoch_seen;
    body->n_health = report->health_count;
    body->health = report->health_list;
    fill_endpoint(message, facts, node);
    fill_machine(message, facts->machine);
    if (fill_labels(message, facts->labels) != 0 || fill_held(message, node) != 0) {
        return register_message_close(message);
    }
    return message;
}

struct register_message *register_message_close(struct register_message *message)
{
    if (message == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < CONFIG_LIST_MAX; i++) {
        free(message->label_text[i]);
    }
    free(message->items);
    free(message->held);
    free(message->held_list);
    free(message);
    return NULL;
}

const Dilos__NodeRegister *register_message_body(const struct register_message *message)
{
    return &message->body;
}
