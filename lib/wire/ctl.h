/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control channel between agent and unikernel, over port 1 of a virtio-serial device (port 0 would
 * be a virtconsole, whose output QEMU drops when the reader is slow). A byte stream of records,
 * little endian: magic u16 0xd105, type u16, length u32 (of the body), body. A record that breaks
 * the rules below ends the channel: the agent stops the instance with that reason, the guest
 * ignores the channel from then on. Neither side trusts the other.
 *
 * Freestanding codecs, no I/O.
 */
#ifndef DILOS_LIB_WIRE_CTL_H
#define DILOS_LIB_WIRE_CTL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/compiler.h"

#define CTL_MAGIC          0xd105u
#define CTL_HEADER_BYTES   8u
#define CTL_BODY_BYTES_MAX 65536u
#define CTL_VERSION        1u
#define CTL_TUNE_BYTES_MAX 128u

enum ctl_type {
    /* guest to agent */
    CTL_HELLO = 1,   /* version u32, zero u32, guest-physical address of struct gueststats u64 */
    CTL_LOG = 2,     /* level u8 (enum ctl_level), text */
    CTL_OUTPUT = 3,  /* descriptor u8 (1 stdout, 2 stderr), bytes */
    CTL_EXIT = 4,    /* kind u8 (enum ctl_exit_kind), zero u8, zero u16, code i32, reason text */
    CTL_SYSCALL = 5, /* a syscall that answered ENOSYS for the first time: number u32, name text */
    CTL_TUNED = 6,   /* answers CTL_TUNE: struct ctl_tuned */
    CTL_RESIZED = 7, /* answers CTL_RESIZE: struct ctl_resized */
    /* agent to guest */
    CTL_SIGNAL = 64, /* signal number u32 (Linux), to the program */
    CTL_INPUT = 65,  /* bytes of stdin; an empty body is the end of file */
    CTL_TUNE = 66,   /* "key=value" text, 1..CTL_TUNE_BYTES_MAX bytes, e.g. "prefetch=trend" */
    CTL_RESIZE = 67, /* local memory u64, bytes */
    CTL_FAR = 68,    /* far memory u64, bytes that it may hold from now on; no answer */
};

enum ctl_level { CTL_LEVEL_ERROR = 0, CTL_LEVEL_WARNING = 1, CTL_LEVEL_INFO = 2 };

enum ctl_exit_kind {
    CTL_EXITED = 0,    /* code: exit status 0..255 */
    CTL_SIGNALED = 1,  /* code: signal number; reason: e.g. "SIGSEGV at 0x0 (ip 0x401136)" */
    CTL_FAR_LOST = 2,  /* a far read or write failed for good; reason names the page */
    CTL_NO_MEMORY = 3, /* neither frame nor far memory left; reason says which */
    CTL_REFUSED = 4,   /* the program can't be started; reason names cause and remedy */
    CTL_PANIC = 5,     /* the kernel's own bug; reason holds message and backtrace */
};

struct ctl_header {
    uint16_t type;
    uint32_t length; /* of the body, <= CTL_BODY_BYTES_MAX */
};

/* Writes CTL_HEADER_BYTES. */
void ctl_header_encode(const struct ctl_header *header, uint8_t *data);

/*
 * Reads CTL_HEADER_BYTES. Errors: -EPROTO bad magic or a type that does not exist, -EMSGSIZE
 * length above the limit.
 */
int ctl_header_decode(const uint8_t *data, struct ctl_header *ret) MUST_CHECK;

struct ctl_exit {
    uint8_t kind; /* enum ctl_exit_kind */
    int32_t code;
    const char *reason; /* not NUL terminated */
    uint32_t reason_length;
};

/* Body of CTL_EXIT. Encoding errors: -EMSGSIZE; decoding errors: -EPROTO. */
int ctl_exit_encode(const struct ctl_exit *exit, void *data, size_t capacity,
                    size_t *ret_length) MUST_CHECK;
int ctl_exit_decode(const void *data, size_t length, struct ctl_exit *ret) MUST_CHECK;

/* Body of CTL_TUNED. Each CTL_TUNE gets one, in order. */
struct ctl_tuned {
    int32_t status;   /* 0, or a negative errno: -ENOENT no such key, -EINVAL no such value */
    const char *text; /* what holds now, or cause and remedy; not NUL terminated */
    uint32_t text_length;
};

/* Encoding errors: -EMSGSIZE; decoding errors: -EPROTO. */
int ctl_tuned_encode(const struct ctl_tuned *tuned, void *data, size_t capacity,
                     size_t *ret_length) MUST_CHECK;
int ctl_tuned_decode(const void *data, size_t length, struct ctl_tuned *ret) MUST_CHECK;

/* Body of CTL_RESIZED. Each CTL_RESIZE gets one, in order. */
struct ctl_resized {
    int32_t status; /* 0, or a negative errno: -ERANGE it can't be so small or so large */
    uint64_t bytes; /* 0: the local memory now. -ERANGE: the nearest possible value. */
};

#define CTL_RESIZED_BYTES 12u

void ctl_resized_encode(const struct ctl_resized *resized, uint8_t *data);
/* Errors: -EPROTO. */
int ctl_resized_decode(const void *data, size_t length, struct ctl_resized *ret) MUST_CHECK;

#endif
