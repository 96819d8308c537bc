/* SPDX-License-Identifier: Apache-2.0 */
/* System calls on the address space: arguments are translated here, far/ does the work. */
#include <errno.h>

#include "computenode/unikernel/fs/node_data.h"
#include "computenode/unikernel/linux/call.h"

#define MINCORE_PIECE_PAGES 4096u

static unsigned protection_of(uint64_t prot)
{
    /* x86-64 page tables can't say "write but not read". */
    return ((prot & (LX_PROT_READ | LX_PROT_WRITE)) != 0 ? MM_READ : 0u) |
           ((prot & LX_PROT_WRITE) != 0 ? MM_WRITE : 0u) |
           ((prot & LX_PROT_EXEC) != 0 ? MM_EXEC : 0u);
}

static int flags_of(uint64_t flags, unsigned *ret)
{
    uint64_t type = flags & LX_MAP_TYPE;
    if (type != LX_MAP_PRIVATE && type != LX_MAP_SHARED && type != LX_MAP_SHARED_VALIDATE) {
        return -EINVAL;
    }
    if ((flags & (LX_MAP_HUGETLB | LX_MAP_32BIT)) == LX_MAP_HUGETLB) {
        return -ENOMEM; /* there are no huge pages to reserve */
    }
    *ret = (type != LX_MAP_PRIVATE ? MM_SHARED : 0u) |
           ((flags & LX_MAP_FIXED_NOREPLACE) != 0 ? MM_NOREPLACE
            : (flags & LX_MAP_FIXED) != 0         ? MM_FIXED
                                                  : 0u) |
           ((flags & LX_MAP_POPULATE) != 0 ? MM_POPULATE : 0u);
    return 0;
}

/* What mmap(2) demands of the file. *ret_share: pages must be shared with the file itself. */
static int check_file(struct file *f, uint64_t prot, unsigned flags)
{
    if (!file_readable(f)) {
        return -EACCES;
    }
    if (!node_is(f->node, LX_S_IFREG) || f->node->hooks != NULL) {
        return -ENODEV;
    }
    if ((flags & MM_SHARED) != 0 && (prot & LX_PROT_WRITE) != 0 && !file_writable(f)) {
        return -EACCES;
    }
    return 0;
}

static int64_t map_file(const struct call *c, unsigned flags)
{
    CLEANUP(file_cleanup) struct file *f = NULL;
    uint64_t va, prot = c->arg[2];
    int rc = fd_get(c->p, (int)c->arg[4], &f);
    if (rc != 0) {
        return rc;
    }
    bool zeros = node_is(f->node, LX_S_IFCHR) && f->node->rdev == LX_DEVICE(1, 5);
    if (zeros) {
        rc = mm_map(c->p->mm, c->arg[0], c->arg[1], protection_of(prot), flags, NULL, 0, &va);
        return rc != 0 ? rc : (int64_t)va;
    }
    rc = check_file(f, prot, flags);
    if (rc != 0) {
        return rc;
    }
    /*
     * A shared mapping must see what is written to the file, so it uses the file's own pages if the
     * file is open for writing. Those are pinned while mapped (struct mm_backing_ops), so such
     * mappings must fit local memory. A file that is read only stays on the image, page by page.
     */
    if ((flags & MM_SHARED) != 0 && (file_writable(f) || f->node->content.chunk_count > 0)) {
        rc = node_share(f->node);
    } else {
        flags &= ~(unsigned)MM_SHARED;
    }
    if (rc == 0) {
        rc = mm_map(c->p->mm, c->arg[0], c->arg[1], protection_of(prot), flags, &f->node->backing,
                    c->arg[5], &va);
    }
    return rc != 0 ? rc : (int64_t)va;
}

int64_t sys_mmap(const struct call *c)
{
    unsigned flags;
    uint64_t va, linux_flags = c->arg[3];
    int rc = flags_of(linux_flags, &flags);
    if (rc != 0) {
        return rc;
    }
    if (c->arg[1] == 0 || !IS_ALIGNED(c->arg[5], PAGE_BYTES)) {
        return -EINVAL;
    }
    if ((linux_flags & LX_MAP_ANONYMOUS) == 0) {
        return map_file(c, flags);
    }
    rc = mm_map(c->p->mm, c->arg[0], c->arg[1], protection_of(c->arg[2]), flags, NULL, 0, &va);
    return rc != 0 ? rc : (int64_t)va;
}

int64_t sys_munmap(const struct call *c)
{
    return mm_unmap(c->p->mm, c->arg[0], c->arg[1]);
}

int64_t sys_mprotect(const struct call *c)
{
    if (c->arg[1] == 0) {
        return IS_ALIGNED(c->arg[0], PAGE_BYTES) ? 0 : -EINVAL;
    }
    if ((c->arg[2] & LX_PROT_GROWSDOWN) != 0) {
        return -EINVAL;
    }
    return mm_protect(c->p->mm, c->arg[0], c->arg[1], protection_of(c->arg[2]));
}

