/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/sys/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/check.h"
#include "lib/sys/sys.h"
#include "lib/sys/text.h"

#define HELP_COLUMN 30

enum origin { FROM_DEFAULT, FROM_FILE, FROM_FLAGS };

/* A copied value, so that options may point into it. */
struct text {
    struct text *next;
    char value[];
};

struct storage {
    struct text *texts;
    enum origin origins[CONFIG_OPTIONS_MAX]; /* who wrote the option last */
};

/* Where a setting stands, for messages. */
struct place {
    enum origin origin;
    const char *file;
    unsigned line;
};

PRINTF_LIKE(3, 4)
static int complain(const struct config *config, const struct place *place, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (place->origin == FROM_FILE) {
        (void)fprintf(stderr, "%s: %s:%u: %s\n", config->program, place->file, place->line,
                      message);
    } else {
        (void)fprintf(stderr, "%s: %s (see %s --help)\n", config->program, message,
                      config->program);
    }
    return -EINVAL;
}

static struct storage *storage_of(struct config *config)
{
    CHECK(config->option_count <= CONFIG_OPTIONS_MAX);
    if (config->storage == NULL) {
        config->storage = calloc(1, sizeof(struct storage));
    }
    return config->storage;
}

static const char *keep_text(struct storage *storage, const char *value, size_t length)
{
    struct text *text = malloc(sizeof(*text) + length + 1);
    if (text == NULL) {
        return NULL;
    }
    memcpy(text->value, value, length);
    text->value[length] = '\0';
    text->next = storage->texts;
    storage->texts = text;
    return text->value;
}

void config_fini(struct config *config)
{
    struct storage *storage = config->storage;
    while (storage != NULL && storage->texts != NULL) {
        struct text *text = storage->texts;
        storage->texts = text->next;
        free(text);
    }
    free(storage);
    config->storage = NULL;
}

static const struct config_option *find_option(const struct config *config, const char *name,
                                               size_t length)
{
    for (uint32_t i = 0; i < config->option_count; i++) {
        const char *known = config->options[i].name;
        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return &config->options[i];
        }
    }
    return NULL;
}

static int apply_list(struct config *config, const struct config_option *option,
                      const struct place *place, const char *value)
{
    struct config_list *list = option->value;
    struct storage *storage = config->storage;
    if (storage->origins[option - config->options] != place->origin) {
        list->count = 0;
    }
    if (list->count == CONFIG_LIST_MAX) {
        return complain(config, place, "%s: more than %d given", option->name, CONFIG_LIST_MAX);
    }
    list->items[list->count++] = value;
    return 0;
}

static int apply_flag(struct config *config, const struct config_option *option,
                      const struct place *place, const char *value)
{
    bool yes = strcmp(value, "yes") == 0;
    if (!yes && strcmp(value, "no") != 0) {
        return complain(config, place, "%s: \"%s\" is neither yes nor no", option->name, value);
    }
    *(bool *)option->value = yes;
    return 0;
}

/* Sizes and numbers. */
static int apply_count(struct config *config, const struct config_option *option,
                       const struct place *place, const char *value)
{
    bool size = option->kind == CONFIG_SIZE;
    uint64_t *to = option->value;
    int error = size ? text_parse_size(value, to) : text_parse_u64(value, UINT64_MAX, to);
    if (error == -ERANGE) {
        return complain(config, place, "%s: \"%s\" is too large", option->name, value);
    }
    if (error != 0) {
        return complain(config, place, "%s: \"%s\" is not a %s", option->name, value,
                        size ? "size: write for example 4096, 64M or 1G" : "number");
    }
    return 0;
}

/* `value` is kept already. */
static int apply(struct config *config, const struct config_option *option,
                 const struct place *place, const char *value)
{
    struct storage *storage = config->storage;
    int error = 0;
    switch (option->kind) {
    case CONFIG_TEXT:
        *(const char **)option->value = value;
        break;
    case CONFIG_SIZE:
    case CONFIG_NUMBER:
        error = apply_count(config, option, place, value);
        break;
    case CONFIG_FLAG:
        error = apply_flag(config, option, place, value);
        break;
    case CONFIG_LIST:
        error = apply_list(config, option, place, value);
        break;
    }
    storage->origins[option - config->options] = place->origin;
    return error;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Narrows [*text, *length) to what is between blanks. */
static void trim(const char **text, size_t *length)
{
    while (*length > 0 && is_blank((*text)[*length - 1])) {
        --*length;
    }
    while (*length > 0 && is_blank(**text)) {
        ++*text;
        --*length;
    }
}

/* Length without the comment. */
static size_t before_comment(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (line[i] == '#' && (i == 0 || is_blank(line[i - 1]))) {
            return i;
        }
    }
    return length;
}

static int apply_line(struct config *config, const struct place *place, const char *line,
                      size_t length)
{
    length = before_comment(line, length);
    trim(&line, &length);
    if (length == 0) {
        return 0;
    }
    const char *equals = memchr(line, '=', length);
    if (equals == NULL) {
        return complain(config, place, "\"%.*s\": expected \"name = value\"", (int)length, line);
    }
    const char *value = equals + 1;
    size_t value_length = (size_t)(line + length - value);
    size_t name_length = (size_t)(equals - line);
    trim(&line, &name_length);
    trim(&value, &value_length);
    const struct config_option *option = find_option(config, line, name_length);
    if (option == NULL) {
        return complain(config, place, "there is no setting \"%.*s\"; %s --help lists them",
                        (int)name_length, line, config->program);
    }
    const char *kept = keep_text(config->storage, value, value_length);
    return kept == NULL ? -ENOMEM : apply(config, option, place, kept);
}

