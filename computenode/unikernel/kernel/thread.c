/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/thread.h"

#include <errno.h>

#include "computenode/unikernel/arch/x86_64/cpu.h"
#include "computenode/unikernel/arch/x86_64/fpu.h"
#include "computenode/unikernel/arch/x86_64/lapic.h"
#include "computenode/unikernel/arch/x86_64/tlb.h"
#include "computenode/unikernel/arch/x86_64/x86.h"
#include "computenode/unikernel/far/pager.h"
#include "computenode/unikernel/kernel/kernel.h"
#include "computenode/unikernel/kernel/sched.h"
#include "computenode/unikernel/kernel/thread_memory.h"
#include "lib/base/check.h"
#include "lib/base/state.h"

#define TICK_NS        UINT64_C(100000000) /* at least; what is due sooner arms the timer */
#define SLICE_NS       UINT64_C(4000000)   /* while others are ready */
#define SLICE_YIELD_NS UINT64_C(200000)    /* while one is ready that waits for far memory */
#define IDLE_POLL_NS   UINT64_C(20000)
#define SWITCH_WORDS   7 /* what thread_switch() takes from a stack */

static const uint32_t moves[] = {
    [THREAD_NEW] = STATE_TO(THREAD_READY),
    [THREAD_READY] = STATE_TO(THREAD_RUNNING),
    [THREAD_RUNNING] = STATE_TO(THREAD_READY) | STATE_TO(THREAD_BLOCKED) | STATE_TO(THREAD_DEAD),
    [THREAD_BLOCKED] = STATE_TO(THREAD_READY),
    [THREAD_DEAD] = 0,
};

/* Of one processor; under sched_spin but for what is atomic. */
static struct queue {
    struct list ready;
    struct list sleepers; /* by deadline */
    struct thread *idle;
    _Atomic uint32_t ready_count;
    atomic_bool halts;   /* idle, and needs an interrupt to see what is ready */
    atomic_bool stopped; /* for good */
    bool reschedule;     /* its owner's: others are to run before ring 3 */
} queues[CPU_COUNT_MAX];

struct spin sched_spin;
static struct list dead;
static uint32_t program_count; /* threads of the program; under sched_spin, as the next */
static uint32_t stuck_count;
static bool signals_may_come; /* then nobody waits for ever for certain */
static atomic_bool stopping;
static struct thread boot_thread;

void thread_switch(uint64_t *save_rsp, uint64_t load_rsp);
void thread_entry(void);
NORETURN void thread_begin(void);

HOT struct thread *thread_current(void)
{
    return cpu_this()->thread;
}

HOT struct pager_thread *pager_thread(void)
{
    return &thread_current()->pager;
}

static struct queue *queue_here(void)
{
    return &queues[cpu_index()];
}

static void move(struct thread *t, enum thread_state to)
{
    CHECK(state_may_move(moves, t->state, to));
    t->state = to;
}

/* ---- switching ---- */

static void bases_load(const struct thread *from, const struct thread *to)
{
    if (to->owner == NULL) {
        return; /* never in ring 3 */
    }
    if (from->owner == NULL || from->fs_base != to->fs_base) {
        msr_write(MSR_FS_BASE, to->fs_base);
    }
    if (from->owner == NULL || from->gs_base != to->gs_base) {
        msr_write(MSR_KERNEL_GS_BASE, to->gs_base);
    }
}

static struct thread *pick(struct queue *q)
{
    struct list *first = list_first(&q->ready);
    if (first == NULL) {
        return q->idle;
    }
    list_remove(first);
    atomic_fetch_sub(&q->ready_count, 1);
    return list_entry(first, struct thread, link);
}

