/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

struct table {
    const struct table_column *columns;
    uint32_t column_count;
    uint32_t cell_count;
    uint32_t cell_capacity;
    char **cells;
};

struct table *table_open(const struct table_column *columns, uint32_t column_count)
{
    CHECK(column_count > 0);
    CHECK(column_count <= TABLE_COLUMNS_MAX);
    struct table *t = calloc(1, sizeof(*t));
    CHECK(t != NULL);
    t->columns = columns;
    t->column_count = column_count;
    return t;
}

char *table_tame(char *text)
{
    for (char *s = text; *s != '\0'; s++) {
        if (((unsigned char)*s < 0x20 && *s != '\n') || *s == 0x7f) {
            *s = '?';
        }
    }
    return text;
}

void table_cell(struct table *t, const char *format, ...)
{
    if (t->cell_count == t->cell_capacity) {
        t->cell_capacity = t->cell_capacity == 0 ? 64 : 2 * t->cell_capacity;
        t->cells = realloc(t->cells, t->cell_capacity * sizeof(*t->cells));
        CHECK(t->cells != NULL);
    }
    char *cell = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&cell, format, arguments);
    va_end(arguments);
    CHECK(length >= 0);
    for (char *s = table_tame(cell); *s != '\0'; s++) {
        *s = *s == '\n' ? ' ' : *s;
    }
    t->cells[t->cell_count++] = cell;
}

uint32_t table_row_count(const struct table *t)
{
    return t->cell_count / t->column_count;
}

static const char *cell_text(const struct table *t, uint32_t row, uint32_t column)
{
    const char *text = t->cells[row * t->column_count + column];
    return text[0] == '\0' ? "-" : text;
}

/* Columns on a terminal: bytes that don't continue a UTF-8 sequence. */
static uint32_t text_width(const char *text)
{
    uint32_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

static void print_cell(const char *text, uint32_t width, bool right, bool last, FILE *to)
{
    int padding = (int)(width - text_width(text));
    if (right) {
        fprintf(to, "%*s%s", padding, "", text);
    } else {
        fprintf(to, "%s%*s", text, last ? 0 : padding, "");
    }
    fputs(last ? "\n" : "  ", to);
}

void table_print(const struct table *t, FILE *to)
{
    CHECK(t->cell_count % t->column_count == 0);
    uint32_t widths[TABLE_COLUMNS_MAX];
    for (uint32_t c = 0; c < t->column_count; c++) {
        widths[c] = text_width(t->columns[c].title);
        for (uint32_t r = 0; r < table_row_count(t); r++) {
            widths[c] = MAX(widths[c], text_width(cell_text(t, r, c)));
        }
    }
    for (uint32_t c = 0; c < t->column_count; c++) {
        print_cell(t->columns[c].title, widths[c], t->columns[c].right, c + 1 == t->column_count,
                   to);
    }
    for (uint32_t r = 0; r < table_row_count(t); r++) {
        for (uint32_t c = 0; c < t->column_count; c++) {
            print_cell(cell_text(t, r, c), widths[c], t->columns[c].right, c + 1 == t->column_count,
                       to);
        }
    }
}

struct table *table_close(struct table *t)
{
    if (t != NULL) {
        for (uint32_t i = 0; i < t->cell_count; i++) {
            free(t->cells[i]);
        }
        free(t->cells);
        free(t);
    }
    return NULL;
}
