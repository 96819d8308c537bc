/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unikernel/hammer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "computenode/unikernel/far/pager.h"

#define BASE       0x7f0000000000ull
#define WORDS      8 /* one in each sector of a page */
#define STRIDE     (PAGE_BYTES / WORDS)
#define SPAN_MAX   48 /* pages that one call concerns */
#define TRIES_MAX  200
#define PINS_MAX   4
#define FILE_PAGES HAMMER_FILE_PAGES

/* The contents of a page are a function of its seed; seed 0: zeros. */
struct model_page {
    bool mapped;
    bool file;   /* private mapping of the file */
    bool shared; /* shared mapping of the tmpfs file: contents are those of tmpfs[index] */
    uint8_t protection;
    uint32_t index; /* in the file */
    uint64_t seed;
};

static struct {
    const struct hammer *h;
    struct hammer_result *result;
    struct model_page pages[HAMMER_PAGES_MAX];
    uint64_t tmpfs[FILE_PAGES]; /* seeds */
    uint64_t tmpfs_va;
    uint64_t version;
    int references;
    struct mm_piece pins[PINS_MAX][4];
    uint32_t pin_count[PINS_MAX];
} t;

static uint64_t mix(uint64_t seed, uint64_t word)
{
    uint64_t z = seed * 0x9e3779b97f4a7c15ull + word * 0xbf58476d1ce4e5b9ull;
    return seed == 0 ? 0 : z ^ z >> 29;
}

static uint64_t file_seed(uint64_t index)
{
    return 0xf11e000000000000ull + index;
}

static void wrong(const char *what, uint64_t va, uint64_t got, uint64_t expected)
{
    if (t.result->wrong++ < 3) {
        printf("# %s at 0x%llx: got 0x%llx, expected 0x%llx\n", what, (unsigned long long)va,
               (unsigned long long)got, (unsigned long long)expected);
    }
}

static void expect(const char *what, uint64_t va, int64_t got, int64_t expected)
{
    if (got != expected) {
        wrong(what, va, (uint64_t)got, (uint64_t)expected);
    }
}

static void backing_ref(struct mm_backing *b)
{
    t.references++;
}

static void backing_unref(struct mm_backing *b)
{
    t.references--;
}

static int file_read_page(struct mm_backing *b, uint64_t index, void *page)
{
    if (index >= FILE_PAGES) {
        return -EFAULT;
    }
    uint64_t *words = page;
    memset(page, 0xcc, PAGE_BYTES);
    for (unsigned i = 0; i < WORDS; i++) {
        words[i * STRIDE / 8] = mix(file_seed(index), i);
    }
    return 0;
}

static int tmpfs_shared_page(struct mm_backing *b, uint64_t index, uint64_t *ret_va)
{
    if (index >= FILE_PAGES) {
        return -EFAULT;
    }
    *ret_va = t.tmpfs_va + index * PAGE_BYTES;
    return 0;
}

static const char *backing_name(struct mm_backing *b, uint64_t *ret_inode)
{
    *ret_inode = 1;
    return "/file";
}

static const struct mm_backing_ops file_ops = {backing_ref, backing_unref, file_read_page, NULL,
                                               backing_name};
static const struct mm_backing_ops tmpfs_ops = {backing_ref, backing_unref, file_read_page,
                                                tmpfs_shared_page, backing_name};
static struct mm_backing file = {&file_ops};
static struct mm_backing tmpfs = {&tmpfs_ops};

static uint64_t va_of(uint32_t page)
{
    return BASE + page * PAGE_BYTES;
}

/* An access that fails for want of memory gives some up; any failure is tried again. */
static bool try_again(int r, uint32_t tries)
{
    if (!t.h->errors || tries >= TRIES_MAX || (r != -EIO && r != -ENOSPC && r != -ENOMEM)) {
        return false;
    }
    t.result->failures++;
    if (r != -EIO) {
        uint32_t first = (uint32_t)host_random_below(t.h->page_count);
        uint32_t count = MIN(SPAN_MAX, t.h->page_count - first);
        for (uint32_t i = first; i < first + count; i++) {
            struct model_page *p = &t.pages[i];
            if (p->mapped && !p->shared) {
                expect("dontneed", va_of(i), mm_advise(mm_current(), va_of(i), 1, MM_DONTNEED), 0);
                p->seed = p->file ? file_seed(p->index) : 0;
            }
        }
    }
    return true;
}

static int load(uint64_t va, bool user, uint64_t *ret)
{
    int r = host_load(va, user, ret);
    for (uint32_t i = 0; r < 0 && try_again(r, i); i++) {
        r = host_load(va, user, ret);
    }
    return r;
}

static int store(uint64_t va, bool user, uint64_t value)
{
    int r = host_store(va, user, value);
    for (uint32_t i = 0; r < 0 && try_again(r, i); i++) {
        r = host_store(va, user, value);
    }
    return r;
}

