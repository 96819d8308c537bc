/* SPDX-License-Identifier: Apache-2.0 */
#include "computenode/agent/far_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/check.h"

#define PAGE_NONE   UINT64_MAX
#define POLL_BATCH  64u
#define SLICE_MAX   (FABRIC_SEGMENTS_MAX - 2u) /* room for zeros before and behind */
#define WAITERS_MAX 64u                        /* looked at when counting what to ask for */

/* One operation of a fabric. Its token names index and use. */
struct piece {
    struct far_request *request; /* NULL: attaches `slab` */
    struct slab *slab;           /* NULL: the piece is free */
    uint64_t exclusive_page;     /* far page number, or PAGE_NONE */
    uint32_t next_free;
    uint32_t use; /* how often it was opened */
};

struct far_io {
    struct slab_pool pool;
    struct far_io_callbacks callbacks;
    struct far_counters counters;
    uint32_t pending;
    uint32_t in_flight;
    bool lost;
    struct list waits_slab; /* writes to a range without a slab */
    struct list waits_room; /* the fabric or a table here is full, or a page is exclusive */
    uint64_t exclusive[FAR_EXCLUSIVE_MAX];
    uint32_t exclusive_count;
    uint8_t *zeros; /* a page */
    uint32_t piece_free;
    struct piece pieces[FAR_PIECES_MAX];
};

/* What became of one step of a request. */
enum step {
    STEP_MOVED,
    STEP_WAIT_SLAB,
    STEP_WAIT_ROOM,
    STEP_FAILED, /* request->status says why */
};

int far_io_open(const struct slab_pool_config *config, const struct guest_memory *memory,
                const struct far_io_callbacks *callbacks, struct far_io **ret)
{
    struct far_io *io = calloc(1, sizeof(*io));
    void *zeros = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    int r = io == NULL || zeros == NULL ? -ENOMEM : slab_pool_init(&io->pool, config, memory);
    if (r < 0) {
        free(zeros);
        free(io);
        return r;
    }
    io->zeros = memset(zeros, 0, PAGE_BYTES);
    io->callbacks = *callbacks;
    list_init(&io->waits_slab);
    list_init(&io->waits_room);
    for (uint32_t i = 0; i < FAR_PIECES_MAX; i++) {
        io->pieces[i].next_free = i + 1;
    }
    *ret = io;
    return 0;
}

struct far_io *far_io_close(struct far_io *io)
{
    if (io != NULL) {
        for (uint32_t i = 0; i < FAR_PIECES_MAX; i++) {
            if (io->pieces[i].slab != NULL && io->pieces[i].request == NULL) {
                (void)slab_close(io->pieces[i].slab);
            }
        }
        slab_pool_fini(&io->pool);
        free(io->zeros);
        free(io);
    }
    return NULL;
}

/* Of the piece that is opened next. */
static uint64_t piece_token(const struct far_io *io)
{
    return (uint64_t)(io->pieces[io->piece_free].use + 1) << 32 | io->piece_free;
}

static struct piece *piece_open(struct far_io *io, struct far_request *request, struct slab *slab)
{
    CHECK(io->piece_free < FAR_PIECES_MAX);
    struct piece *piece = &io->pieces[io->piece_free];
    io->piece_free = piece->next_free;
    *piece = (struct piece){
        .request = request, .slab = slab, .exclusive_page = PAGE_NONE, .use = piece->use + 1};
    return piece;
}

static void piece_close(struct far_io *io, struct piece *piece)
{
    piece->slab = NULL;
    piece->request = NULL;
    piece->next_free = io->piece_free;
    io->piece_free = (uint32_t)(piece - io->pieces);
}

static uint64_t far_page(const struct far_io *io, const struct far_span *span)
{
    return ((span->number << slab_map_shift(io->pool.map)) + span->offset) / PAGE_BYTES;
}

/* Whether a first, partial write of a page in [offset, offset + bytes) is under way. */
static bool is_exclusive(const struct far_io *io, const struct far_span *span, uint64_t bytes)
{
    uint64_t first = far_page(io, span);
    uint64_t last = first + (span->offset % PAGE_BYTES + bytes - 1) / PAGE_BYTES;
    for (uint32_t i = 0; i < io->exclusive_count; i++) {
        if (io->exclusive[i] >= first && io->exclusive[i] <= last) {
            return true;
        }
    }
    return false;
}

static void exclusive_remove(struct far_io *io, uint64_t page)
{
    for (uint32_t i = 0; i < io->exclusive_count; i++) {
        if (io->exclusive[i] == page) {
            io->exclusive[i] = io->exclusive[--io->exclusive_count];
            return;
        }
    }
}

