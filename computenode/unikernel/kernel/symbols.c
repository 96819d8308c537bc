/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/symbols.h"

#include <stddef.h>

const char *symbol_find(uint64_t address, uint64_t *ret_offset)
{
    uint32_t low = 0;
    uint32_t high = symbol_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (symbol_table[middle].address <= (uint32_t)address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        return NULL;
    }
    *ret_offset = (uint32_t)address - symbol_table[low - 1].address;
    return symbol_names + symbol_table[low - 1].name;
}
