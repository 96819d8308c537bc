/* SPDX-License-Identifier: Apache-2.0 */
/* Reading pages back from far memory: by demand, and ahead of need. */
#ifndef DILOS_UNIKERNEL_FAR_FETCH_H
#define DILOS_UNIKERNEL_FAR_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/far/io.h"
#include "computenode/unikernel/far/page.h"

/*
 * Brings in a page that is remote; returns when it is local. 0 also if its state has changed
 * meanwhile: the caller looks again. Errors: -EIO the page can't be read (it stays remote), else
 * as frame_take().
 * Fault context.
 */
int fetch_page(pte_t *pte, uint64_t va, bool for_write) MUST_CHECK;

/* Starts reading a remote page that nobody waits for. false: no frame or no room to spare. */
bool fetch_ahead(pte_t *pte, uint64_t va);

/* A read ahead has completed. Called by io_poll(). */
void fetch_prefetched(const struct io_request *request);

/* Waits until no read or write of the page is in flight. */
void fetch_settle(pte_t *pte);

#endif
