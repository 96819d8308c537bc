/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records and commands as bytes, for the store. Little endian, texts with a length; one function
 * per record does both directions, so that they can't differ.
 */
#ifndef DILOS_CONTROLLER_CORE_CODEC_H
#define DILOS_CONTROLLER_CORE_CODEC_H

#include "controller/core/command.h"
#include "lib/base/bytes.h"

/* Exactly one of the two is set. */
struct codec {
    struct bytes_writer *to;
    struct bytes_reader *from;
};

void codec_meta(struct codec *c, struct core_meta *meta);
void codec_node(struct codec *c, struct node *node);
void codec_agent(struct codec *c, struct agent *agent);
void codec_instance(struct codec *c, struct instance *instance);
void codec_spec(struct codec *c, struct instance_spec *spec);
void codec_key(struct codec *c, struct request_key *key);
void codec_history(struct codec *c, struct history *history);
void codec_extent(struct codec *c, struct extent *extent);

/* Enough for any command and any record. */
#define CODEC_BYTES_MAX (CORE_SPEC_BYTES + CORE_EXTENTS_MAX * 32u + 16384u)

/* Returns the length; `to` holds CODEC_BYTES_MAX. */
uint32_t command_encode(struct command *command, uint8_t *to);
/* Errors: -EBADMSG. Slots, states and counts are in range afterwards; ret is scratch on failure. */
int command_decode(const uint8_t *data, uint32_t length, struct command *ret) MUST_CHECK;

/* After a record was read. Errors: -EBADMSG: cut short, too long, or a value out of range. */
int codec_end(const struct codec *c) MUST_CHECK;

#endif
