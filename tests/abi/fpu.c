/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that keep numbers of their own in all vector registers, in MXCSR and in the x87 control
 * word, while they are preempted, make system calls and fault. Each looks at all of them after
 * each round.
 *
 * usage: fpu MIB [ROUNDS [avx512]]   (of memory that is walked; more than is local to make faults)
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 3

struct registers {
    uint8_t vector[32][64]; /* AVX: the first half of the first 16 */
    uint64_t masks[8];      /* AVX-512 */
    uint32_t mxcsr;
    uint16_t fcw;
};
#define MASKS "2048"
#define MXCSR "2112"
#define FCW   "2116"
_Static_assert(offsetof(struct registers, masks) == 2048, "MASKS");
_Static_assert(offsetof(struct registers, mxcsr) == 2112, "MXCSR");
_Static_assert(offsetof(struct registers, fcw) == 2116, "FCW");

static atomic_int failures;
static volatile uint8_t *memory;
static size_t page_count;
static int rounds = 400;
static int avx512;

#define LOAD(n)     "vmovdqu " #n "*64(%1), %%ymm" #n "\n"
#define STORE(n)    "vmovdqu %%ymm" #n ", " #n "*64(%2)\n"
#define LOAD512(n)  "vmovdqu64 " #n "*64(%1), %%zmm" #n "\n"
#define STORE512(n) "vmovdqu64 %%zmm" #n ", " #n "*64(%2)\n"
#define LOADK(n)    "kmovq " MASKS "+" #n "*8(%1), %%k" #n "\n"
#define STOREK(n)   "kmovq %%k" #n ", " MASKS "+" #n "*8(%2)\n"
#define FIRST8(X)   X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define FIRST16(X)  FIRST8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define LAST16(X)                                                                                  \
    X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)

/*
 * Loads all of `in`, does something for a while without leaving the assembly, stores all to `out`.
 * what 0: spins; 1: touches a byte (a fault); 2: sched_yield().
 */
#define HOLD(loads, stores)                                                                        \
    long a = what == 0 ? 300000 : 1;                                                               \
    __asm__ volatile("ldmxcsr " MXCSR "(%1)\n"                                                     \
                     "fldcw " FCW "(%1)\n" loads "cmpl $1, %3\n"                                   \
                     "je 2f\n"                                                                     \
                     "ja 3f\n"                                                                     \
                     "1: decq %0\n"                                                                \
                     "jnz 1b\n"                                                                    \
                     "jmp 4f\n"                                                                    \
                     "2: incb (%4)\n"                                                              \
                     "jmp 4f\n"                                                                    \
                     "3: movl %5, %%eax\n"                                                         \
                     "syscall\n"                                                                   \
                     "4:\n" stores "stmxcsr " MXCSR "(%2)\n"                                       \
                     "fnstcw " FCW "(%2)\n"                                                        \
                     "vzeroupper\n"                                                                \
                     : "+r"(a)                                                                     \
                     : "r"(in), "r"(out), "r"(what), "r"(at), "i"(SYS_sched_yield)                 \
                     : "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",        \
                       "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",  \
                       "xmm13", "xmm14", "xmm15" HOLD_CLOBBERS)
#define HOLD_CLOBBERS

__attribute__((noinline, target("avx"))) static void
hold(const struct registers *in, struct registers *out, int what, volatile uint8_t *at)
{
    HOLD(FIRST16(LOAD), FIRST16(STORE));
}

#undef HOLD_CLOBBERS
#define HOLD_CLOBBERS                                                                              \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",    \
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6",  \
        "k7"

__attribute__((noinline, target("avx512f,avx512bw"))) static void
hold512(const struct registers *in, struct registers *out, int what, volatile uint8_t *at)
{
    HOLD(FIRST16(LOAD512) LAST16(LOAD512) FIRST8(LOADK),
         FIRST16(STORE512) LAST16(STORE512) FIRST8(STOREK));
}

/* Does the processor have it, and does the kernel keep it (XCR0: Intel SDM vol. 1, 13.3)? */
static int has_avx512(void)
{
    uint32_t low = 0, high;
    if (__builtin_cpu_supports("avx")) { /* so there is XGETBV */
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    }
    return (low & 0xe0) == 0xe0 && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw");
}

/* What is held of `in`, as it is stored. */
static struct registers held_of(const struct registers *in)
{
    struct registers held;
    memset(&held, 0, sizeof(held));
    held.mxcsr = in->mxcsr;
    held.fcw = in->fcw;
    for (int i = 0; i < (avx512 ? 32 : 16); i++) {
        memcpy(held.vector[i], in->vector[i], avx512 ? 64 : 32);
    }
    if (avx512) {
        memcpy(held.masks, in->masks, sizeof(held.masks));
    }
    return held;
}

static void fill(struct registers *r, uint32_t seed)
{
    for (size_t i = 0; i < offsetof(struct registers, mxcsr); i++) {
        seed = seed * 1664525u + 1013904223u;
        ((uint8_t *)r)[i] = (uint8_t)(seed >> 24);
    }
    r->mxcsr = 0x1f80u | (seed >> 10 & 3) << 13; /* rounding */
    r->fcw = (uint16_t)(0x37f | (seed >> 12 & 3) << 10);
}

static void *run(void *argument)
{
    uint32_t number = (uint32_t)(uintptr_t)argument;
    struct registers in, out;
    memset(&in, 0, sizeof(in));
    for (int round = 0; round < rounds; round++) {
        fill(&in, number << 24 | (uint32_t)round);
        memset(&out, 0, sizeof(out));
        size_t page = ((size_t)round * 97 + number * 31) % page_count;
        int what = round % 8 == 0 ? 0 : 1 + round % 2;
        (avx512 ? hold512 : hold)(&in, &out, what, memory + page * 4096 + number);
        struct registers held = held_of(&in);
        if (memcmp(&held, &out, sizeof(out)) != 0) {
            atomic_fetch_add(&failures, 1);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    page_count = (size_t)atoi(argc > 1 ? argv[1] : "1") * 256;
    rounds = argc > 2 ? atoi(argv[2]) : rounds;
    avx512 = argc > 3 && strcmp(argv[3], "avx512") == 0;
    if (avx512 && !has_avx512()) {
        puts("skipped: the processor has no AVX-512");
        return 0;
    }
    memory =
        mmap(NULL, page_count * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || !__builtin_cpu_supports("avx")) {
        puts("no AVX or no memory");
        return 2;
    }
    for (size_t i = 0; i < page_count; i++) {
        memory[i * 4096 + 4095] = (uint8_t)i;
    }
    for (uintptr_t i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, run, (void *)i);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    for (size_t i = 0; i < page_count; i++) {
        if (memory[i * 4096 + 4095] != (uint8_t)i) {
            atomic_fetch_add(&failures, 1);
        }
    }
    printf("failures=%d\n", atomic_load(&failures));
    return atomic_load(&failures) != 0;
}
