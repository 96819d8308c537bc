/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The boot specification: what one unikernel is to run, and with how much memory.
 *
 * The agent (or a test) encodes it into a file that the VMM loads as the first PVH module
 * (QEMU: -initrd), so a guest boots the same with and without an agent. Layout, little endian:
 * magic u32 "DBSP", version u16, item count u16, then items
 *     type u16, zero u16, length u32, `length` bytes, zero bytes up to a multiple of 8.
 * Unknown item types are an error: a specification that the kernel can't follow must not run.
 *
 * Freestanding. Decoding does not copy: strings point into the decoded bytes.
 */
#ifndef DILOS_LIB_WIRE_BOOTSPEC_H
#define DILOS_LIB_WIRE_BOOTSPEC_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define BOOTSPEC_MAGIC            0x50534244u
#define BOOTSPEC_VERSION          1u
#define BOOTSPEC_BYTES_MAX        (256 * 1024)
#define BOOTSPEC_ARGUMENTS_MAX    1024
#define BOOTSPEC_ENVIRONMENT_MAX  512
#define BOOTSPEC_STRING_BYTES_MAX 131072
#define BOOTSPEC_SEED_BYTES       32

enum bootspec_item {
    BOOTSPEC_ARGUMENT = 1,    /* string without NUL; repeated, in order; [0] is the program path */
    BOOTSPEC_ENVIRONMENT = 2, /* "NAME=value"; repeated */
    BOOTSPEC_DIRECTORY = 3,   /* working directory, absolute */
    BOOTSPEC_HOSTNAME = 4,
    BOOTSPEC_LOCAL_BYTES = 5, /* u64: guest frames that may be used, kernel included; 0: all RAM */
    BOOTSPEC_FAR_BYTES = 6,   /* u64: far memory that this instance may hold; 0: none */
    BOOTSPEC_SLAB_BYTES = 7,  /* u64: size of a slab, a power of two */
    BOOTSPEC_SEED = 8,        /* 32 bytes of entropy */
    BOOTSPEC_REALTIME_NS = 9, /* u64: wall clock at start, nanoseconds since 1970 UTC */
    BOOTSPEC_MODE = 10,       /* u64: enum bootspec_mode */
    BOOTSPEC_USER = 11,       /* u64: uid << 32 | gid */
    BOOTSPEC_PREFETCH = 12,   /* name of the prefetcher: none, readahead, trend */
    BOOTSPEC_VCPUS = 13,      /* u64: virtual processors of the machine; 0: one */
};

enum bootspec_mode {
    BOOTSPEC_RUN = 0,          /* run the program */
    BOOTSPEC_PROBE = 1,        /* print "dilos: probe ok" and leave: does this accelerator work? */
    BOOTSPEC_BENCH_DEVICE = 2, /* time bare reads of the far device, then run the program */
};

struct bootspec_string {
    const char *data; /* not NUL terminated, holds no NUL */
    uint32_t length;
};

struct bootspec {
    uint32_t argument_count;
    uint32_t environment_count;
    struct bootspec_string arguments[BOOTSPEC_ARGUMENTS_MAX];
    struct bootspec_string environment[BOOTSPEC_ENVIRONMENT_MAX];
    struct bootspec_string directory; /* length 0: "/" */
    struct bootspec_string hostname;  /* length 0: "dilos" */
    struct bootspec_string prefetch;  /* length 0: none */
    uint64_t local_bytes;
    uint64_t far_bytes;
    uint64_t slab_bytes;
    uint8_t seed[BOOTSPEC_SEED_BYTES];
    uint64_t realtime_ns;
    uint64_t mode; /* enum bootspec_mode */
    uint64_t vcpus;
    uint32_t uid;
    uint32_t gid;
};

/*
 * Writes `spec` to `data`. Errors: -EMSGSIZE capacity too small or a limit above is passed,
 * -EINVAL a string holds a NUL or slab_bytes is not a power of two.
 */
int bootspec_encode(const struct bootspec *spec, void *data, size_t capacity,
                    size_t *ret_length) MUST_CHECK;

/*
 * Reads `length` bytes; `ret` points into `data`, which must outlive it. Errors: -EPROTO bad
 * magic, truncated, unknown or malformed item; -EPROTONOSUPPORT version; -EMSGSIZE over a limit.
 */
int bootspec_decode(const void *data, size_t length, struct bootspec *ret) MUST_CHECK;

#endif
