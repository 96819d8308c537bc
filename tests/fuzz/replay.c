/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays a corpus folder through a fuzz target without libFuzzer: each file as it is, then every
 * truncation of it, then with each byte flipped (bounded), so that the ordinary test run already
 * meets many malformed inputs. A crash or sanitizer report fails the test.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdlib.h>

#include "lib/base/compiler.h"
#include "tests/tap.h"

#define FILE_BYTES_MAX 65536
#define VARIANTS_MAX   4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Places of each file that are varied, evenly spread: slow targets take few. */
static size_t variants_max = VARIANTS_MAX;

/* Copies to an exact-size allocation, so that ASan sees a read one past the end. */
static void run_once(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL) {
        abort();
    }
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_variants(uint8_t *data, size_t size)
{
    run_once(data, size);
    size_t step = size / variants_max + 1;
    for (size_t cut = 0; cut < size; cut += step) {
        run_once(data, cut);
    }
    for (size_t at = 0; at < size; at += step) {
        data[at] ^= 0xff;
        run_once(data, size);
        data[at] ^= 0xff ^ 0x01;
        run_once(data, size);
        data[at] ^= 0x01;
    }
}

int main(int argc, char **argv)
{
    static uint8_t data[FILE_BYTES_MAX];
    char path[4096];
    DIR *dir = argc >= 2 ? opendir(argv[1]) : NULL;
    if (dir == NULL) {
        printf("Bail out! usage: %s CORPUS-FOLDER [VARIANTS]\n", argv[0]);
        return 1;
    }
    if (argc > 2) {
        variants_max = MAX(1u, MIN(strtoul(argv[2], NULL, 10), VARIANTS_MAX));
    }
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        FILE *file = fopen(path, "rb");
        tap_case_ok = file != NULL;
        if (file != NULL) {
            size_t size = fread(data, 1, sizeof(data), file);
            (void)fclose(file);
            run_variants(data, size);
        }
        tap_case_count++;
        tap_failed_count += tap_case_ok ? 0 : 1;
        printf("%s %d - %s\n", tap_case_ok ? "ok" : "not ok", tap_case_count, entry->d_name);
    }
    (void)closedir(dir);
    return tap_done();
}