/* The running thread's state says what becomes of it. Returns when it runs again. */
HOT static void schedule(void)
{
    struct cpu *cpu = cpu_this();
    struct thread *from = cpu->thread;
    struct thread *to = pick(&queues[cpu->index]);
    move(to, THREAD_RUNNING);
    if (to == from) {
        return;
    }
    uint64_t now_ns = clock_ns();
    uint64_t ran_ns = now_ns - from->run_start_ns;
    from->run_ns += ran_ns;
    from->ran_short = ran_ns < SLICE_YIELD_NS;
    to->run_start_ns = now_ns;
    to->cpu = cpu->index;
    kernel_lock_switched(from, to);
    bases_load(from, to);
    cpu->thread = to;
    cpu_stack_set(cpu, to->stack_top);
    thread_switch(&from->rsp, to->rsp);
}

void thread_begin(void)
{
    struct thread *t = thread_current();
    spin_unlock(&sched_spin);
    t->start(t->argument);
    thread_exit();
}

/* ---- becoming ready ---- */

static bool is_idle(uint32_t cpu)
{
    return cpu_of(cpu)->thread == queues[cpu].idle && atomic_load(&queues[cpu].ready_count) == 0;
}

/* Where it ran last, if it may go on there and nobody else is there; or where nobody is. */
static uint32_t choose(const struct thread *t)
{
    uint32_t count = cpu_count(), best = t->cpu, least = UINT32_MAX;
    if (!t->may_move || ((t->affinity >> t->cpu & 1) != 0 && is_idle(t->cpu))) {
        return t->cpu;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t load = is_idle(i) ? 0 : 1 + atomic_load(&queues[i].ready_count);
        load = 2 * load + (i == t->cpu ? 0 : 1);
        if ((t->affinity >> i & 1) != 0 && load < least) {
            least = load;
            best = i;
        }
    }
    return best;
}

static void notify(uint32_t cpu)
{
    if (cpu != cpu_index()) {
        const struct cpu *to = cpu_of(cpu);
        bool busy = to->thread != queues[cpu].idle;
        bool late = busy && to->timer_ns > clock_ns() + SLICE_NS; /* thread_poked() */
        if (late || atomic_load(&queues[cpu].halts) || atomic_load(&to->waits_for_device)) {
            lapic_interrupt(cpu);
        }
    } else if (thread_current() != queues[cpu].idle) {
        lapic_timer(clock_ns() + SLICE_NS);
    }
}

static void enqueue(struct thread *t, bool first)
{
    t->cpu = choose(t);
    struct queue *q = &queues[t->cpu];
    if (first) {
        list_prepend(&q->ready, &t->link);
    } else {
        list_append(&q->ready, &t->link);
    }
    atomic_fetch_add(&q->ready_count, 1);
}

void sched_ready(struct thread *t)
{
    move(t, THREAD_READY);
    enqueue(t, false);
    notify(t->cpu);
}

void sched_block(void)
{
    struct thread *t = thread_current();
    t->may_move = false;
    move(t, THREAD_BLOCKED);
    schedule();
}

/* ---- birth and death ---- */

struct thread *thread_boot(void)
{
    for (uint32_t i = 0; i < CPU_COUNT_MAX; i++) {
        list_init(&queues[i].ready);
        list_init(&queues[i].sleepers);
    }
    list_init(&dead);
    boot_thread = (struct thread){.state = THREAD_RUNNING, .affinity = 1, .idle = true};
    list_init(&boot_thread.link);
    list_init(&boot_thread.sleep_link);
    queues[0].idle = &boot_thread;
    return &boot_thread;
}

static struct thread *dead_take(void)
{
    spin_lock(&sched_spin);
    struct list *first = list_first(&dead);
    if (first != NULL) {
        list_remove(first);
    }
    spin_unlock(&sched_spin);
    return first != NULL ? list_entry(first, struct thread, link) : NULL;
}

int thread_create(void (*start)(void *argument), void *argument, void *owner, struct thread **ret)
{
    struct thread *t;
    while ((t = dead_take()) != NULL) {
        thread_memory_give(t);
    }
    int r = thread_memory_take(&t);
    if (r != 0) {
        return r;
    }
    list_init(&t->link);
    list_init(&t->sleep_link);
    t->start = start;
    t->argument = argument;
    t->owner = owner;
    t->cpu = cpu_index();
    t->affinity = UINT16_MAX;
    t->may_move = true;
    uint64_t *top = (uint64_t *)(uintptr_t)t->stack_top;
    top[-1] = (uint64_t)(uintptr_t)thread_entry;
    t->rsp = t->stack_top - SWITCH_WORDS * sizeof(uint64_t);
    for (int i = 2; i <= SWITCH_WORDS; i++) {
        top[-i] = 0;
    }
    *ret = t;
    return 0;
}

