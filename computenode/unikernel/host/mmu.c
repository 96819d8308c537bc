/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MMU: walks the page tables, sets A and D, and caches translations until they are flushed
 * (Intel SDM vol. 3, 4.7, 4.8, 4.10). Not modelled: caches of the upper levels.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "computenode/unikernel/host/host.h"
#include "computenode/unikernel/kernel/port.h"

#define TLB_ENTRIES  4096 /* direct mapped */
#define FAULTS_MAX   64   /* on one access */
#define BIT_P        (1ull << 0)
#define BIT_W        (1ull << 1)
#define BIT_U        (1ull << 2)
#define BIT_A        (1ull << 5)
#define BIT_D        (1ull << 6)
#define BIT_NX       (1ull << 63)
#define ADDRESS_BITS 0x000ffffffffff000ull

struct translation {
    uint64_t page; /* virtual page address | 1; 0: none */
    uint64_t entry;
};

#define MAIL_MAX 64 /* pages of a request; more: everything */

/* Of a processor: what it has cached, and what others want it to forget. */
static struct mmu {
    struct translation tlb[TLB_ENTRIES]; /* its own */
    pthread_mutex_t lock;
    atomic_bool online;
    _Atomic uint32_t asked;
    _Atomic uint32_t answered;
    bool all;
    uint32_t count;
    uint64_t va[MAIL_MAX];
} mmus[CPU_COUNT_MAX];

static _Atomic uint64_t fault_count;

static struct translation *slot_of(struct mmu *m, uint64_t page)
{
    return &m->tlb[(page >> PAGE_SHIFT ^ page >> 30) % TLB_ENTRIES];
}

void host_tlb_reset(void)
{
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        (void)pthread_mutex_init(&mmus[i].lock, NULL);
        memset(mmus[i].tlb, 0, sizeof(mmus[i].tlb));
        atomic_store(&mmus[i].online, false);
        atomic_store(&mmus[i].asked, 0);
        atomic_store(&mmus[i].answered, 0);
        mmus[i].all = false;
        mmus[i].count = 0;
    }
}

void host_tlb_online(uint32_t cpu, bool online)
{
    struct mmu *m = &mmus[cpu];
    memset(m->tlb, 0, sizeof(m->tlb));
    atomic_store(&m->online, online);
    host_tlb_answer();
}

static void forget(struct mmu *m, const uint64_t *va, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t page = ALIGN_DOWN(va[i], PAGE_BYTES);
        struct translation *t = slot_of(m, page);
        if (t->page == (page | 1)) {
            t->page = 0;
        }
    }
}

void host_tlb_answer(void)
{
    struct mmu *m = &mmus[cpu_index()];
    if (atomic_load(&m->asked) == atomic_load(&m->answered)) {
        return;
    }
    (void)pthread_mutex_lock(&m->lock);
    if (m->all) {
        memset(m->tlb, 0, sizeof(m->tlb));
    } else {
        forget(m, m->va, m->count);
    }
    m->all = false;
    m->count = 0;
    atomic_store(&m->answered, atomic_load(&m->asked));
    (void)pthread_mutex_unlock(&m->lock);
}

/* Returns the number of the request. count 0: everything. */
static uint32_t ask(struct mmu *m, const uint64_t *va, uint32_t count)
{
    (void)pthread_mutex_lock(&m->lock);
    m->all = m->all || count == 0 || m->count + count > MAIL_MAX;
    for (uint32_t i = 0; i < count && !m->all; i++) {
        m->va[m->count++] = va[i];
    }
    uint32_t ticket = atomic_fetch_add(&m->asked, 1) + 1;
    (void)pthread_mutex_unlock(&m->lock);
    return ticket;
}

static void flush(const uint64_t *va, uint32_t count)
{
    struct mmu *own = &mmus[cpu_index()];
    uint32_t tickets[CPU_COUNT_MAX];
    if ((host_config.bugs & HOST_BUG_NO_FLUSH) != 0) {
        return;
    }
    if (count == 0) {
        memset(own->tlb, 0, sizeof(own->tlb));
    } else {
        forget(own, va, count);
    }
    uint32_t others = (host_config.bugs & HOST_BUG_LOCAL_FLUSH) != 0 ? 0 : cpu_count();
    for (uint32_t i = 0; i < others; i++) {
        tickets[i] = &mmus[i] == own ? 0 : ask(&mmus[i], va, count);
    }
    for (uint32_t i = 0; i < others; i++) {
        while (&mmus[i] != own && atomic_load(&mmus[i].online) &&
               (int32_t)(atomic_load(&mmus[i].answered) - tickets[i]) < 0) {
            cpu_relax();
        }
    }
}

