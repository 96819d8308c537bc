/* SPDX-License-Identifier: Apache-2.0 */
/* Built in every way that a program can be linked. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int main(int argc, char **argv)
{
    static char zeros[100000];
    struct timespec now;
    char *copy = malloc(300000);
    memset(copy, 'x', 300000);
    for (int i = 1; i < argc; i++) {
        printf("argument %d: %s\n", i, argv[i]);
    }
    printf("%s %s %d %d\n", getenv("HOME"), getenv("LANG"), copy[299999], zeros[99999]);
    printf("%d %.3f\n", clock_gettime(CLOCK_MONOTONIC, &now), 22 / 7.0);
    fprintf(stderr, "to stderr\n");
    free(copy);
    return 7;
}