/* The page's seed may change under a load that fails and gives memory up: look at it afterwards. */
static void check_contents(uint64_t va, bool user, const uint64_t *seed)
{
    for (unsigned i = 0; i < WORDS; i++) {
        uint64_t value = 0;
        int r = load(va + i * STRIDE, user, &value);
        t.result->loads++;
        if (r != 0) {
            expect("load", va, r, 0);
        } else if (value != mix(*seed, i)) {
            wrong("contents", va + i * STRIDE, value, mix(*seed, i));
        }
    }
}

static void fill(uint64_t va, bool user, uint64_t *seed)
{
    uint64_t next = ++t.version << 20 | (va >> PAGE_SHIFT & 0xfffff);
    bool again = true;
    while (again) {
        again = false;
        for (unsigned i = 0; i < WORDS && !again; i++) {
            uint64_t failures = t.result->failures;
            int r = store(va + i * STRIDE, user, mix(next, i));
            expect("store", va, r, 0);
            again = t.result->failures != failures; /* perhaps it was this page that was given up */
        }
    }
    *seed = next;
}

static void op_access(uint32_t page)
{
    struct model_page *p = &t.pages[page];
    uint64_t va = va_of(page);
    uint64_t ignored;
    if (!p->mapped || p->protection == 0) {
        expect("load of nothing", va, host_load(va, true, &ignored), -EFAULT);
        expect("kernel load of nothing", va, host_load(va, false, &ignored), -EFAULT);
        return;
    }
    if ((p->file || p->shared) && p->index >= FILE_PAGES) {
        expect("load past the end", va, host_load(va, true, &ignored), -ERANGE);
        return;
    }
    uint64_t *seed = p->shared ? &t.tmpfs[p->index] : &p->seed;
    bool user = host_random_below(8) != 0;
    if ((p->protection & MM_WRITE) == 0) {
        expect("store to read-only", va, host_store(va, user, 1), -EFAULT);
        check_contents(va, user, seed);
    } else if (host_random_below(3) == 0) {
        fill(va, user, seed);
    } else {
        check_contents(va, user, seed);
    }
}

static void op_map(uint32_t first, uint32_t count)
{
    static const unsigned protections[] = {MM_READ | MM_WRITE, MM_READ | MM_WRITE, MM_READ, 0};
    unsigned protection = protections[host_random_below(4)];
    uint64_t kind = host_random_below(6);
    struct mm_backing *backing = kind == 0 ? &file : kind == 1 ? &tmpfs : NULL;
    uint32_t index = (uint32_t)host_random_below(FILE_PAGES);
    uint64_t va = 0;
    int r = mm_map(mm_current(), va_of(first), count * PAGE_BYTES, protection,
                   MM_FIXED | (kind == 1 ? MM_SHARED : 0), backing, index * PAGE_BYTES, &va);
    expect("map", va_of(first), r, 0);
    for (uint32_t i = 0; i < count; i++) {
        struct model_page *p = &t.pages[first + i];
        *p = (struct model_page){.mapped = true,
                                 .file = kind == 0,
                                 .shared = kind == 1,
                                 .protection = (uint8_t)protection,
                                 .index = index + i};
        p->seed = p->file ? file_seed(p->index) : 0;
    }
}

static void op_unmap(uint32_t first, uint32_t count)
{
    expect("unmap", va_of(first), mm_unmap(mm_current(), va_of(first), count * PAGE_BYTES), 0);
    memset(&t.pages[first], 0, count * sizeof(t.pages[0]));
}

static bool all_mapped(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        if (!t.pages[i].mapped) {
            return false;
        }
    }
    return true;
}

static void op_protect(uint32_t first, uint32_t count)
{
    static const unsigned protections[] = {MM_READ | MM_WRITE, MM_READ | MM_WRITE | MM_EXEC,
                                           MM_READ, 0};
    unsigned protection = protections[host_random_below(4)];
    int expected = all_mapped(first, count) ? 0 : -ENOMEM;
    int r = mm_protect(mm_current(), va_of(first), count * PAGE_BYTES, protection);
    expect("protect", va_of(first), r, expected);
    for (uint32_t i = first; r == 0 && i < first + count; i++) {
        t.pages[i].protection = (uint8_t)protection;
    }
}

static void op_advise(uint32_t first, uint32_t count)
{
    enum mm_advice advice = (enum mm_advice)host_random_below(MM_PAGEOUT + 1);
    int r = mm_advise(mm_current(), va_of(first), count * PAGE_BYTES, advice);
    expect("advise", va_of(first), r, all_mapped(first, count) ? 0 : -ENOMEM);
    for (uint32_t i = first; i < first + count && (advice == MM_DONTNEED || advice == MM_FREE);
         i++) {
        struct model_page *p = &t.pages[i];
        p->seed = p->file ? file_seed(p->index) : 0;
    }
}

/* Is [first, first + count) one mapping as mremap sees it? */
static bool one_mapping(uint32_t first, uint32_t count)
{
    const struct model_page *a = &t.pages[first];
    for (uint32_t i = 1; i < count; i++) {
        const struct model_page *b = &t.pages[first + i];
        if (b->mapped != a->mapped || b->file != a->file || b->shared != a->shared ||
            b->protection != a->protection || (a->file | a->shared && b->index != a->index + i)) {
            return false;
        }
    }
    return a->mapped;
}