int thread_create_idle(uint32_t cpu, struct thread **ret)
{
    struct thread *t;
    int r = thread_create(NULL, NULL, NULL, &t);
    if (r == 0) {
        t->state = THREAD_RUNNING;
        t->idle = true;
        t->cpu = cpu;
        t->affinity = (uint16_t)(1u << cpu);
        queues[cpu].idle = t;
        *ret = t;
    }
    return r;
}

void thread_discard(struct thread *t)
{
    CHECK(t->state == THREAD_NEW);
    thread_memory_give(t);
}

void thread_start(struct thread *t)
{
    spin_lock(&sched_spin);
    program_count += t->owner != NULL ? 1 : 0;
    sched_ready(t);
    spin_unlock(&sched_spin);
}

void thread_adopt(void *owner)
{
    struct thread *t = thread_current();
    CHECK(t->owner == NULL);
    spin_lock(&sched_spin);
    t->owner = owner;
    program_count++;
    spin_unlock(&sched_spin);
    user_fs_base_set(0);
    user_gs_base_set(0);
}

void thread_exit(void)
{
    struct thread *t = thread_current();
    CHECK(!kernel_lock_held());
    fpu_forget_current();
    spin_lock(&sched_spin);
    program_count -= t->owner != NULL ? 1 : 0;
    move(t, THREAD_DEAD);
    /* Whoever takes it from there needs the spin lock, which is given back on another stack. */
    list_append(&dead, &t->link);
    schedule();
    __builtin_unreachable();
}

/* ---- waiting ---- */

static void sleepers_insert(struct queue *q, struct thread *t)
{
    struct list *at = q->sleepers.prev;
    while (at != &q->sleepers &&
           list_entry(at, struct thread, sleep_link)->deadline_ns > t->deadline_ns) {
        at = at->prev;
    }
    list_insert_before(at->next, &t->sleep_link);
}

/* Under the spin lock. */
static void wake(struct thread *t, bool first)
{
    if (!t->waits) { /* it runs, or is blocked by the kernel lock, which wakes it itself */
        return;
    }
    t->waits = false;
    list_remove(&t->sleep_link);
    if (t->stuck) {
        t->stuck = false;
        stuck_count--;
    }
    move(t, THREAD_READY);
    enqueue(t, first);
    if (first && t->cpu == cpu_index()) {
        queues[t->cpu].reschedule = true;
    }
    notify(t->cpu);
}

/* Under the spin lock: blocks until something ends the wait. */
static void block(struct thread *t, uint64_t deadline_ns, bool stuck)
{
    t->deadline_ns = deadline_ns;
    if (deadline_ns != THREAD_NEVER) {
        sleepers_insert(queue_here(), t);
        lapic_timer(deadline_ns);
    }
    t->stuck = stuck;
    stuck_count += stuck ? 1 : 0;
    t->may_move = true;
    t->waits = true;
    fpu_save_current();
    move(t, THREAD_BLOCKED);
    schedule();
}

int thread_wait(uint64_t deadline_ns, enum thread_wait kind)
{
    struct thread *t = thread_current();
    CHECK(!t->idle);
    bool stuck = kind == THREAD_WAIT_THREAD && deadline_ns == THREAD_NEVER && t->owner != NULL &&
                 !signals_may_come;
    int r = 0;
    uint32_t depth = kernel_lock_drop();
    spin_lock(&sched_spin);
    if (!t->woken && !t->interrupted) {
        if (stuck && stuck_count + 1 == program_count) {
            r = -EDEADLK;
        } else {
            block(t, deadline_ns, stuck);
        }
    }
    if (r == 0 && !t->woken) {
        r = t->interrupted ? -EINTR : -ETIMEDOUT;
    }
    spin_unlock(&sched_spin);
    kernel_lock_retake(depth);
    t->woken = false;
    return r;
}

