/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file: no contents may do more than set the options or be refused. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/check.h"
#include "lib/sys/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *name = "default";
    uint64_t bytes = 1;
    uint64_t count = 2;
    bool check = false;
    struct config_list labels = {.count = 0};
    const struct config_option options[] = {
        {"name", CONFIG_TEXT, &name, "NAME", "Its name."},
        {"slab-size", CONFIG_SIZE, &bytes, "SIZE", "Bytes of a slab."},
        {"count", CONFIG_NUMBER, &count, "N", "How many."},
        {"check", CONFIG_FLAG, &check, NULL, "Only check."},
        {"label", CONFIG_LIST, &labels, "LABEL", "A label."},
    };
    struct config config = {
        .program = "fuzz", .summary = "", .options = options, .option_count = ARRAY_LEN(options)};
    static FILE *nowhere;
    if (nowhere == NULL) {
        nowhere = fopen("/dev/null", "w");
        CHECK(nowhere != NULL);
        stderr = nowhere; /* sanitizers report to the descriptor, which stays */
    }
    int error = config_apply_text(&config, "f.conf", (const char *)data, size);
    CHECK(error == 0 || error == -EINVAL);
    CHECK(strlen(name) <= MAX(size, strlen("default")));
    CHECK(labels.count <= CONFIG_LIST_MAX);
    for (uint32_t i = 0; i < labels.count; i++) {
        CHECK(strlen(labels.items[i]) <= size);
    }
    config_fini(&config);
    return 0;
}
