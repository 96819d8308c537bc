/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's end of an instance's control channel (lib/wire/ctl.h): a unix socket that QEMU
 * connects to. Runs on the loop. The guest is not trusted: what breaks the rules ends the channel.
 */
#ifndef DILOS_AGENT_CTL_CHANNEL_H
#define DILOS_AGENT_CTL_CHANNEL_H

#include <stdint.h>

#include "lib/base/compiler.h"
#include "lib/wire/ctl.h"

struct event_base;
struct ctl_channel;

struct ctl_callbacks {
    void (*record)(void *context, uint16_t type, const uint8_t *body, uint32_t length);
    /* reason NULL: the VMM closed it. The channel takes nothing more. */
    void (*closed)(void *context, const char *reason);
    void *context;
};

/* Listens at `path`. Errors: -ENAMETOOLONG, -ENOMEM, of the system. */
int ctl_channel_open(struct event_base *base, const char *path,
                     const struct ctl_callbacks *callbacks, struct ctl_channel **ret) MUST_CHECK;
/* May not be called from a callback. */
struct ctl_channel *ctl_channel_close(struct ctl_channel *channel);

/* Errors: -ENOTCONN, -EAGAIN the guest does not read. */
int ctl_channel_send(struct ctl_channel *channel, uint16_t type, const void *body,
                     uint32_t length) MUST_CHECK;
/* Takes in what has come and was not looked at yet: the VMM is gone. */
void ctl_channel_drain(struct ctl_channel *channel);

#endif
