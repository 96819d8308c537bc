/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/arch/x86_64/serial.h"

#include <stdbool.h>
#include <stdint.h>

#include "computenode/unikernel/arch/x86_64/x86.h"

#define PORT         0x3f8
#define LINE_CONTROL (PORT + 3)
#define MODEM        (PORT + 4)
#define LINE_STATUS  (PORT + 5)
#define SCRATCH      (PORT + 7)
#define TX_EMPTY     0x20
#define WAIT_MAX     1000000u

static bool present;

void serial_init(void)
{
    port_out8(SCRATCH, 0x5a);
    present = port_in8(SCRATCH) == 0x5a;
    if (!present) {
        return;
    }
    port_out8(PORT + 1, 0);
    port_out8(LINE_CONTROL, 0x80); /* divisor 1: 115200 baud */
    port_out8(PORT, 1);
    port_out8(PORT + 1, 0);
    port_out8(LINE_CONTROL, 0x03);
    port_out8(PORT + 2, 0x07);
    port_out8(MODEM, 0x03);
}

void serial_write(const void *bytes, size_t length)
{
    const uint8_t *byte = bytes;
    for (size_t i = 0; present && i < length; i++) {
        uint32_t waited = 0;
        while ((port_in8(LINE_STATUS) & TX_EMPTY) == 0 && ++waited < WAIT_MAX) {
        }
        port_out8(PORT, byte[i]);
    }
}
