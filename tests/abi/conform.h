/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small checks of what Linux promises, run natively (are they true?) and in the unikernel. The
 * programs are ordinary Linux programs; they print TAP.
 */
#ifndef DILOS_TESTS_ABI_CONFORM_H
#define DILOS_TESTS_ABI_CONFORM_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/tap.h"

#define PAGE 4096

/* A call that must fail with an errno. */
#define EXPECT_ERRNO(call, error)                                                                  \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long tap_rc = (long)(call);                                                                \
        EXPECT_EQ(tap_rc, -1);                                                                     \
        EXPECT_EQ(errno, error);                                                                   \
    } while (0)

#endif
