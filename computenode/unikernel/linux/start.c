/* SPDX-License-Identifier: Apache-2.0 */
/* The first door: makes the file tree and the process, loads the program and enters it. */
#include <errno.h>
#include <string.h>

#include "computenode/unikernel/far/mm.h"
#include "computenode/unikernel/fs/devfs.h"
#include "computenode/unikernel/fs/erofs.h"
#include "computenode/unikernel/fs/rootcache.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/linux/exec.h"
#include "computenode/unikernel/linux/procfs.h"
#include "computenode/unikernel/linux/vdso.h"

#define REASON_BYTES    512
#define ROOTCACHE_SHARE 64u /* of local memory may hold chunks of the root device */

static struct erofs root_image;

static NORETURN void refuse(const char *what, const char *why)
{
    char reason[REASON_BYTES];
    (void)ksnprintf(reason, sizeof(reason), "%s: %s", what, why);
    machine_exit(CTL_REFUSED, 0, reason);
}

static uint64_t local_bytes(void)
{
    const struct bootspec *spec = boot_spec();
    return spec->local_bytes != 0 ? MIN(spec->local_bytes, machine_ram_bytes())
                                  : machine_ram_bytes();
}

/* Files may take half of all memory. */
void linux_memory_changed(void)
{
    content_limit_set((local_bytes() + mm_far_bytes()) / PAGE_BYTES / 2);
}

static void mount_root(void)
{
    const char *why = "no memory left for its cache; raise --local-memory";
    if (!rootdev_present()) {
        refuse("root file system", "this machine has no root block device; the VMM must attach the "
                                   "EROFS image to it");
    }
    uint32_t slots = (uint32_t)(local_bytes() / ROOTCACHE_SHARE / ROOTCACHE_CHUNK_BYTES);
    root_image = (struct erofs){.read = rootcache_read, .image_bytes = rootdev_bytes()};
    int rc = rootcache_init(slots, rootdev_bytes());
    if (rc == 0) {
        rc = erofs_open(&root_image, &why);
    }
    if (rc == 0) {
        why = "its root directory can't be read: the image is corrupt";
        rc = node_tree_init(&root_image);
    }
    if (rc != 0) {
        refuse("root file system", why);
    }
}

/*
 * A directory that programs expect to be there and writable. What the image has in it stays
 * visible: a program or its data may have been put there.
 */
static int ensure_directory(const char *path, uint32_t permissions)
{
    static const struct walk_identity kernel = {0, 0};
    struct node *n;
    int rc = walk_node(node_root(), path, WALK_DIRECTORY, kernel, &n);
    if (rc != 0) {
        rc = node_place_directory(path, permissions, NODE_DEVICE_ROOT, &n);
    } else {
        node_dirty(n);
        n->mode = LX_S_IFDIR | permissions;
    }
    if (rc == 0) {
        node_unref(n);
    }
    return rc;
}

static void make_tree(void)
{
    int rc = ensure_directory("/tmp", 01777);
    if (rc == 0) {
        rc = ensure_directory("/run", 0755);
    }
    if (rc == 0) {
        rc = devfs_init();
    }
    if (rc == 0) {
        rc = procfs_init();
    }
    if (rc != 0) {
        refuse("file tree", "no memory left for it; raise --local-memory");
    }
    linux_memory_changed();
}

static void enter_directory(struct process *p)
{
    struct bootspec_string path = boot_spec()->directory;
    char text[LX_PATH_MAX];
    struct node *n;
    if (path.length == 0) {
        return;
    }
    if (path.length >= sizeof(text)) {
        refuse("working directory", "its path is too long");
    }
    memcpy(text, path.data, path.length);
    text[path.length] = 0;
    int rc = walk_node(p->directory, text, WALK_DIRECTORY, process_identity(p), &n);
    if (rc != 0) {
        refuse(text, "the working directory does not exist in the root image or can't be entered");
    }
    node_unref(p->directory);
    p->directory = n;
}

static void set_name(struct task *t, const char *path)
{
    const char *name = path;
    for (const char *c = path; *c != 0; c++) {
        name = *c == '/' ? c + 1 : name;
    }
    (void)ksnprintf(t->name, sizeof(t->name), "%s", name);
}

NORETURN void linux_start(void)
{
    struct process *p = process_current();
    struct exec_entry entry;
    struct exec_program *program = kzalloc(sizeof(*program));
    vdso_init();
    mount_root();
    make_tree();
    if (program == NULL || process_init() != 0) {
        refuse("start", "no memory left for the process; raise --local-memory");
    }
    enter_directory(p);
    if (exec_find(p, boot_spec(), program) != 0 ||
        exec_load(p, boot_spec(), program, &entry) != 0) {
        machine_exit(CTL_REFUSED, 0, program->reason);
    }
    set_name(task_current(), program->path);
    node_unref(program->node);
    node_unref(program->interpreter_node);
    kfree(program->arguments);
    kfree(program);
    if (control_start() != 0) {
        refuse("start", "no local memory for a thread; raise --local-memory");
    }
    const struct user_regs regs = {.rip = entry.ip, .rsp = entry.sp, .rflags = 0x202};
    user_enter(&regs);
}