static enum step fail(struct far_request *request, uint8_t status)
{
    request->status = status;
    return STEP_FAILED;
}

static void lose(struct far_io *io, const char *text)
{
    if (!io->lost) {
        io->lost = true;
        io->callbacks.lost(io->callbacks.lost_context, text);
    }
}

static void slab_lose(struct far_io *io, struct slab *slab, int error)
{
    char text[SLAB_POOL_TEXT_BYTES];
    slab->lost = true;
    (void)snprintf(text, sizeof(text), "memory node %s lost (slab %u: %s)",
                   slab_pool_node(&io->pool, slab), slab->slab_index,
                   error == -EACCES
                       ? "it does not know our grant: it was started anew, or revoked it"
                       : strerror(-error));
    lose(io, text);
}

/* Posts one operation for the request. */
static enum step post(struct far_io *io, struct far_request *request, const struct far_span *span,
                      uint64_t offset, bool writes, const struct iovec *segments, uint32_t count,
                      struct piece **ret_piece)
{
    if (io->piece_free == FAR_PIECES_MAX) {
        return STEP_WAIT_ROOM;
    }
    struct slab *slab = span->slab;
    struct fabric_peer *fabric = slab_pool_fabric(&io->pool, slab);
    uint64_t token = piece_token(io);
    int r = writes ? fabric_write(fabric, slab->fabric_slab, offset, segments, count, token)
                   : fabric_read(fabric, slab->fabric_slab, offset, segments, count, token);
    if (r == -EAGAIN) {
        return STEP_WAIT_ROOM;
    }
    if (r < 0) {
        slab_lose(io, slab, r);
        return fail(request, VIRTIO_BLK_S_IOERR);
    }
    *ret_piece = piece_open(io, request, slab);
    slab->in_flight++;
    request->in_flight++;
    io->in_flight++;
    return STEP_MOVED;
}

static void zero_segments(const struct iovec *segments, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        memset(segments[i].iov_base, 0, segments[i].iov_len);
    }
}

static enum step step_read(struct far_io *io, struct far_request *request, struct far_span *span)
{
    struct iovec segments[FABRIC_SEGMENTS_MAX];
    uint32_t count;
    struct slab *slab = span->slab;
    bool has_data = false;
    if (slab != NULL) {
        if (slab->lost) {
            return fail(request, VIRTIO_BLK_S_IOERR);
        }
        uint64_t page = span->offset / PAGE_BYTES;
        uint64_t page_end = ALIGN_UP(span->offset + span->bytes, PAGE_BYTES) / PAGE_BYTES;
        has_data = slab_page_is_set(slab, page);
        uint64_t run_end = bitmap_find(slab->pages, page_end, page + 1, !has_data) * PAGE_BYTES;
        span->bytes = MIN(span->bytes, run_end - span->offset);
    }
    uint64_t bytes = far_request_slice(request, MIN(span->bytes, FABRIC_REQUEST_BYTES_MAX),
                                       segments, SLICE_MAX, &count);
    if (!has_data) {
        zero_segments(segments, count);
        io->counters.bytes_zero += bytes;
    } else {
        if (is_exclusive(io, span, bytes)) {
            return STEP_WAIT_ROOM;
        }
        struct piece *piece;
        enum step step = post(io, request, span, span->offset, false, segments, count, &piece);
        if (step != STEP_MOVED) {
            return step;
        }
    }
    far_request_advance(request, bytes);
    return STEP_MOVED;
}

/*
 * The first write of a page covers a part of it only: the rest must read as zeros, so it is written
 * too, and until that is done nobody else may touch the page.
 */
static enum step write_first_part(struct far_io *io, struct far_request *request,
                                  const struct far_span *span, uint64_t bytes,
                                  const struct iovec *data, uint32_t data_count)
{
    if (io->exclusive_count == FAR_EXCLUSIVE_MAX) {
        return STEP_WAIT_ROOM;
    }
    struct iovec segments[FABRIC_SEGMENTS_MAX];
    uint32_t count = 0;
    uint64_t before = span->offset % PAGE_BYTES;
    uint64_t behind = PAGE_BYTES - before - bytes;
    if (before != 0) {
        segments[count++] = (struct iovec){.iov_base = io->zeros, .iov_len = before};
    }
    memcpy(&segments[count], data, data_count * sizeof(*data));
    count += data_count;
    if (behind != 0) {
        segments[count++] = (struct iovec){.iov_base = io->zeros, .iov_len = behind};
    }
    struct piece *piece;
    enum step step = post(io, request, span, span->offset - before, true, segments, count, &piece);
    if (step == STEP_MOVED) {
        piece->exclusive_page = far_page(io, span);
        io->exclusive[io->exclusive_count++] = piece->exclusive_page;
        slab_pages_set(span->slab, span->offset / PAGE_BYTES, 1);
        far_request_advance(request, bytes);
    }
    return step;
}