static void op_remap(uint32_t first, uint32_t count)
{
    uint32_t to = (uint32_t)host_random_below(t.h->page_count - count);
    if (t.h->no_remap || (to < first + count && first < to + count) || !one_mapping(first, count)) {
        return;
    }
    uint64_t va = 0;
    int r = mm_remap(mm_current(), va_of(first), count * PAGE_BYTES, count * PAGE_BYTES, true,
                     va_of(to), &va);
    expect("remap", va_of(first), r, 0);
    memcpy(&t.pages[to], &t.pages[first], count * sizeof(t.pages[0]));
    memset(&t.pages[first], 0, count * sizeof(t.pages[0]));
}

static void op_pin(void)
{
    uint32_t slot = (uint32_t)host_random_below(PINS_MAX);
    if (t.pin_count[slot] > 0) {
        mm_unpin(mm_current(), t.pins[slot], t.pin_count[slot]);
        t.pin_count[slot] = 0;
        return;
    }
    uint32_t page = (uint32_t)host_random_below(t.h->page_count);
    uint64_t bytes;
    uint32_t count;
    if (mm_pin(mm_current(), va_of(page) + 100, 6000, false, t.pins[slot], 4, &count, &bytes) ==
        0) {
        t.pin_count[slot] = count;
    }
}

/* The kernel reads and writes file contents in its window, and gives pages up. */
static void op_tmpfs(void)
{
    uint32_t index = (uint32_t)host_random_below(FILE_PAGES);
    uint64_t va = t.tmpfs_va + index * PAGE_BYTES;
    switch (host_random_below(8)) {
    case 0:
        kwin_discard(va, 1);
        t.tmpfs[index] = 0;
        break;
    case 1:
    case 2:
        fill(va, false, &t.tmpfs[index]);
        break;
    default:
        check_contents(va, false, &t.tmpfs[index]);
        break;
    }
}

/* Most accesses go to a small part, which wanders: there are hot and cold pages. */
static uint32_t pick_page(uint32_t op)
{
    uint32_t hot = t.h->page_count / 8;
    if (host_random_below(4) == 0) {
        return (uint32_t)host_random_below(t.h->page_count);
    }
    return (op / 2000 * hot / 3 + (uint32_t)host_random_below(hot)) % t.h->page_count;
}

static void step(uint32_t op)
{
    if (host_random_below(1000) >= t.h->map_ops_per_1000) {
        uint32_t page = pick_page(op);
        uint32_t run = host_random_below(16) == 0 ? 16 : 1; /* some sequential accesses */
        for (uint32_t i = page; i < page + run && i < t.h->page_count; i++) {
            op_access(i);
        }
        return;
    }
    uint32_t first = (uint32_t)host_random_below(t.h->page_count - SPAN_MAX);
    uint32_t count = 1 + (uint32_t)host_random_below(SPAN_MAX - 1);
    switch (host_random_below(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        op_map(first, count);
        break;
    case 4:
    case 5:
        op_unmap(first, count);
        break;
    case 6:
    case 7:
        op_protect(first, count);
        break;
    case 8:
    case 9:
        op_advise(first, count);
        break;
    case 10:
        op_remap(first, count);
        break;
    case 11:
        op_pin();
        break;
    case 12:
        (void)pager_idle();
        break;
    default:
        op_tmpfs();
        break;
    }
}

static void start(void)
{
    host_start(&t.h->host);
    expect("kwin", 0, kwin_alloc(FILE_PAGES, &t.tmpfs_va), 0);
    for (uint32_t first = 0; first + 256 <= t.h->page_count; first += 256) {
        uint64_t va;
        int r = mm_map(mm_current(), va_of(first), 256 * PAGE_BYTES, MM_READ | MM_WRITE, MM_FIXED,
                       NULL, 0, &va);
        expect("map", va_of(first), r, 0);
        for (uint32_t i = first; i < first + 256; i++) {
            t.pages[i] = (struct model_page){.mapped = true, .protection = MM_READ | MM_WRITE};
        }
    }
}

static void finish(void)
{
    for (uint32_t i = 0; i < t.h->page_count; i++) {
        op_access(i);
    }
    for (uint32_t i = 0; i < PINS_MAX; i++) {
        mm_unpin(mm_current(), t.pins[i], t.pin_count[i]);
    }
    pager_verify();
    op_unmap(0, t.h->page_count);
    kwin_free(t.tmpfs_va, FILE_PAGES);
    pager_quiesce();
    pager_verify();
    expect("references", 0, t.references, 0);
    expect("pages", 0, (int64_t)(host_stats()->pages_local + host_stats()->pages_remote), 0);
    t.result->far_pages_left = host_far_pages();
    t.result->violations = host_violations();
    t.result->stats = *host_stats();
    host_stop();
}

void hammer_run(const struct hammer *h, struct hammer_result *ret)
{
    memset(&t, 0, sizeof(t));
    memset(ret, 0, sizeof(*ret));
    t.h = h;
    t.result = ret;
    start();
    for (uint32_t op = 0; op < h->op_count; op++) {
        step(op);
        if (op % 4096 == 0) {
            pager_verify();
        }
    }
    finish();
}
