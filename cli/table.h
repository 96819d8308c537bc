/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of text for people: a heading, then rows of cells, columns as wide as their widest cell.
 * Control characters in cells are shown as '?': names and reasons come from peers and must not
 * steer a terminal.
 */
#ifndef DILOS_CLI_TABLE_H
#define DILOS_CLI_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/base/compiler.h"

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *title;
    bool right; /* for numbers */
};

struct table;

/* `columns` must outlive the table. Aborts when there is no memory. */
struct table *table_open(const struct table_column *columns, uint32_t column_count);
/* Appends a cell: rows fill from left to right. An empty cell is shown as "-". */
void table_cell(struct table *t, const char *format, ...) PRINTF_LIKE(2, 3);
uint32_t table_row_count(const struct table *t);
/* Prints heading and rows; the last row must be full. */
void table_print(const struct table *t, FILE *to);
struct table *table_close(struct table *t);

/* Replaces control characters of `text` by '?', in place; line feeds stay. Returns `text`. */
char *table_tame(char *text);

#endif