int64_t sys_brk(const struct call *c)
{
    return (int64_t)mm_brk(c->p->mm, c->arg[0]);
}

int64_t sys_mremap(const struct call *c)
{
    uint64_t va, flags = c->arg[3];
    bool fixed = (flags & LX_MREMAP_FIXED) != 0, may_move = (flags & LX_MREMAP_MAYMOVE) != 0;
    if ((flags & ~(uint64_t)(LX_MREMAP_FIXED | LX_MREMAP_MAYMOVE)) != 0 || (fixed && !may_move)) {
        return -EINVAL;
    }
    int rc =
        mm_remap(c->p->mm, c->arg[0], c->arg[1], c->arg[2], may_move, fixed ? c->arg[4] : 0, &va);
    return rc != 0 ? rc : (int64_t)va;
}

/* Touches each page of a range, as MADV_POPULATE_* asks. */
static int64_t populate(const struct call *c, enum mm_access access)
{
    uint64_t end = ALIGN_UP(c->arg[0] + c->arg[1], PAGE_BYTES);
    if (!mm_access_ok(c->p->mm, c->arg[0], c->arg[1],
                      access == MM_ACCESS_WRITE ? MM_WRITE : MM_READ)) {
        return -ENOMEM;
    }
    for (uint64_t va = c->arg[0]; va < end; va += PAGE_BYTES) {
        int rc = mm_fault(c->p->mm, va, access, true);
        if (rc == -EIO || rc == -ENOMEM || rc == -ENOSPC) {
            process_stop_memory(rc, "in system call madvise");
        }
        if (rc != 0) {
            return -EFAULT;
        }
    }
    return 0;
}

int64_t sys_madvise(const struct call *c)
{
    struct mm *mm = c->p->mm;
    uint64_t va = c->arg[0], length = c->arg[1];
    if (!IS_ALIGNED(va, PAGE_BYTES) || va > MM_USER_END || length > MM_USER_END - va) {
        return -EINVAL;
    }
    if (length == 0) {
        return 0;
    }
    switch ((int)c->arg[2]) {
    case LX_MADV_DONTNEED:
    case LX_MADV_DONTNEED_LOCKED:
        return mm_advise(mm, va, length, MM_DONTNEED);
    case LX_MADV_FREE:
        return mm_advise(mm, va, length, MM_FREE);
    case LX_MADV_WILLNEED:
        return mm_advise(mm, va, length, MM_WILLNEED);
    case LX_MADV_COLD:
        return mm_advise(mm, va, length, MM_COLD);
    case LX_MADV_PAGEOUT:
        return mm_advise(mm, va, length, MM_PAGEOUT);
    case LX_MADV_POPULATE_READ:
        return populate(c, MM_ACCESS_READ);
    case LX_MADV_POPULATE_WRITE:
        return populate(c, MM_ACCESS_WRITE);
    case LX_MADV_NORMAL:
    case LX_MADV_RANDOM:
    case LX_MADV_SEQUENTIAL:
    case LX_MADV_DONTFORK:
    case LX_MADV_DOFORK:
    case LX_MADV_HUGEPAGE:
    case LX_MADV_NOHUGEPAGE:
    case LX_MADV_DONTDUMP:
    case LX_MADV_DODUMP:
    case LX_MADV_WIPEONFORK:
    case LX_MADV_KEEPONFORK:
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_msync(const struct call *c)
{
    if ((c->arg[2] & ~7ull) != 0 || (c->arg[2] & 5) == 5) {
        return -EINVAL;
    }
    return mm_sync(c->p->mm, c->arg[0], c->arg[1]);
}

int64_t sys_mincore(const struct call *c)
{
    uint64_t pages = ALIGN_UP(c->arg[1], PAGE_BYTES) / PAGE_BYTES;
    int rc = IS_ALIGNED(c->arg[0], PAGE_BYTES) ? 0 : -EINVAL;
    uint8_t *vector = kmalloc(MINCORE_PIECE_PAGES);
    if (vector == NULL) {
        return -ENOMEM;
    }
    for (uint64_t at = 0; rc == 0 && at < pages; at += MINCORE_PIECE_PAGES) {
        uint64_t part = MIN(pages - at, MINCORE_PIECE_PAGES);
        rc = mm_resident(c->p->mm, c->arg[0] + at * PAGE_BYTES, part, vector);
        if (rc == 0) {
            rc = copy_to_user(c->arg[2] + at, vector, part);
        }
    }
    kfree(vector);
    return rc;
}

/*
 * Locked memory would be memory that can't page: a program that asks for it mostly wants to keep
 * keys off a disk, and far memory is no disk. The range must exist.
 */
int64_t sys_mlock(const struct call *c)
{
    uint64_t start = ALIGN_DOWN(c->arg[0], PAGE_BYTES);
    uint64_t end = ALIGN_UP(c->arg[0] + c->arg[1], PAGE_BYTES);
    struct mm_area area;
    while (start < end) {
        if (!mm_area_next(c->p->mm, start, &area) || area.start > start) {
            return -ENOMEM;
        }
        start = area.end;
    }
    return 0;
}
