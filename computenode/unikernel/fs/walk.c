/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/fs/walk.h"

#include <errno.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"
#include "lib/base/check.h"

/* The walk so far: `at` is referenced; `rest` is what is left of the path. */
struct walker {
    struct node *at;
    const char *rest;
    char *buffer; /* LX_PATH_MAX bytes, holds the rest once a link was followed */
    unsigned flags;
    unsigned link_count;
    struct walk_identity who;
};

struct component {
    const char *name;
    size_t length;
    bool last;
    bool trailing_slash;
};

/* Takes the next component off the rest; length 0 at the end. */
static void component_next(struct walker *w, struct component *ret)
{
    const char *p = w->rest;
    while (*p == '/') {
        p++;
    }
    ret->name = p;
    while (*p != 0 && *p != '/') {
        p++;
    }
    ret->length = (size_t)(p - ret->name);
    ret->trailing_slash = *p == '/';
    while (*p == '/') {
        p++;
    }
    ret->last = *p == 0;
    w->rest = p;
}

static bool is_name(const struct component *c, const char *name)
{
    return strlen(name) == c->length && memcmp(c->name, name, c->length) == 0;
}

/* Replaces the rest by the target of a link followed by the rest. */
static int push_link(struct walker *w, struct node *link, bool trailing_slash)
{
    size_t rest_length = strlen(w->rest);
    char *target = kmalloc(LX_PATH_MAX);
    if (target == NULL) {
        return -ENOMEM;
    }
    int64_t length = node_readlink(link, target, LX_PATH_MAX - 1);
    int rc = 0;
    if (length <= 0) {
        rc = length == 0 ? -ENOENT : (int)length;
    } else if ((size_t)length + 1 + rest_length + 1 > LX_PATH_MAX) {
        rc = -ENAMETOOLONG;
    } else {
        size_t slash = rest_length > 0 || trailing_slash ? 1 : 0;
        memmove(w->buffer + (size_t)length + slash, w->rest, rest_length + 1);
        memcpy(w->buffer, target, (size_t)length);
        if (slash != 0) {
            w->buffer[length] = '/';
        }
        w->rest = w->buffer;
    }
    kfree(target);
    return rc;
}

/* Goes on at `n`, taking over its reference. */
static void step_to(struct walker *w, struct node *n)
{
    node_unref(w->at);
    w->at = n;
}

/* `link` is referenced and taken over. */
static int follow_link(struct walker *w, struct node *link, const struct component *c)
{
    int rc;
    if (++w->link_count > WALK_SYMLINKS_MAX) {
        rc = -ELOOP;
    } else if (link->hooks != NULL && link->hooks->follow != NULL) {
        struct node *n;
        rc = link->hooks->follow(link, &n);
        if (rc == 0) {
            step_to(w, n);
        }
    } else {
        rc = push_link(w, link, c->trailing_slash);
        if (rc == 0 && w->rest[0] == '/') {
            step_to(w, node_ref(node_root()));
        }
    }
    node_unref(link);
    return rc;
}

static int step_up(struct walker *w)
{
    if (w->at->parent != NULL) {
        step_to(w, node_ref(w->at->parent));
    }
    return 0;
}

static int check_search(struct walker *w)
{
    if (!node_is(w->at, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    return node_permission(w->at, w->who.uid, w->who.gid, LX_X_OK);
}

/* One component that is not the last, or is "." or "..", or has a link to follow. */
static int step(struct walker *w, const struct component *c)
{
    struct node *n;
    if (is_name(c, ".")) {
        return 0;
    }
    if (is_name(c, "..")) {
        return step_up(w);
    }
    int rc = node_child(w->at, c->name, c->length, &n);
    if (rc != 0) {
        return rc;
    }
    bool follow = !c->last || c->trailing_slash || (w->flags & WALK_NOFOLLOW) == 0;
    if (node_is(n, LX_S_IFLNK) && follow) {
        return follow_link(w, n, c);
    }
    step_to(w, n);
    return 0;
}

/*
 * The last component of a WALK_PARENT walk. 1: it was a link to follow, go on.
 */
static int last_component(struct walker *w, const struct component *c, struct walk *ret)
{
    struct node *n = NULL;
    if (c->length > LX_NAME_MAX) {
        return -ENAMETOOLONG;
    }
    int rc = node_child(w->at, c->name, c->length, &n);
    if (rc != 0 && rc != -ENOENT) {
        return rc;
    }
    if (rc == 0 && node_is(n, LX_S_IFLNK) && (w->flags & WALK_NOFOLLOW) == 0) {
        rc = follow_link(w, n, c);
        return rc != 0 ? rc : 1;
    }
    memcpy(ret->name, c->name, c->length);
    ret->name[c->length] = 0;
    ret->name_length = (uint32_t)c->length;
    ret->trailing_slash = c->trailing_slash;
    ret->parent = node_ref(w->at);
    ret->node = n;
    return 0;
}

static int finish(struct walker *w, struct walk *ret, bool trailing_slash)
{
    if ((trailing_slash || (w->flags & WALK_DIRECTORY) != 0) && !node_is(w->at, LX_S_IFDIR)) {
        return -ENOTDIR;
    }
    ret->trailing_slash = trailing_slash;
    ret->node = node_ref(w->at);
    return 0;
}

static int run(struct walker *w, struct walk *ret)
{
    struct component c = {0};
    bool trailing_slash = false;
    for (;;) {
        component_next(w, &c);
        if (c.length == 0) {
            return finish(w, ret, trailing_slash);
        }
        trailing_slash = c.trailing_slash && c.last;
        int rc = check_search(w);
        if (rc != 0) {
            return rc;
        }
        bool dots = is_name(&c, ".") || is_name(&c, "..");
        if (c.last && !dots && (w->flags & WALK_PARENT) != 0) {
            rc = last_component(w, &c, ret);
            if (rc <= 0) {
                return rc;
            }
            continue;
        }
        rc = step(w, &c);
        if (rc != 0) {
            return rc;
        }
    }
}

int walk_path(struct node *base, const char *path, unsigned flags, struct walk_identity who,
              struct walk *ret)
{
    struct walker w = {.rest = path, .flags = flags, .who = who};
    if (path[0] == 0) {
        return -ENOENT;
    }
    if (strlen(path) >= LX_PATH_MAX) {
        return -ENAMETOOLONG;
    }
    w.buffer = kmalloc(LX_PATH_MAX);
    if (w.buffer == NULL) {
        return -ENOMEM;
    }
    w.at = node_ref(path[0] == '/' ? node_root() : base);
    *ret = (struct walk){0};
    int rc = run(&w, ret);
    node_unref(w.at);
    kfree(w.buffer);
    if (rc != 0) {
        walk_end(ret);
    }
    return rc;
}

void walk_end(struct walk *w)
{
    w->node = node_unref(w->node);
    w->parent = node_unref(w->parent);
}

int walk_node(struct node *base, const char *path, unsigned flags, struct walk_identity who,
              struct node **ret)
{
    struct walk w;
    int rc = walk_path(base, path, flags, who, &w);
    if (rc == 0) {
        *ret = w.node;
    }
    return rc;
}