void thread_wake(struct thread *t)
{
    spin_lock(&sched_spin);
    t->woken = true;
    wake(t, false);
    spin_unlock(&sched_spin);
}

void thread_wake_urgent(struct thread *t)
{
    spin_lock(&sched_spin);
    t->woken = true;
    wake(t, true);
    spin_unlock(&sched_spin);
}

void thread_interrupt(struct thread *t, bool on)
{
    spin_lock(&sched_spin);
    t->interrupted = on;
    if (on) {
        wake(t, false);
    }
    spin_unlock(&sched_spin);
}

void thread_kick(struct thread *t)
{
    spin_lock(&sched_spin);
    if (t->state == THREAD_RUNNING && t->cpu != cpu_index()) {
        lapic_interrupt(t->cpu);
    }
    spin_unlock(&sched_spin);
}

void thread_signals_may_come(void)
{
    signals_may_come = true;
}

void thread_affinity_set(struct thread *t, uint16_t mask)
{
    spin_lock(&sched_spin);
    t->affinity = mask;
    spin_unlock(&sched_spin);
}

uint64_t thread_run_ns(const struct thread *t)
{
    bool runs = t->state == THREAD_RUNNING;
    return t->run_ns + (runs ? clock_ns() - t->run_start_ns : 0);
}

uint32_t thread_program_count(void)
{
    return program_count;
}

bool thread_others_stuck(void)
{
    spin_lock(&sched_spin);
    bool all = stuck_count != 0 && stuck_count + 1 == program_count;
    spin_unlock(&sched_spin);
    return all;
}

/* ---- taking turns ---- */

/*
 * Who yields waits for far memory, and wants to go on as soon as that is there: if the next one
 * does not soon wait, too, as it did the last time, the timer interrupts it. Each such interrupt
 * costs, under emulation most of all, so not for one that comes back by itself.
 */
static void limit_next(const struct queue *q)
{
    const struct thread *next = list_entry(list_first(&q->ready), struct thread, link);
    lapic_timer(clock_ns() + (next->ran_short ? SLICE_NS : SLICE_YIELD_NS));
}

NOINLINE HOT bool thread_yield(void)
{
    struct queue *q = queue_here();
    if (atomic_load_explicit(&q->ready_count, memory_order_relaxed) == 0) {
        return false;
    }
    /* Threads that wait may let each other run for long, and none of them comes to cpu_relax(). */
    if (cpu_is_asked(cpu_this())) {
        tlb_answer();
    }
    spin_lock(&sched_spin);
    struct thread *t = thread_current();
    bool others = atomic_load(&q->ready_count) != 0;
    if (others) {
        move(t, THREAD_READY);
        t->may_move = false;
        if (!t->idle) {
            limit_next(q);
            list_append(&q->ready, &t->link);
            atomic_fetch_add(&q->ready_count, 1);
        }
        schedule();
    }
    spin_unlock(&sched_spin);
    return others;
}

/* The running thread, on its way to ring 3, goes to the end of the queue of where it may run. */
NOINLINE static void preempt(void)
{
    struct thread *t = thread_current();
    spin_lock(&sched_spin);
    queue_here()->reschedule = false;
    move(t, THREAD_READY);
    t->may_move = true;
    fpu_save_current();
    enqueue(t, false);
    notify(t->cpu);
    schedule();
    spin_unlock(&sched_spin);
}

void thread_reschedule(void)
{
    queue_here()->reschedule = true;
}

void thread_timer(uint64_t again_ns)
{
    struct queue *q = queue_here();
    uint64_t now_ns = clock_ns();
    struct list *first;
    spin_lock(&sched_spin);
    while ((first = list_first(&q->sleepers)) != NULL &&
           list_entry(first, struct thread, sleep_link)->deadline_ns <= now_ns) {
        wake(list_entry(first, struct thread, sleep_link), false);
    }
    bool others = atomic_load(&q->ready_count) != 0;
    bool idle = thread_current()->idle && !others;
    uint64_t next_ns = now_ns + (others ? SLICE_NS : TICK_NS);
    if (!idle) {
        next_ns = MIN(next_ns, again_ns);
    }
    if (first != NULL) {
        next_ns = MIN(next_ns, list_entry(first, struct thread, sleep_link)->deadline_ns);
    }
    q->reschedule = others;
    spin_unlock(&sched_spin);
    lapic_timer(next_ns);
}

