/* SPDX-License-Identifier: Apache-2.0 */
/* The fixed parts of the tree: directories and generated nodes that hide what the image has. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/fs/file.h"
#include "computenode/unikernel/fs/walk.h"
#include "lib/base/check.h"

static int place(const char *path, uint32_t mode, uint64_t device, struct node **ret)
{
    static const struct walk_identity kernel = {0, 0};
    struct walk w;
    int rc = walk_path(node_root(), path, WALK_PARENT | WALK_NOFOLLOW, kernel, &w);
    if (rc != 0) {
        return rc;
    }
    CHECK(w.parent != NULL);
    rc = node_place(w.parent, w.name, w.name_length, mode, device, ret);
    walk_end(&w);
    return rc;
}

int node_place_directory(const char *path, uint32_t permissions, uint64_t device, struct node **ret)
{
    return place(path, LX_S_IFDIR | permissions, device, ret);
}

int node_place_generated(const char *path, uint32_t mode, uint64_t device,
                         const struct node_hooks *hooks, uint64_t value)
{
    struct node *n;
    int rc = place(path, mode, device, &n);
    if (rc == 0) {
        n->hooks = hooks;
        n->hook_value = value;
        node_unref(n);
    }
    return rc;
}
