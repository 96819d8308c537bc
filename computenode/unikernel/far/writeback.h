/* SPDX-License-Identifier: Apache-2.0 */
/* Writing dirty pages to far memory ahead of their eviction. */
#ifndef DILOS_UNIKERNEL_FAR_WRITEBACK_H
#define DILOS_UNIKERNEL_FAR_WRITEBACK_H

#include <stdbool.h>

#include "computenode/unikernel/far/io.h"

#define WRITES_IN_FLIGHT_MAX 16 /* requests of a processor */
/* Failed writes in a row after which only faults that find no frame try again. */
#define WRITE_FAILURES_MAX 8

void writeback_init(void);

/*
 * Starts to write the dirty page of a claimed frame, together with dirty neighbours, if it and
 * they are unused, flushed and not pinned, and if writing makes sense now. true: started, the frame
 * is no more the caller's. Fault context.
 */
bool writeback_start(struct frame *frame);

/* Called by io_poll(). A page whose write failed stays local and dirty. */
void writeback_done(const struct io_request *request);

/* Pages that are being written, by all processors. */
uint64_t writeback_pages(void);

/* Far memory was given back: writes may succeed again. */
void writeback_room_again(void);
/*
 * A fault needs a frame: allows up to `count` further writes although the last one failed, as long
 * as not too many have been refused since far memory last took something new.
 */
void writeback_probe(uint32_t count);
/* After a while there may be room again, though we gave none back: allows so many refusals more. */
void writeback_try_again(uint32_t count);
/* 0, or why the last write failed: -ENOSPC, -EIO. */
int writeback_error(void);

#endif
