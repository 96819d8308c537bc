/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The address space: which ranges exist, what backs them, and what a page fault does to them.
 *
 * Far address: the far byte address of a page is its virtual address modulo 2^48, a fixed
 * function, so there is no swap map. The far device is 2^48 bytes of thinly provisioned space.
 *
 * Context: all functions but mm_fault() are called by syscalls, with no lock that mm_fault()
 * needs. While a function here changes the map it touches no user memory.
 *
 * The address space is one structure from the start, though one program runs: it is passed, not
 * found in a global.
 */
#ifndef DILOS_UNIKERNEL_FAR_MM_H
#define DILOS_UNIKERNEL_FAR_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

struct mm;

#define MM_USER_MIN            0x10000ull /* nothing is mapped below: a NULL access faults */
#define MM_USER_END            0x00007ffffffff000ull /* first address above user space */
#define MM_KERNEL_WINDOW       0xffffc00000000000ull /* pageable kernel memory (tmpfs) */
#define MM_KERNEL_WINDOW_BYTES (16 * TIB)

/* The stack is at the very top; mappings grow down from below it, with a gap that faults between.
 */
#define MM_STACK_BYTES (8 * MIB)
#define MM_STACK_START (MM_USER_END - MM_STACK_BYTES)
#define MM_MAP_TOP     (MM_STACK_START - 64 * KIB)

enum mm_protection { MM_READ = 1, MM_WRITE = 2, MM_EXEC = 4 };

enum mm_map_flags {
    MM_FIXED = 1,     /* exactly at `hint`, replacing what is there */
    MM_NOREPLACE = 2, /* exactly at `hint`, -EEXIST if something is there */
    MM_SHARED = 4,    /* writes reach the backing; without a backing it is plain anonymous memory */
    MM_STACK = 8,     /* shown as [stack] */
    MM_HEAP = 16,     /* shown as [heap] */
    MM_POPULATE = 32,
    MM_NORESERVE = 64, /* not refused for its size */
};

/*
 * What is behind a mapping of a file. Implemented by fs/. The implementation embeds this.
 */
struct mm_backing {
    const struct mm_backing_ops *ops;
};

struct mm_backing_ops {
    void (*ref)(struct mm_backing *b);
    void (*unref)(struct mm_backing *b);
    /*
     * Fills the 4096 bytes at `page` (direct map) with page `page_index` of the file, zeros past
     * its end. Fault context, but may wait for the root device. Errors: -EIO; -EFAULT if the page
     * lies wholly past the end (the program gets SIGBUS).
     */
    int (*read_page)(struct mm_backing *b, uint64_t page_index, void *page);
    /*
     * For writable MM_SHARED mappings: the address in the kernel window of the page that holds
     * `page_index`. The mapping shares that page's frame and pins it while mapped. NULL: the file
     * can't be mapped shared and writable (mm_map gives -ENODEV). Errors: -EFAULT past the end.
     */
    int (*shared_page)(struct mm_backing *b, uint64_t page_index, uint64_t *ret_kernel_va);
    /* Path for /proc/self/maps, and an inode number. */
    const char *(*name)(struct mm_backing *b, uint64_t *ret_inode);
};

/* The one address space of the program. */
struct mm *mm_current(void);

/*
 * Maps `length` bytes (rounded up to pages). hint 0: anywhere (top down from below the stack).
 * `offset` is in bytes, page aligned. Takes a reference of `backing` (NULL: anonymous).
 * Errors: -EINVAL, -ENOMEM (no room in the address space, or more writable memory in one mapping
 * than local and far memory together can hold), -EEXIST, -ENODEV.
 */
int mm_map(struct mm *mm, uint64_t hint, uint64_t length, unsigned protection, unsigned flags,
           struct mm_backing *backing, uint64_t offset, uint64_t *ret_va) MUST_CHECK;

/* Frees frames and discards far pages. Holes in the range are fine. Errors: -EINVAL, -ENOMEM. */
int mm_unmap(struct mm *mm, uint64_t va, uint64_t length) MUST_CHECK;

/* Errors: -EINVAL, -ENOMEM a hole in the range, -EACCES. */
int mm_protect(struct mm *mm, uint64_t va, uint64_t length, unsigned protection) MUST_CHECK;

/*
 * mremap(2): may_move, or fixed at new_va if not 0. Pages that are remote are read in and moved.
 * Errors: -EINVAL, -ENOMEM, -EFAULT: nothing has changed. -EIO, -ENOSPC: a page could not be moved;
 * both mappings exist, each page is in one of them, and the program is to be stopped.
 */
