/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life cycles as tables: an enum with a sentence per state, a table of legal moves indexed by the
 * state that is left, and one function that moves. Freestanding.
 *
 *   static const uint32_t slab_moves[] = {
 *       [SLAB_FREE] = STATE_TO(SLAB_RESERVED) | STATE_TO(SLAB_LOST),
 *       ...
 *   };
 */
#ifndef DILOS_LIB_BASE_STATE_H
#define DILOS_LIB_BASE_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define STATE_TO(state) (UINT32_C(1) << (state))

/* States are below 32. */
static inline bool state_may_move(const uint32_t *moves, unsigned from, unsigned to)
{
    return (moves[from] >> to & 1) != 0;
}

#endif
