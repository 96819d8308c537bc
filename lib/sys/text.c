/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIZE_BYTES_MAX (UINT64_C(1) << 63)
#define NAME_BYTES_MAX 63
#define FORMAT_BYTES   16

static const char unit_letters[] = "KMGT";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads the digits at *text and moves it behind them. */
static int parse_digits(const char **text, uint64_t max, uint64_t *ret)
{
    const char *at = *text;
    uint64_t value = 0;
    bool fits = true;
    if (!is_digit(*at)) {
        return -EINVAL;
    }
    for (; is_digit(*at); at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        fits = fits && value <= (max - MIN(digit, max)) / 10 && digit <= max;
        value = fits ? value * 10 + digit : 0;
    }
    *text = at;
    *ret = value;
    return fits ? 0 : -ERANGE;
}

/* The shift of a unit suffix; -1 if it isn't one. */
static int unit_shift(const char *text)
{
    if (*text == '\0') {
        return 0;
    }
    char letter = *text >= 'a' && *text <= 'z' ? (char)(*text - 'a' + 'A') : *text;
    const char *unit = strchr(unit_letters, letter);
    const char *rest = text + 1;
    if (unit == NULL) {
        return -1;
    }
    if (*rest != '\0' && strcmp(rest, "B") != 0 && strcmp(rest, "iB") != 0) {
        return -1;
    }
    return (int)(unit - unit_letters + 1) * 10;
}

int text_parse_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t value;
    int error = parse_digits(&text, SIZE_BYTES_MAX, &value);
    if (error == -EINVAL) {
        return error;
    }
    int shift = unit_shift(text);
    if (shift < 0) {
        return -EINVAL;
    }
    if (error != 0 || value > SIZE_BYTES_MAX >> shift) {
        return -ERANGE;
    }
    *ret_bytes = value << shift;
    return 0;
}

int text_parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
    uint64_t value;
    int error = parse_digits(&text, max, &value);
    if (error == -EINVAL || *text != '\0') {
        return -EINVAL;
    }
    if (error != 0) {
        return error;
    }
    *ret = value;
    return 0;
}

char *text_format_size(uint64_t bytes, char *to)
{
    int unit = 0; /* 0: bytes, 1: K, ... */
    while (unit < 4 && bytes >> ((unit + 1) * 10) != 0) {
        unit++;
    }
    uint64_t unit_bytes = UINT64_C(1) << (unit * 10);
    uint64_t whole = bytes / unit_bytes;
    uint64_t rest = bytes % unit_bytes;
    uint64_t tenths = (rest * 10 + unit_bytes / 2) / unit_bytes;
    if (tenths == 10) {
        whole++;
        tenths = 0;
    }
    if (whole == 1024 && unit < 4 && rest != 0) {
        whole = 1;
        unit++;
    }
    char letter[2] = {unit == 0 ? '\0' : unit_letters[unit - 1], '\0'};
    if (rest == 0) {
        (void)snprintf(to, FORMAT_BYTES, "%llu%s", (unsigned long long)whole, letter);
    } else {
        (void)snprintf(to, FORMAT_BYTES, "%llu.%u%s", (unsigned long long)whole, (unsigned)tenths,
                       letter);
    }
    return to;
}

bool text_is_name(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > NAME_BYTES_MAX || text[0] == '-') {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        bool letter = text[i] >= 'a' && text[i] <= 'z';
        if (!letter && !is_digit(text[i]) && text[i] != '-') {
            return false;
        }
    }
    return true;
}