static enum step step_write_slab(struct far_io *io, struct far_request *request,
                                 struct far_span *span)
{
    struct iovec segments[FABRIC_SEGMENTS_MAX];
    uint32_t count;
    uint64_t in_page = span->offset % PAGE_BYTES;
    uint64_t wanted = MIN(span->bytes, FABRIC_REQUEST_BYTES_MAX);
    bool whole = in_page == 0 && wanted >= PAGE_BYTES;
    wanted = whole ? ALIGN_DOWN(wanted, PAGE_BYTES) : MIN(wanted, PAGE_BYTES - in_page);
    uint64_t bytes = far_request_slice(request, wanted, segments, SLICE_MAX, &count);
    if (whole && bytes % PAGE_BYTES != 0) {
        /* Scattered so finely that an operation can't hold it: whole pages, else a part of one. */
        whole = bytes > PAGE_BYTES;
        bytes = far_request_slice(request, whole ? ALIGN_DOWN(bytes, PAGE_BYTES) : bytes, segments,
                                  SLICE_MAX, &count);
    }
    if (is_exclusive(io, span, bytes)) {
        return STEP_WAIT_ROOM;
    }
    uint64_t page = span->offset / PAGE_BYTES;
    if (!whole && !slab_page_is_set(span->slab, page)) {
        return write_first_part(io, request, span, bytes, segments, count);
    }
    struct piece *piece;
    enum step step = post(io, request, span, span->offset, true, segments, count, &piece);
    if (step == STEP_MOVED) {
        slab_pages_set(span->slab, page, whole ? bytes / PAGE_BYTES : 1);
        far_request_advance(request, bytes);
    }
    return step;
}

static enum step step_write(struct far_io *io, struct far_request *request, struct far_span *span)
{
    if (span->slab == NULL) {
        if (io->pool.config.far_bytes == 0) {
            return fail(request, VIRTIO_BLK_S_NOSPC);
        }
        span->slab = slab_pool_take(&io->pool, span->number);
        if (span->slab == NULL && io->pool.refused) {
            /* Fails at once, also with the controller away; another is asked for meanwhile. */
            io->pool.missed = true;
            return fail(request, VIRTIO_BLK_S_NOSPC);
        }
        if (span->slab == NULL) {
            return STEP_WAIT_SLAB;
        }
    }
    if (span->slab->lost) {
        return fail(request, VIRTIO_BLK_S_IOERR);
    }
    return step_write_slab(io, request, span);
}

static void put_back_if_empty(struct far_io *io, struct slab *slab)
{
    if (slab->pages_set == 0 && slab->in_flight == 0) {
        slab_pool_put_back(&io->pool, slab);
    }
}

/* DISCARD and WRITE_ZEROES: whole pages lose their bit, parts of pages are overwritten. */
static enum step step_discard(struct far_io *io, struct far_request *request, struct far_span *span)
{
    struct slab *slab = span->slab;
    if (slab == NULL) {
        far_request_advance(request, span->bytes);
        return STEP_MOVED;
    }
    if (slab->lost) {
        return fail(request, VIRTIO_BLK_S_IOERR);
    }
    uint64_t page = span->offset / PAGE_BYTES;
    uint64_t in_page = span->offset % PAGE_BYTES;
    bool whole = in_page == 0 && span->bytes >= PAGE_BYTES;
    uint64_t bytes =
        whole ? ALIGN_DOWN(span->bytes, PAGE_BYTES) : MIN(span->bytes, PAGE_BYTES - in_page);
    if (is_exclusive(io, span, bytes)) {
        return STEP_WAIT_ROOM;
    }
    if (whole) {
        slab_pages_clear(slab, page, bytes / PAGE_BYTES);
        put_back_if_empty(io, slab);
    } else if (slab_page_is_set(slab, page)) {
        struct iovec zeros = {.iov_base = io->zeros, .iov_len = bytes};
        struct piece *piece;
        enum step step = post(io, request, span, span->offset, true, &zeros, 1, &piece);
        if (step != STEP_MOVED) {
            return step;
        }
    }
    far_request_advance(request, bytes);
    return STEP_MOVED;
}

