/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that keep numbers of their own in all vector registers, in MXCSR and in the x87 control
 * word, while they are preempted, make system calls and fault. Each looks at all of them after
 * each round.
 *
 * usage: fpu MIB [ROUNDS]   (of memory that is walked; more than is local to make faults)
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 3

struct registers {
    uint8_t vector[16][32];
    uint32_t mxcsr;
    uint16_t fcw;
};

static atomic_int failures;
static volatile uint8_t *memory;
static size_t page_count;
static int rounds = 400;

#define LOAD(n)  "vmovdqu " #n "*32(%1), %%ymm" #n "\n"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%2)\n"
#define LOW(X)   X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define HIGH(X)  X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/*
 * Loads all of `in`, does something for a while without leaving the assembly, stores all to `out`.
 * what 0: spins; 1: touches a byte (a fault); 2: sched_yield().
 */
__attribute__((noinline, target("avx"))) static void
hold(const struct registers *in, struct registers *out, int what, volatile uint8_t *at)
{
    long a = what == 0 ? 300000 : 1;
    __asm__ volatile(
        "ldmxcsr 512(%1)\n"
        "fldcw 516(%1)\n" LOW(LOAD) HIGH(LOAD) "cmpl $1, %3\n"
                                               "je 2f\n"
                                               "ja 3f\n"
                                               "1: decq %0\n"
                                               "jnz 1b\n"
                                               "jmp 4f\n"
                                               "2: incb (%4)\n"
                                               "jmp 4f\n"
                                               "3: movl %5, %%eax\n"
                                               "syscall\n"
                                               "4:\n" LOW(STORE) HIGH(STORE) "stmxcsr 512(%2)\n"
                                                                             "fnstcw 516(%2)\n"
                                                                             "vzeroupper\n"
        : "+r"(a)
        : "r"(in), "r"(out), "r"(what), "r"(at), "i"(SYS_sched_yield)
        : "rax", "rcx", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5",
          "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static void fill(struct registers *r, uint32_t seed)
{
    for (size_t i = 0; i < sizeof(r->vector); i++) {
        seed = seed * 1664525u + 1013904223u;
        ((uint8_t *)r->vector)[i] = (uint8_t)(seed >> 24);
    }
    r->mxcsr = 0x1f80u | (seed >> 10 & 3) << 13; /* rounding */
    r->fcw = (uint16_t)(0x37f | (seed >> 12 & 3) << 10);
}

static void *run(void *argument)
{
    uint32_t number = (uint32_t)(uintptr_t)argument;
    struct registers in, out;
    for (int round = 0; round < rounds; round++) {
        fill(&in, number << 24 | (uint32_t)round);
        memset(&out, 0, sizeof(out));
        size_t page = ((size_t)round * 97 + number * 31) % page_count;
        hold(&in, &out, round % 8 == 0 ? 0 : 1 + round % 2, memory + page * 4096 + number);
        if (memcmp(in.vector, out.vector, sizeof(in.vector)) != 0 || in.mxcsr != out.mxcsr ||
            in.fcw != out.fcw) {
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