void tlb_flush_page(uint64_t va)
{
    flush(&va, 1);
}

void tlb_flush_pages(const uint64_t *va, uint32_t count)
{
    if (count > 0) {
        flush(va, count);
    }
}

void tlb_flush_all(void)
{
    flush(NULL, 0);
}

static bool allowed(uint64_t entry, enum mm_access access, bool from_user)
{
    return (!from_user || (entry & BIT_U) != 0) &&
           (access != MM_ACCESS_WRITE || (entry & BIT_W) != 0) &&
           (access != MM_ACCESS_EXEC || (entry & BIT_NX) == 0);
}

/* Sets A, and D for a write, in an entry that allows the access, in one locked operation. */
static uint64_t mark(uint64_t *leaf, uint64_t rights, enum mm_access access, bool from_user)
{
    uint64_t set = (host_config.bugs & HOST_BUG_LOSE_ACCESSED) != 0 ? 0 : BIT_A;
    if (access == MM_ACCESS_WRITE && (host_config.bugs & HOST_BUG_LOSE_DIRTY) == 0) {
        set |= BIT_D;
    }
    uint64_t entry = __atomic_load_n(leaf, __ATOMIC_ACQUIRE);
    do {
        if ((entry & BIT_P) == 0 ||
            !allowed(entry & (rights | ~(BIT_W | BIT_U)), access, from_user)) {
            return 0;
        }
    } while (!__atomic_compare_exchange_n(leaf, &entry, entry | set, false, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
    entry &= rights | ~(BIT_W | BIT_U);
    return entry | BIT_A | (access == MM_ACCESS_WRITE ? BIT_D : 0);
}

/* The entry of the page with the rights of all levels, A and D set; 0: a page fault. */
static uint64_t walk(uint64_t va, enum mm_access access, bool from_user)
{
    uint64_t *table = port_root_table();
    uint64_t rights = BIT_W | BIT_U;
    for (int shift = 39; shift > PAGE_SHIFT; shift -= 9) {
        uint64_t entry = __atomic_load_n(&table[va >> shift & 511], __ATOMIC_ACQUIRE);
        if ((entry & BIT_P) == 0) {
            return 0;
        }
        rights &= entry;
        table = phys_to_virt((phys_addr_t){entry & ADDRESS_BITS});
    }
    return mark(&table[va >> PAGE_SHIFT & 511], rights, access, from_user);
}

/* One try. Returns the place of the 8 bytes, or NULL: a page fault. */
static uint64_t *translate(uint64_t va, enum mm_access access, bool from_user)
{
    uint64_t page = ALIGN_DOWN(va, PAGE_BYTES);
    struct translation *t = slot_of(&mmus[cpu_index()], page);
    host_tlb_answer(); /* before an instruction, never within one */
    bool hit = t->page == (page | 1) && allowed(t->entry, access, from_user);
    /* The first store through a translation walks again, to set D. */
    if (!hit || (access == MM_ACCESS_WRITE && (t->entry & BIT_D) == 0)) {
        uint64_t entry = walk(va, access, from_user);
        if (entry == 0) {
            return NULL;
        }
        *t = (struct translation){page | 1, entry};
    }
    uint8_t *frame = phys_to_virt((phys_addr_t){t->entry & ADDRESS_BITS});
    return (uint64_t *)(void *)(frame + va % PAGE_BYTES);
}

uint64_t host_faults(void)
{
    return atomic_load(&fault_count);
}

static int access_at(uint64_t va, enum mm_access access, bool from_user, uint64_t **ret)
{
    for (int i = 0; i < FAULTS_MAX; i++) {
        *ret = translate(va, access, from_user);
        if (*ret != NULL) {
            return 0;
        }
        atomic_fetch_add_explicit(&fault_count, 1, memory_order_relaxed);
        int r = mm_fault_since(mm_current(), va, access, from_user, mm_fault_begins());
        if (r < 0) {
            return r;
        }
    }
    host_violation("the same access faults for ever", va);
    return -ELOOP;
}

int host_load(uint64_t va, bool from_user, uint64_t *ret)
{
    uint64_t *at;
    int r = access_at(va, MM_ACCESS_READ, from_user, &at);
    if (r == 0) {
        *ret = *at;
    }
    return r;
}

int host_store(uint64_t va, bool from_user, uint64_t value)
{
    uint64_t *at;
    int r = access_at(va, MM_ACCESS_WRITE, from_user, &at);
    if (r == 0) {
        *at = value;
    }
    return r;
}

int host_execute(uint64_t va)
{
    uint64_t *at;
    return access_at(va, MM_ACCESS_EXEC, true, &at);
}
