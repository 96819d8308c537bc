/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims compress and decompress: zstd over MIB MiB of generated text, in frames of 1 MiB, from
 * memory to memory. Arguments: compress|decompress MIB [SEED]. What is unpacked is compared with
 * the text, byte by byte.
 */
#include <stdbool.h>
#include <string.h>
#include <zstd.h>

#include "bench/guest/bench.h"

#define LEVEL       3
#define FRAME_BYTES BENCH_MIB
#define WORDS       8192u
#define WORD_BYTES  12u
#define FRAMES_MAX  65536u

struct archive {
    uint64_t frames;
    uint64_t seed;
    char (*words)[WORD_BYTES];
    uint8_t *packed;
    uint64_t packed_bytes;
    uint32_t *sizes;
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *decompressor;
};

static void make_words(struct archive *a)
{
    uint64_t state = a->seed;
    for (uint32_t i = 0; i < WORDS; i++) {
        uint64_t random = bench_random(&state);
        uint32_t length = 2 + (uint32_t)(random % (WORD_BYTES - 4));
        for (uint32_t j = 0; j < length; j++) {
            random = bench_random(&state);
            a->words[i][j] = (char)('a' + random % 26 * (random >> 32) % 26);
        }
        a->words[i][length] = '\0';
    }
}

/* Common words are much more common than others, as in a language; lines, and now and then a
 * number. The same frame of the same seed is the same text. */
static void make_frame(const struct archive *a, uint64_t frame, char *to)
{
    uint64_t state = (a->seed + frame + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    uint64_t used = 0;
    while (used < FRAME_BYTES) {
        char text[32];
        uint64_t random = bench_random(&state);
        uint64_t range = WORDS >> (random % 12);
        const char *word = a->words[(random >> 16) % (range == 0 ? 1 : range)];
        if (random % 29 == 0) {
            (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)(random >> 44));
            word = text;
        }
        uint64_t length = strlen(word);
        length = length < FRAME_BYTES - used ? length : FRAME_BYTES - used;
        memcpy(to + used, word, length);
        used += length;
        if (used < FRAME_BYTES) {
            to[used++] = random % 11 == 0 ? '\n' : ' ';
        }
    }
}

static void pack(struct archive *a, uint64_t frame, const void *text)
{
    size_t room = ZSTD_compressBound(FRAME_BYTES);
    size_t r = ZSTD_compressCCtx(a->compressor, a->packed + a->packed_bytes, room, text,
                                 FRAME_BYTES, LEVEL);
    if (ZSTD_isError(r)) {
        bench_die(BENCH_WRONG, ZSTD_getErrorName(r));
    }
    a->sizes[frame] = (uint32_t)r;
    a->packed_bytes += r;
}

static uint64_t sum_bytes(const uint8_t *data, uint64_t bytes)
{
    uint64_t sum = bytes;
    for (uint64_t i = 0; i + sizeof(uint64_t) <= bytes; i += sizeof(uint64_t)) {
        uint64_t value;
        memcpy(&value, data + i, sizeof(value));
        sum = bench_mix(sum, value);
    }
    return sum;
}

static void check_frame(const struct archive *a, uint64_t frame, const char *text, char *scratch)
{
    make_frame(a, frame, scratch);
    if (memcmp(text, scratch, FRAME_BYTES) != 0) {
        bench_die(BENCH_WRONG, "what was unpacked is not what was packed");
    }
}

static void unpack(struct archive *a, uint64_t frame, const uint8_t *from, char *to)
{
    size_t r = ZSTD_decompressDCtx(a->decompressor, to, FRAME_BYTES, from, a->sizes[frame]);
    if (ZSTD_isError(r) || r != FRAME_BYTES) {
        bench_die(BENCH_WRONG, "a frame can't be unpacked");
    }
}

static uint64_t run_compress(struct archive *a, char *scratch)
{
    char *text = bench_memory(a->frames * FRAME_BYTES);
    for (uint64_t i = 0; i < a->frames; i++) {
        make_frame(a, i, text + i * FRAME_BYTES);
    }
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < a->frames; i++) {
        pack(a, i, text + i * FRAME_BYTES);
    }
    uint64_t ns = bench_now_ns() - start_ns;
    uint64_t offset = 0;
    for (uint64_t i = 0; i < a->frames; i++) {
        unpack(a, i, a->packed + offset, text);
        check_frame(a, i, text, scratch);
        offset += a->sizes[i];
    }
    return ns;
}

static uint64_t run_decompress(struct archive *a, char *scratch)
{
    for (uint64_t i = 0; i < a->frames; i++) {
        make_frame(a, i, scratch);
        pack(a, i, scratch);
    }
    char *text = bench_memory(a->frames * FRAME_BYTES);
    uint64_t offset = 0;
    uint64_t start_ns = bench_now_ns();
    for (uint64_t i = 0; i < a->frames; i++) {
        unpack(a, i, a->packed + offset, text + i * FRAME_BYTES);
        offset += a->sizes[i];
    }
    uint64_t ns = bench_now_ns() - start_ns;
    for (uint64_t i = 0; i < a->frames; i++) {
        check_frame(a, i, text + i * FRAME_BYTES, scratch);
    }
    return ns;
}

int main(int argc, char **argv)
{
    bool compress = argc > 1 && strcmp(argv[1], "compress") == 0;
    struct archive a = {.frames = argc > 2 ? strtoull(argv[2], NULL, 10) : 0,
                        .seed = argc > 3 ? strtoull(argv[3], NULL, 10) * 2 + 1 : 1};
    if (a.frames == 0 || a.frames > FRAMES_MAX ||
        (!compress && strcmp(argv[1], "decompress") != 0)) {
        bench_die(BENCH_USAGE, "usage: archive compress|decompress MIB [SEED]");
    }
    a.words = bench_memory(WORDS * sizeof(*a.words));
    a.packed = bench_memory(a.frames * ZSTD_compressBound(FRAME_BYTES));
    a.sizes = bench_memory(a.frames * sizeof(*a.sizes));
    a.compressor = ZSTD_createCCtx();
    a.decompressor = ZSTD_createDCtx();
    if (a.compressor == NULL || a.decompressor == NULL) {
        bench_die(BENCH_MISSING, "not so much memory");
    }
    make_words(&a);
    char *scratch = bench_memory(FRAME_BYTES);
    uint64_t ns = compress ? run_compress(&a, scratch) : run_decompress(&a, scratch);
    bench_result(a.frames * FRAME_BYTES / 1024, ns, sum_bytes(a.packed, a.packed_bytes));
    return 0;
}
