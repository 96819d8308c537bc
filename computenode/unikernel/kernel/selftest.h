/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DILOS_UNIKERNEL_KERNEL_SELFTEST_H
#define DILOS_UNIKERNEL_KERNEL_SELFTEST_H

/*
 * `selftest=NAME` on the command line makes the kernel do one thing for tests/boot and leave:
 * panic, check, null (touches an address that nothing is mapped at), stack (overflows it), heap,
 * random, sleep. Returns if there is no such word.
 */
void selftest(const char *cmdline);

#endif