int config_apply_text(struct config *config, const char *name, const char *text, size_t bytes)
{
    struct place place = {.origin = FROM_FILE, .file = name, .line = 1};
    if (storage_of(config) == NULL) {
        return -ENOMEM;
    }
    if (memchr(text, '\0', bytes) != NULL) {
        return complain(config, &place, "this is not a text file: it holds a zero byte");
    }
    const char *end = text + bytes;
    for (const char *line = text; line < end; place.line++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t length = (size_t)((stop == NULL ? end : stop) - line);
        int error = apply_line(config, &place, line, length);
        if (error != 0) {
            return error;
        }
        line = stop == NULL ? end : stop + 1;
    }
    return 0;
}

static int apply_file(struct config *config, const char *path)
{
    char *text = NULL;
    size_t bytes;
    int error = sys_read_file(path, CONFIG_FILE_BYTES_MAX, &text, &bytes);
    if (error == -EFBIG) {
        (void)fprintf(stderr, "%s: %s: larger than %d bytes: not a configuration file\n",
                      config->program, path, CONFIG_FILE_BYTES_MAX);
        return -EINVAL;
    }
    if (error != 0) {
        (void)fprintf(stderr, "%s: can't read the configuration file %s: %s\n", config->program,
                      path, strerror(-error));
        return -EINVAL;
    }
    error = config_apply_text(config, path, text, bytes);
    free(text);
    return error;
}

/* One flag at argv[*at]; moves *at behind it and its value. */
static int apply_argument(struct config *config, int argc, char **argv, int *at)
{
    const struct place place = {.origin = FROM_FLAGS};
    const char *argument = argv[(*at)++];
    if (strncmp(argument, "--", 2) != 0 || argument[2] == '\0') {
        return complain(config, &place, "\"%s\" is not a flag", argument);
    }
    const char *name = argument + 2;
    const char *equals = strchr(name, '=');
    size_t name_length = equals == NULL ? strlen(name) : (size_t)(equals - name);
    bool is_config = name_length == 6 && memcmp(name, "config", 6) == 0;
    const struct config_option *option = find_option(config, name, name_length);
    if (option == NULL && !is_config) {
        return complain(config, &place, "there is no flag --%.*s", (int)name_length, name);
    }
    const char *value = equals == NULL ? NULL : equals + 1;
    if (value == NULL && option != NULL && option->kind == CONFIG_FLAG) {
        value = "yes";
    }
    if (value == NULL) {
        if (*at == argc) {
            return complain(config, &place, "--%s needs a value (%s)", name,
                            is_config ? "FILE" : option->argument);
        }
        value = argv[(*at)++];
    }
    if (option == NULL) {
        return 0; /* --config was read before */
    }
    const char *kept = keep_text(config->storage, value, strlen(value));
    return kept == NULL ? -ENOMEM : apply(config, option, &place, kept);
}

static void print_help(const struct config *config)
{
    printf("Usage: %s [--config FILE] [FLAGS]\n%s\n\n", config->program, config->summary);
    printf("Flags; in the file each is a line \"name = value\", and flags win over the file:\n");
    for (uint32_t i = 0; i < config->option_count; i++) {
        const struct config_option *option = &config->options[i];
        char left[64];
        (void)snprintf(left, sizeof(left), "--%s%s%s", option->name,
                       option->argument == NULL ? "" : " ",
                       option->argument == NULL ? "" : option->argument);
        printf("  %-*s %s\n", HELP_COLUMN, left, option->help);
    }
    printf("  %-*s %s\n", HELP_COLUMN, "--config FILE", "Read settings from FILE.");
    printf("  %-*s %s\n", HELP_COLUMN, "--help, --version", "Say this, or the version, and end.");
    if (config->examples != NULL) {
        printf("\nExamples:\n%s\n", config->examples);
    }
}

/* 1: answered --help or --version. */
static int answer_questions(const struct config *config, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(config);
            return 1;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("%s %s\n", config->program, DILOS_VERSION);
            return 1;
        }
    }
    return 0;
}

/* The value of the last --config; NULL if there is none. */
static const char *config_path(int argc, char **argv)
{
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--config=", 9) == 0) {
            path = argv[i] + 9;
        } else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
            path = argv[++i];
        }
    }
    return path;
}

int config_load(struct config *config, const char *default_path, int argc, char **argv)
{
    int error = answer_questions(config, argc, argv);
    if (error != 0) {
        return error;
    }
    if (storage_of(config) == NULL) {
        return -ENOMEM;
    }
    const char *path = config_path(argc, argv);
    if (path == NULL && default_path != NULL && access(default_path, F_OK) == 0) {
        path = default_path;
    }
    if (path != NULL) {
        error = apply_file(config, path);
    }
    for (int at = 1; error == 0 && at < argc;) {
        error = apply_argument(config, argc, argv, &at);
    }
    return error;
}
