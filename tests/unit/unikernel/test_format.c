/* SPDX-License-Identifier: Apache-2.0 */
/* kvsnprintf() against the C library's. */
#include "computenode/unikernel/kernel/format.h"

#include "tests/tap.h"

static void PRINTF_LIKE(1, 2) same(const char *format, ...)
{
    char ours[128], theirs[128];
    va_list a, b;
    va_start(a, format);
    va_copy(b, a);
    int our_length = kvsnprintf(ours, sizeof(ours), format, a);
    int their_length = vsnprintf(theirs, sizeof(theirs), format, b);
    va_end(b);
    va_end(a);
    EXPECT_STR(ours, theirs);
    EXPECT_EQ(our_length, their_length);
}

static void test_numbers(void)
{
    same("%d %d %d %u", 0, -1, INT32_MIN, UINT32_MAX);
    same("%ld %lld %lu", INT64_MIN, (long long)INT64_MAX, UINT64_MAX);
    same("%hhu %hd %hhx", (unsigned char)200, (short)-3, (unsigned char)255);
    same("%x %X %o", 0xbeefu, 0xbeefu, 8u);
    same("%zu %zd %jd %td", (size_t)5, (ssize_t)-5, (intmax_t)-6, (ptrdiff_t)7);
}

static void test_fields(void)
{
    same("[%5d][%-5d][%05d][%+d][%+5d]", 42, 42, 42, 42, 42);
    same("[%05d][%5.3d][%.0d][%.3x][%08llx]", -42, 7, 0, 10u, 0xabcull);
    same("[%*d][%-*d][%.*d]", 6, 1, 6, 2, 4, 3);
}

static void test_text(void)
{
    same("%s|%10s|%-10s|%.2s|%.*s|%c|%%", "abc", "abc", "abc", "abc", 1, "abc", 'x');
    same("%p", (void *)(uintptr_t)0x1234);
}

static void test_cut(void)
{
    char text[4] = "zzz";
    EXPECT_EQ(snprintf(NULL, 0, "%s", "hello"), 5);
    va_list none;
    memset(&none, 0, sizeof(none));
    EXPECT_EQ(kvsnprintf(text, sizeof(text), "hello", none), 5);
    EXPECT_STR(text, "hel");
    EXPECT_EQ(kvsnprintf(text, 0, "hello", none), 5);
    EXPECT_STR(text, "hel");
}

int main(void)
{
    TAP_RUN(test_numbers);
    TAP_RUN(test_fields);
    TAP_RUN(test_text);
    TAP_RUN(test_cut);
    return tap_done();
}
