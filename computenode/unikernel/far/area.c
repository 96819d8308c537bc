/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/far/area.h"

#include <errno.h>

#include "computenode/unikernel/far/frame.h"
#include "lib/base/check.h"

/*
 * The tree functions recurse: an AVL tree of AREAS_MAX nodes is at most 23 deep
 * (1.44 log2(n + 2)).
 */

static struct area *area_of(struct list *node)
{
    return list_entry(node, struct area, link);
}

void areas_init(struct areas *as)
{
    list_init(&as->list);
    list_init(&as->spare);
    as->root = NULL;
    as->count = 0;
    as->spare_count = 0;
}

int areas_reserve(struct areas *as, uint32_t count)
{
    if (as->count + count > AREAS_MAX) {
        return -ENOMEM;
    }
    while (as->spare_count < count) {
        phys_addr_t pa;
        int r = frame_alloc_kernel(&pa);
        if (r < 0) {
            return r;
        }
        struct area *nodes = phys_to_virt(pa);
        for (uint32_t i = 0; i < PAGE_BYTES / sizeof(struct area); i++) {
            list_append(&as->spare, &nodes[i].link);
            as->spare_count++;
        }
    }
    return 0;
}

static uint32_t height_of(const struct area *a)
{
    return a == NULL ? 0 : a->height;
}

static void update(struct area *a)
{
    a->height = 1 + MAX(height_of(a->left), height_of(a->right));
}

static struct area *rotate_right(struct area *a)
{
    struct area *top = a->left;
    a->left = top->right;
    top->right = a;
    update(a);
    update(top);
    return top;
}

static struct area *rotate_left(struct area *a)
{
    struct area *top = a->right;
    a->right = top->left;
    top->left = a;
    update(a);
    update(top);
    return top;
}

static struct area *balance(struct area *a)
{
    update(a);
    if (height_of(a->left) > height_of(a->right) + 1) {
        if (height_of(a->left->left) < height_of(a->left->right)) {
            a->left = rotate_left(a->left);
        }
        return rotate_right(a);
    }
    if (height_of(a->right) > height_of(a->left) + 1) {
        if (height_of(a->right->right) < height_of(a->right->left)) {
            a->right = rotate_right(a->right);
        }
        return rotate_left(a);
    }
    return a;
}

static struct area *tree_add(struct area *tree, struct area *a)
{
    if (tree == NULL) {
        a->left = NULL;
        a->right = NULL;
        a->height = 1;
        return a;
    }
    if (a->start < tree->start) {
        tree->left = tree_add(tree->left, a);
    } else {
        tree->right = tree_add(tree->right, a);
    }
    return balance(tree);
}

/* Takes the lowest node out of a tree. */
static struct area *tree_take_first(struct area *tree, struct area **ret_first)
{
    if (tree->left == NULL) {
        *ret_first = tree;
        return tree->right;
    }
    tree->left = tree_take_first(tree->left, ret_first);
    return balance(tree);
}

static struct area *tree_remove(struct area *tree, const struct area *a)
{
    CHECK(tree != NULL);
    if (a->start < tree->start) {
        tree->left = tree_remove(tree->left, a);
        return balance(tree);
    }
    if (a->start > tree->start) {
        tree->right = tree_remove(tree->right, a);
        return balance(tree);
    }
    if (tree->right == NULL) {
        return tree->left;
    }
    struct area *first;
    struct area *rest = tree_take_first(tree->right, &first);
    first->left = tree->left;
    first->right = rest;
    return balance(first);
}

struct area *areas_find(const struct areas *as, uint64_t va)
{
    struct area *found = NULL;
    for (struct area *a = as->root; a != NULL;) {
        if (va < a->end) {
            found = a;
            a = a->left;
        } else {
            a = a->right;
        }
    }
    return found;
}

struct area *areas_at(const struct areas *as, uint64_t va)
{
    struct area *a = areas_find(as, va);
    return a != NULL && a->start <= va ? a : NULL;
}