static enum step step(struct far_io *io, struct far_request *request, struct far_span *span)
{
    switch (request->blk.type) {
    case VIRTIO_BLK_T_IN:
        return step_read(io, request, span);
    case VIRTIO_BLK_T_OUT:
        return step_write(io, request, span);
    default:
        return step_discard(io, request, span);
    }
}

static void count(struct far_io *io, const struct far_request *request)
{
    struct far_counters *counters = &io->counters;
    counters->failed += request->status != VIRTIO_BLK_S_OK ? 1 : 0;
    counters->no_space += request->status == VIRTIO_BLK_S_NOSPC ? 1 : 0;
    if (request->status != VIRTIO_BLK_S_OK) {
        return;
    }
    if (request->blk.type == VIRTIO_BLK_T_IN) {
        counters->reads++;
        counters->bytes_read += request->blk.bytes;
    } else if (request->blk.type == VIRTIO_BLK_T_OUT) {
        counters->writes++;
        counters->bytes_written += request->blk.bytes;
    } else {
        counters->discards++;
        for (uint32_t i = 0; i < request->blk.range_count; i++) {
            counters->bytes_discarded += request->blk.ranges[i].bytes;
        }
    }
}

static void finish_if_done(struct far_io *io, struct far_request *request)
{
    if (request->in_flight != 0 || request->waits) {
        return;
    }
    if (request->status == VIRTIO_BLK_S_OK && request->blk.type == VIRTIO_BLK_T_IN) {
        request->written = (uint32_t)request->blk.bytes;
    }
    count(io, request);
    io->pending--;
    io->callbacks.done(io->callbacks.done_context, request);
}

static void wait_in(struct list *list, struct far_request *request)
{
    request->waits = true;
    list_append(list, &request->link);
}

static void run(struct far_io *io, struct far_request *request)
{
    struct far_span span;
    while (request->status == VIRTIO_BLK_S_OK && far_request_next(request, io->pool.map, &span)) {
        enum step result = step(io, request, &span);
        if (result == STEP_WAIT_SLAB) {
            io->counters.slab_waits++;
            wait_in(&io->waits_slab, request);
            return;
        }
        if (result == STEP_WAIT_ROOM) {
            wait_in(&io->waits_room, request);
            return;
        }
    }
    finish_if_done(io, request);
}

void far_io_submit(struct far_io *io, struct far_request *request)
{
    far_request_start(request);
    io->pending++;
    run(io, request);
}

/* Goes on with each request that is in `list` now, once. */
static void run_waiting(struct far_io *io, struct list *list)
{
    struct list now;
    list_init(&now);
    if (list_empty(list)) {
        return;
    }
    list_insert_before(list->next, &now);
    list_remove(list);
    while (!list_empty(&now)) {
        struct far_request *request = list_entry(list_first(&now), struct far_request, link);
        list_remove(&request->link);
        request->waits = false;
        run(io, request);
    }
}

static void fail_waiting(struct far_io *io, struct list *list, uint8_t status)
{
    while (!list_empty(list)) {
        struct far_request *request = list_entry(list_first(list), struct far_request, link);
        list_remove(&request->link);
        request->waits = false;
        request->status = status;
        finish_if_done(io, request);
    }
}

void far_io_fail_waiting(struct far_io *io)
{
    fail_waiting(io, &io->waits_slab, VIRTIO_BLK_S_IOERR);
    fail_waiting(io, &io->waits_room, VIRTIO_BLK_S_IOERR);
}

/* Slabs are granted, but none can be used: what waits for one must not wait for ever. */
static void check_grant_failures(struct far_io *io)
{
    if (io->pool.grant_failures >= SLAB_POOL_GRANT_FAILURES_MAX) {
        io->pool.grant_failures = 0;
        io->pool.refused = true;
        if (!list_empty(&io->waits_slab)) {
            lose(io, "no memory node that grants slabs can be reached");
        }
        fail_waiting(io, &io->waits_slab, VIRTIO_BLK_S_IOERR);
    }
}

static void complete_io(struct far_io *io, struct piece *piece, int status)
{
    struct far_request *request = piece->request;
    struct slab *slab = piece->slab;
    if (piece->exclusive_page != PAGE_NONE) {
        exclusive_remove(io, piece->exclusive_page);
    }
    piece_close(io, piece);
    slab->in_flight--;
    request->in_flight--;
    io->in_flight--;
    if (status != 0) {
        slab_lose(io, slab, status);
        request->status = VIRTIO_BLK_S_IOERR;
    } else {
        put_back_if_empty(io, slab);
    }
    if (request->waits && request->status != VIRTIO_BLK_S_OK) {
        list_remove(&request->link);
        request->waits = false;
    }
    finish_if_done(io, request);
}

