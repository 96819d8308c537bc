/* SPDX-License-Identifier: Apache-2.0 */
/* A folder of the host and the EROFS image that mkfs.erofs makes of it, for tests. */
#ifndef DILOS_TESTS_UNIT_IMAGE_H
#define DILOS_TESTS_UNIT_IMAGE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_image {
    char folder[64]; /* what the image was made from */
    uint8_t *bytes;
    size_t length;
};

static inline void test_image_folder(struct test_image *t)
{
    (void)snprintf(t->folder, sizeof(t->folder), "/tmp/dilos-erofs-XXXXXX");
    if (mkdtemp(t->folder) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
}

static inline void test_image_shell(const char *format, const char *folder)
{
    char command[1024];
    (void)snprintf(command, sizeof(command), format, folder);
    if (system(command) != 0) {
        (void)fprintf(stderr, "failed: %s\n", command);
        exit(1);
    }
}

/* Makes the image; the folder stays. */
static inline void test_image_make(struct test_image *t)
{
    char path[96];
    test_image_shell("mkfs.erofs %1$s.img %1$s >/dev/null 2>&1", t->folder);
    (void)snprintf(path, sizeof(path), "%s.img", t->folder);
    FILE *file = fopen(path, "rb");
    t->bytes = malloc(1 << 26);
    if (file == NULL || t->bytes == NULL) {
        exit(1);
    }
    t->length = fread(t->bytes, 1, 1 << 26, file);
    (void)fclose(file);
    (void)remove(path);
}

static inline void test_image_end(struct test_image *t)
{
    test_image_shell("rm -rf %s", t->folder);
    free(t->bytes);
}

#endif