struct area *areas_next(const struct areas *as, const struct area *a)
{
    return a->link.next == &as->list ? NULL : area_of(a->link.next);
}

struct area *areas_previous(const struct areas *as, const struct area *a)
{
    return a->link.prev == &as->list ? NULL : area_of(a->link.prev);
}

struct area *areas_insert(struct areas *as, const struct area *like)
{
    CHECK(like->start < like->end);
    CHECK(as->spare_count > 0);
    struct area *after = areas_find(as, like->start);
    CHECK(after == NULL || after->start >= like->end);
    struct area *a = area_of(list_first(&as->spare));
    list_remove(&a->link);
    as->spare_count--;
    *a = *like;
    list_insert_before(after != NULL ? &after->link : &as->list, &a->link);
    as->root = tree_add(as->root, a);
    as->count++;
    return a;
}

void areas_remove(struct areas *as, struct area *a)
{
    as->root = tree_remove(as->root, a);
    list_remove(&a->link);
    list_append(&as->spare, &a->link);
    as->spare_count++;
    as->count--;
}

static void area_ref(const struct area *a)
{
    if (a->backing != NULL) {
        a->backing->ops->ref(a->backing);
    }
}

static void cut_at(struct areas *as, uint64_t va)
{
    struct area *a = areas_at(as, va);
    if (a == NULL || a->start == va) {
        return;
    }
    struct area upper = *a;
    upper.start = va;
    upper.offset += va - a->start;
    a->end = va;
    area_ref(&upper);
    (void)areas_insert(as, &upper);
}

void areas_cut(struct areas *as, uint64_t start, uint64_t end)
{
    cut_at(as, start);
    cut_at(as, end);
}

static bool continues(const struct area *a, const struct area *b)
{
    return a->end == b->start && a->protection == b->protection && a->flags == b->flags &&
           a->backing == b->backing &&
           (a->backing == NULL || a->offset + (a->end - a->start) == b->offset);
}

static bool absorb_next(struct areas *as, struct area *a)
{
    struct area *next = areas_next(as, a);
    if (next == NULL || !continues(a, next)) {
        return false;
    }
    uint64_t end = next->end;
    struct mm_backing *backing = next->backing;
    areas_remove(as, next);
    a->end = end;
    if (backing != NULL) {
        backing->ops->unref(backing);
    }
    return true;
}

void areas_join(struct areas *as, struct area *a)
{
    while (absorb_next(as, a)) {
    }
    struct area *previous = areas_previous(as, a);
    if (previous != NULL) {
        (void)absorb_next(as, previous);
    }
}

void areas_hole(const struct areas *as, uint64_t va, uint64_t *start, uint64_t *end)
{
    const struct area *after = areas_find(as, va);
    const struct area *before = NULL;
    if (after != NULL) {
        before = areas_previous(as, after);
        *end = MIN(*end, after->start);
    } else if (!list_empty(&as->list)) {
        before = area_of(as->list.prev);
    }
    if (before != NULL) {
        *start = MAX(*start, before->end);
    }
}

uint64_t areas_room_down(const struct areas *as, uint64_t bottom, uint64_t top, uint64_t bytes)
{
    uint64_t end = top;
    for (struct list *node = as->list.prev; node != &as->list; node = node->prev) {
        const struct area *a = list_entry(node, struct area, link);
        if (a->start >= end) {
            continue;
        }
        if (a->end < end && end - a->end >= bytes) {
            break;
        }
        end = a->start;
    }
    return end >= bottom && end - bottom >= bytes ? end - bytes : 0;
}

uint64_t areas_room_up(const struct areas *as, uint64_t bottom, uint64_t top, uint64_t bytes)
{
    uint64_t start = bottom;
    list_for_each (node, &as->list) {
        const struct area *a = area_of(node);
        if (a->end <= start) {
            continue;
        }
        if (a->start > start && a->start - start >= bytes) {
            break;
        }
        start = a->end;
    }
    return start <= top && top - start >= bytes ? start : 0;
}