COLD void thread_stop_here(void)
{
    atomic_store(&cpu_this()->tlb, CPU_TLB_IDLE); /* nobody waits for us */
    tlb_answer();
    atomic_store(&queue_here()->stopped, true);
    for (;;) {
        __asm__ volatile("hlt");
    }
}

void thread_stop_if_asked(void)
{
    if (atomic_load_explicit(&stopping, memory_order_relaxed)) {
        thread_stop_here();
    }
}

HOT void thread_before_user(void)
{
    for (;;) {
        struct queue *q = queue_here();
        struct thread *t = thread_current();
        thread_stop_if_asked();
        bool elsewhere = (t->affinity >> cpu_index() & 1) == 0;
        if (!elsewhere && (!q->reschedule || atomic_load(&q->ready_count) == 0)) {
            return;
        }
        preempt();
    }
}

/* ---- idling ---- */

/* A thread that another processor has no time for. Under the spin lock. */
static bool steal(uint32_t here)
{
    uint32_t count = cpu_count();
    for (uint32_t i = 1; i < count; i++) {
        struct queue *q = &queues[(here + i) % count];
        list_for_each (node, &q->ready) {
            struct thread *t = list_entry(node, struct thread, link);
            if (t->may_move && (t->affinity >> here & 1) != 0) {
                list_remove(node);
                atomic_fetch_sub(&q->ready_count, 1);
                list_append(&queues[here].ready, node);
                atomic_fetch_add(&queues[here].ready_count, 1);
                t->cpu = here;
                return true;
            }
        }
    }
    return false;
}

static void run_others(void)
{
    spin_lock(&sched_spin);
    if (atomic_load(&queue_here()->ready_count) != 0 || steal(cpu_index())) {
        move(thread_current(), THREAD_READY);
        schedule();
    }
    spin_unlock(&sched_spin);
}

/* True if something became ready within a short time: halting and being woken costs more. */
static bool poll_ready(const struct queue *q)
{
    uint64_t start_ns = clock_ns();
    bool ready = atomic_load(&q->ready_count) != 0;
    while (!ready && cpu_count() > 1 && clock_ns() - start_ns < IDLE_POLL_NS) {
        cpu_relax();
        ready = atomic_load(&q->ready_count) != 0;
    }
    return ready;
}

void thread_idle(void)
{
    struct queue *q = queue_here();
    lapic_timer(clock_ns() + TICK_NS);
    for (;;) {
        run_others();
        thread_stop_if_asked();
        if (pager_idle() || poll_ready(q)) {
            cpu_interrupts_take();
            continue;
        }
        atomic_store(&q->halts, true);
        if (atomic_load(&q->ready_count) == 0 && !atomic_load(&stopping)) {
            cpu_halt();
        }
        atomic_store(&q->halts, false);
    }
}

void thread_poked(void)
{
    if (atomic_load(&queue_here()->ready_count) != 0 && !thread_current()->idle) {
        lapic_timer(clock_ns() + SLICE_NS);
    }
}

bool thread_stop_others(uint64_t wait_ns)
{
    uint64_t start_ns = clock_ns();
    uint32_t count = cpu_count(), here = cpu_index();
    bool all = false;
    atomic_store(&stopping, true);
    for (uint32_t i = 0; i < count; i++) {
        if (i != here) {
            lapic_interrupt(i);
        }
    }
    while (!all && clock_ns() - start_ns < wait_ns) {
        all = true;
        for (uint32_t i = 0; i < count; i++) {
            all = all && (i == here || atomic_load(&queues[i].stopped));
        }
        cpu_relax();
    }
    return all;
}
