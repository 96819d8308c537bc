/* SPDX-License-Identifier: Apache-2.0 */
/* A program whose zeroed data is larger than the memory of a small instance. */
static volatile char zeros[3ul << 29];

int main(void)
{
    return zeros[1];
}
