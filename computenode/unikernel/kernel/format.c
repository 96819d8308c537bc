/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/unikernel/kernel/format.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "computenode/unikernel/kernel/kernel.h"

#define NUMBER_CAPACITY 24 /* 64 bits in octal */

struct sink {
    char *to;
    size_t capacity;
    size_t length;
};

struct conversion {
    bool left, zeros, plus;
    int width;
    int precision; /* -1: none given */
    int length;    /* bytes of the argument */
};

static void put(struct sink *sink, char c)
{
    if (sink->length + 1 < sink->capacity) {
        sink->to[sink->length] = c;
    }
    sink->length++;
}

static void put_many(struct sink *sink, char c, int count)
{
    for (int i = 0; i < count; i++) {
        put(sink, c);
    }
}

/* Sign, zeros, digits, in a field of the width asked for. */
static void put_field(struct sink *sink, const struct conversion *c, const char *prefix,
                      const char *text, int length, int zeros)
{
    int prefix_length = (int)strlen(prefix);
    int blanks = c->width - prefix_length - zeros - length;
    if (!c->left) {
        put_many(sink, ' ', blanks);
    }
    for (int i = 0; i < prefix_length; i++) {
        put(sink, prefix[i]);
    }
    put_many(sink, '0', zeros);
    for (int i = 0; i < length; i++) {
        put(sink, text[i]);
    }
    if (c->left) {
        put_many(sink, ' ', blanks);
    }
}

static void put_number(struct sink *sink, const struct conversion *c, const char *prefix,
                       uint64_t value, unsigned base, bool upper)
{
    char digits[NUMBER_CAPACITY];
    int at = NUMBER_CAPACITY;
    const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    while (value != 0 || (at == NUMBER_CAPACITY && c->precision != 0)) {
        digits[--at] = alphabet[value % base];
        value /= base;
    }
    int length = NUMBER_CAPACITY - at;
    int zeros = MAX(c->precision - length, 0);
    if (c->precision < 0 && c->zeros && !c->left) {
        zeros = MAX(c->width - length - (int)strlen(prefix), 0);
    }
    put_field(sink, c, prefix, digits + at, length, zeros);
}

static void put_signed(struct sink *sink, const struct conversion *c, int64_t value)
{
    const char *prefix = value < 0 ? "-" : c->plus ? "+" : "";
    put_number(sink, c, prefix, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, false);
}

static void put_text(struct sink *sink, const struct conversion *c, const char *text)
{
    if (text == NULL) {
        text = "(null)";
    }
    size_t length = c->precision < 0 ? strlen(text) : strnlen(text, (size_t)c->precision);
    put_field(sink, c, "", text, (int)length, 0);
}

static bool take_flag(struct conversion *c, char flag)
{
    switch (flag) {
    case '-':
        c->left = true;
        return true;
    case '0':
        c->zeros = true;
        return true;
    case '+':
        c->plus = true;
        return true;
    default:
        return false;
    }
}

static int take_digits(const char **at)
{
    int value = 0;
    while (**at >= '0' && **at <= '9' && value < 100000) {
        value = value * 10 + (**at - '0');
        (*at)++;
    }
    return value;
}

static int take_length(const char **at)
{
    int length = sizeof(int);
    for (;; (*at)++) {
        switch (**at) {
        case 'h':
            length /= 2;
            break;
        case 'l':
        case 'z':
        case 't':
        case 'j':
            length = sizeof(uint64_t);
            break;
        default:
            return length;
        }
    }
}

static uint64_t narrow(uint64_t value, int bytes)
{
    return bytes >= 8 ? value : value & ((UINT64_C(1) << (8 * bytes)) - 1);
}

static int64_t narrow_signed(uint64_t value, int bytes)
{
    unsigned shift = (unsigned)(64 - 8 * bytes);
    return (int64_t)(value << shift) >> shift;
}

static void put_integer(struct sink *sink, const struct conversion *c, char kind, uint64_t value)
{
    switch (kind) {
    case 'd':
    case 'i':
        put_signed(sink, c, narrow_signed(value, c->length));
        break;
    case 'u':
        put_number(sink, c, "", narrow(value, c->length), 10, false);
        break;
    case 'o':
        put_number(sink, c, "", narrow(value, c->length), 8, false);
        break;
    case 'p':
        put_number(sink, c, "0x", value, 16, false);
        break;
    default:
        put_number(sink, c, "", narrow(value, c->length), 16, kind == 'X');
        break;
    }
}

int kvsnprintf(char *to, size_t capacity, const char *format, va_list args)
{
    struct sink sink = {to, capacity, 0};
    for (const char *at = format; *at != '\0'; at++) {
        if (*at != '%') {
            put(&sink, *at);
            continue;
        }
        struct conversion c = {.precision = -1};
        at++;
        while (take_flag(&c, *at)) {
            at++;
        }
        if (*at == '*') {
            c.width = va_arg(args, int);
            at++;
        } else {
            c.width = take_digits(&at);
        }
        if (*at == '.') {
            at++;
            if (*at == '*') {
                c.precision = va_arg(args, int);
                at++;
            } else {
                c.precision = take_digits(&at);
            }
        }
        c.length = take_length(&at);
        if (*at == '\0') {
            break;
        }
        if (*at == 's') {
            put_text(&sink, &c, va_arg(args, const char *));
        } else if (*at == 'c' || *at == '%') {
            char character = *at == 'c' ? (char)va_arg(args, int) : '%';
            put_field(&sink, &c, "", &character, 1, 0);
        } else {
            uint64_t value =
                c.length == 8 || *at == 'p' ? va_arg(args, uint64_t) : va_arg(args, unsigned);
            put_integer(&sink, &c, *at, value);
        }
    }
    if (capacity != 0) {
        to[MIN(sink.length, capacity - 1)] = '\0';
    }
    return (int)sink.length;
}

int ksnprintf(char *to, size_t capacity, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = kvsnprintf(to, capacity, format, args);
    va_end(args);
    return length;
}
