/* SPDX-License-Identifier: Apache-2.0 */
#include "memnode/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/text.h"

#define PATH_BYTES 4096u
#define FILE_BYTES 64u

struct state {
    char *folder;
    int lock_fd;
    char node_id[SYS_ID_BYTES];
    uint64_t epoch;
};

static int path_of(const char *folder, const char *name, char *to)
{
    int length = snprintf(to, PATH_BYTES, "%s/%s", folder, name);
    return length > 0 && (unsigned)length < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

/* One line without its end, in a buffer of FILE_BYTES. Errors: -ENOENT, others of the system. */
static int read_line(const char *folder, const char *name, char *to)
{
    char path[PATH_BYTES];
    char *text = NULL;
    size_t bytes = 0;
    int error = path_of(folder, name, path);
    if (error == 0) {
        error = sys_read_file(path, FILE_BYTES - 1, &text, &bytes);
    }
    if (error != 0) {
        return error;
    }
    text[strcspn(text, "\n")] = '\0';
    memcpy(to, text, strlen(text) + 1);
    free(text);
    return 0;
}

static int write_line(const char *folder, const char *name, const char *text)
{
    char path[PATH_BYTES];
    char line[FILE_BYTES];
    int error = path_of(folder, name, path);
    int length = snprintf(line, sizeof(line), "%s\n", text);
    return error != 0 ? error : sys_write_file(path, line, (size_t)length);
}

static bool is_id(const char *text)
{
    return strlen(text) == SYS_ID_BYTES - 1 && strspn(text, "0123456789abcdef") == SYS_ID_BYTES - 1;
}

static int load_node_id(struct state *state)
{
    char line[FILE_BYTES];
    int error = read_line(state->folder, "node-id", line);
    if (error == -ENOENT) {
        sys_random_id(state->node_id);
        return write_line(state->folder, "node-id", state->node_id);
    }
    if (error != 0) {
        return error;
    }
    if (!is_id(line)) {
        return -EINVAL;
    }
    memcpy(state->node_id, line, sizeof(state->node_id));
    return 0;
}

static int load_epoch(struct state *state)
{
    char line[FILE_BYTES];
    int error = read_line(state->folder, "epoch", line);
    if (error == -ENOENT) {
        return 0;
    }
    return error != 0 ? error : text_parse_u64(line, UINT64_MAX, &state->epoch);
}

static int lock_folder(struct state *state, char *ret_error)
{
    char path[PATH_BYTES];
    int pid = 0;
    int error = sys_make_folders(state->folder);
    if (error == 0) {
        error = path_of(state->folder, "lock", path);
    }
    if (error == 0) {
        error = sys_lock_file(path, &state->lock_fd, &pid);
    }
    if (error == -EWOULDBLOCK) {
        (void)snprintf(ret_error, STATE_ERROR_BYTES,
                       "the state folder %.200s is in use by process %d: stop that, or give this "
                       "node another folder with --state",
                       state->folder, pid);
    } else if (error != 0) {
        (void)snprintf(
            ret_error, STATE_ERROR_BYTES,
            "the state folder %.200s can't be used: %s: give a writable one with --state",
            state->folder, strerror(-error));
    }
    return error;
}

int state_open(const char *folder, struct state **ret, char *ret_error)
{
    struct state *state = calloc(1, sizeof(*state));
    char *copy = strdup(folder);
    if (state == NULL || copy == NULL) {
        free(state);
        free(copy);
        (void)snprintf(ret_error, STATE_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    state->folder = copy;
    state->lock_fd = -1;
    int error = lock_folder(state, ret_error);
    if (error != 0) {
        (void)state_close(state);
        return error;
    }
    const char *file = "node-id";
    error = load_node_id(state);
    if (error == 0) {
        file = "epoch";
        error = load_epoch(state);
    }
    if (error != 0) {
        (void)snprintf(ret_error, STATE_ERROR_BYTES,
                       "%.200s/%s can't be used: %s: restore it, or remove the folder to join as a "
                       "new node",
                       folder, file, error == -EINVAL ? "it is damaged" : strerror(-error));
        (void)state_close(state);
        return error;
    }
    *ret = state;
    return 0;
}

struct state *state_close(struct state *state)
{
    if (state == NULL) {
        return NULL;
    }
    sys_close(&state->lock_fd);
    free(state->folder);
    free(state);
    return NULL;
}

const char *state_node_id(const struct state *state)
{
    return state->node_id;
}

uint64_t state_epoch(const struct state *state)
{
    return state->epoch;
}

int state_see_epoch(struct state *state, uint64_t epoch)
{
    char text[FILE_BYTES];
    if (epoch < state->epoch) {
        return -ESTALE;
    }
    if (epoch == state->epoch) {
        return 0;
    }
    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)epoch);
    int error = write_line(state->folder, "epoch", text);
    if (error == 0) {
        state->epoch = epoch;
    }
    return error;
}