int mm_remap(struct mm *mm, uint64_t va, uint64_t old_length, uint64_t new_length, bool may_move,
             uint64_t new_va, uint64_t *ret_va) MUST_CHECK;

enum mm_advice {
    MM_DONTNEED, /* anonymous pages read as zeros afterwards, file pages are read again */
    MM_FREE,     /* as DONTNEED (a legal implementation of MADV_FREE) */
    MM_WILLNEED, /* ask for the pages ahead of need */
    MM_COLD,     /* first to be evicted */
    MM_PAGEOUT,  /* evict now */
};
int mm_advise(struct mm *mm, uint64_t va, uint64_t length, enum mm_advice advice) MUST_CHECK;

/* msync(2), mincore(2). */
int mm_sync(struct mm *mm, uint64_t va, uint64_t length) MUST_CHECK;
int mm_resident(struct mm *mm, uint64_t va, uint64_t page_count, uint8_t *ret_vector) MUST_CHECK;

/* brk(2): sets where the heap starts (once, by the ELF loader); moves its end. The new end. */
void mm_brk_start(struct mm *mm, uint64_t va);
uint64_t mm_brk(struct mm *mm, uint64_t end);

/* One mapping, for /proc/self/maps and smaps. */
struct mm_area {
    uint64_t start;
    uint64_t end;
    unsigned protection;
    unsigned flags; /* enum mm_map_flags */
    uint64_t offset;
    uint64_t inode;
    const char *name; /* "" for anonymous memory; valid until the map changes */
};
/* The first mapping that ends above `va`. Returns false if there is none. */
bool mm_area_next(struct mm *mm, uint64_t va, struct mm_area *ret);

/* May the program access all of the range so? For EFAULT before a copy. */
bool mm_access_ok(struct mm *mm, uint64_t va, uint64_t length, unsigned protection);

struct mm_usage {
    uint64_t mapped_bytes;   /* VmSize */
    uint64_t resident_pages; /* VmRSS */
    uint64_t remote_pages;   /* shown as VmSwap */
    uint64_t data_bytes;     /* private writable */
    uint64_t stack_bytes;
};
void mm_usage(struct mm *mm, struct mm_usage *ret);

enum mm_access { MM_ACCESS_READ, MM_ACCESS_WRITE, MM_ACCESS_EXEC };

/*
 * A page fault at `va` (user space, or the kernel window when from_kernel). Returns 0: retry the
 * access. Errors: -EFAULT no such mapping or not allowed (SIGSEGV), -ERANGE past the end of a
 * file (SIGBUS), -EIO the page can't be had from the far device or the root file system (the
 * program is stopped, never given other bytes), -ENOMEM no frame can be freed, -ENOSPC dirty
 * pages can't be written for want of far memory.
 * Context: any, also inside a syscall; takes no lock, allocates from the frame reserve only.
 */
int mm_fault(struct mm *mm, uint64_t va, enum mm_access access, bool from_user);
/* The same for the trap itself, which said mm_fault_begins() first. */
int mm_fault_since(struct mm *mm, uint64_t va, enum mm_access access, bool from_user,
                   uint64_t entry_ns);
/* The time, if the next far fault of this processor is one of those that are timed; else 0. */
uint64_t mm_fault_begins(void);

/*
 * Faults in and pins the pages of a range so that a device may read or write their frames;
 * fills `ret` with up to `max` pieces and the number of bytes they cover, which may be fewer than
 * asked for (max pieces are full, half of all frames are pinned, a page can't be had).
 * Errors: those of mm_fault(), if not even the first page could be pinned.
 */
struct mm_piece {
    uint64_t pa;
    uint32_t length;
};
int mm_pin(struct mm *mm, uint64_t va, uint64_t length, bool write, struct mm_piece *ret,
           uint32_t max, uint32_t *ret_count, uint64_t *ret_bytes) MUST_CHECK;
void mm_unpin(struct mm *mm, const struct mm_piece *pieces, uint32_t count);

/*
 * Pageable kernel memory (file contents of tmpfs): page_count pages of zeros at a fixed address;
 * they take no frame until touched. The kernel may touch them anywhere that it may touch user
 * memory. Errors: -ENOMEM.
 * A page that is freed while a shared mapping or a device still uses its frame leaves the frame to
 * them; a page that is discarded meanwhile is zeroed where it is.
 */
int kwin_alloc(uint64_t page_count, uint64_t *ret_va) MUST_CHECK;
void kwin_free(uint64_t va, uint64_t page_count);
/* Gives the frames and far memory of these pages back; they read as zeros. */
void kwin_discard(uint64_t va, uint64_t page_count);

/* Far memory that may be held, in bytes; it may grow and shrink. */
uint64_t mm_far_bytes(void);

#endif
