/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tiny guest needs: system calls without a library, and its start. A guest defines
 * guest_main(); what it returns is its exit status.
 */
#ifndef DILOS_TESTS_BOOT_GUESTS_GUEST_H
#define DILOS_TESTS_BOOT_GUESTS_GUEST_H

#include <stddef.h>
#include <stdint.h>

#define SYS_READ       0
#define SYS_WRITE      1
#define SYS_MMAP       9
#define SYS_MUNMAP     11
#define SYS_MADVISE    28
#define SYS_PAUSE      34
#define SYS_EXIT_GROUP 231

int guest_main(int argc, char **argv);
__attribute__((noreturn, used)) void guest_start(long *stack);

static inline long guest_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long guest_write(int descriptor, const void *bytes, size_t length)
{
    return guest_syscall(SYS_WRITE, descriptor, (long)bytes, (long)length, 0, 0, 0);
}

static inline size_t guest_length(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

static inline void guest_say(const char *text)
{
    (void)guest_write(1, text, guest_length(text));
}

/* "name=value\n" */
static inline void guest_say_number(const char *name, uint64_t value)
{
    char digits[24];
    size_t at = sizeof(digits);
    digits[--at] = '\n';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    digits[--at] = '=';
    guest_say(name);
    (void)guest_write(1, digits + at, sizeof(digits) - at);
}

/* Readable, writable, anonymous memory. */
static inline void *guest_map(size_t bytes)
{
    return (void *)guest_syscall(SYS_MMAP, 0, (long)bytes, 3, 0x22, -1, 0);
}

__asm__(".text\n.globl _start\n_start:\n xor %ebp,%ebp\n mov %rsp,%rdi\n and $-16,%rsp\n"
        " call guest_start\n hlt\n");

void guest_start(long *stack)
{
    int status = guest_main((int)stack[0], (char **)(stack + 1));
    (void)guest_syscall(SYS_EXIT_GROUP, status, 0, 0, 0, 0, 0);
    for (;;) {
    }
}

#endif