static void complete(struct far_io *io, const struct fabric_done *done)
{
    uint32_t index = (uint32_t)done->token;
    CHECK(index < FAR_PIECES_MAX);
    struct piece *piece = &io->pieces[index];
    if (piece->slab == NULL || piece->use != done->token >> 32) {
        /* Repeated: what it moves may be another request's, or nobody's, by now. */
        io->counters.repeats++;
        return;
    }
    if (piece->request != NULL) {
        complete_io(io, piece, done->status);
        return;
    }
    struct slab *slab = piece->slab;
    piece_close(io, piece);
    slab_pool_attached(&io->pool, slab, done->status);
    check_grant_failures(io);
    run_waiting(io, &io->waits_slab);
    slab_pool_trim(&io->pool);
}

uint32_t far_io_poll(struct far_io *io)
{
    struct fabric_done done[POLL_BATCH];
    uint32_t total = 0;
    bool died = false;
    for (uint32_t i = 0; i < io->pool.peer_count; i++) {
        const struct slab_pool_peer *peer = &io->pool.peers[i];
        if (peer->fabric == NULL) {
            continue;
        }
        uint32_t count_done = fabric_poll(peer->fabric, done, POLL_BATCH);
        for (uint32_t k = 0; k < count_done; k++) {
            complete(io, &done[k]);
        }
        total += count_done;
        died = died || (!peer->dead && peer->fabric != NULL && !fabric_alive(peer->fabric));
    }
    if (died) {
        slab_pool_check_peers(&io->pool);
    }
    if (total > 0 || died) {
        run_waiting(io, &io->waits_room);
    }
    return total;
}

void far_io_arm(struct far_io *io)
{
    for (uint32_t i = 0; i < SLAB_POOL_PEERS_MAX; i++) {
        if (io->pool.peers[i].fabric != NULL) {
            fabric_arm(io->pool.peers[i].fabric);
        }
    }
}

uint32_t far_io_pending(const struct far_io *io)
{
    return io->pending;
}

uint32_t far_io_in_flight(const struct far_io *io)
{
    return io->in_flight + io->pool.attaching;
}

/* How many different slabs the first few waiting writes want. */
static uint32_t count_wanted(struct far_io *io)
{
    uint64_t numbers[WAITERS_MAX];
    uint32_t found = 0;
    uint32_t looked_at = 0;
    list_for_each (node, &io->waits_slab) {
        struct far_span span;
        bool known =
            !far_request_next(list_entry(node, struct far_request, link), io->pool.map, &span);
        for (uint32_t i = 0; i < found && !known; i++) {
            known = numbers[i] == span.number;
        }
        if (!known) {
            numbers[found++] = span.number;
        }
        if (++looked_at == WAITERS_MAX) {
            break;
        }
    }
    return found;
}

uint32_t far_io_ask(struct far_io *io)
{
    if (io->pool.asked) {
        return 0;
    }
    uint32_t ask = slab_pool_ask(&io->pool, count_wanted(io));
    io->pool.asked = ask > 0;
    return ask;
}

void far_io_grant(struct far_io *io, const struct slab_grant *grants, uint32_t count_grants)
{
    io->pool.asked = false;
    for (uint32_t i = 0; i < count_grants; i++) {
        if (io->piece_free == FAR_PIECES_MAX) {
            far_io_poll(io);
        }
        struct slab *slab;
        int r = io->piece_free == FAR_PIECES_MAX
                    ? -EAGAIN
                    : slab_pool_grant(&io->pool, &grants[i], piece_token(io), &slab);
        if (r == 0) {
            (void)piece_open(io, NULL, slab);
        }
    }
    check_grant_failures(io);
}

void far_io_refuse(struct far_io *io)
{
    io->pool.asked = false;
    io->pool.refused = true;
    io->pool.missed = false;
    fail_waiting(io, &io->waits_slab, VIRTIO_BLK_S_NOSPC);
}

void far_io_set_far(struct far_io *io, uint64_t far_bytes)
{
    io->pool.config.far_bytes = far_bytes;
    io->pool.refused = false;
    io->pool.missed = false;
}

const struct far_counters *far_io_counters(const struct far_io *io)
{
    return &io->counters;
}

struct slab_pool *far_io_pool(struct far_io *io)
{
    return &io->pool;
}
