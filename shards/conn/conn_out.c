/*
 * conn_out: frames → sends.
 *
 * What a turn pushed to a connection leaves in one send at its end: the frame
 * itself when it is alone, else a gathered copy, and connections whose pending
 * frames are the same list share one copy.  A send that goes whole reports
 * nothing; after the enter conn_flush_done gives its frames back.  Otherwise the
 * connection is BLOCKED until one waiting send has finished the frame that went
 * in part; everything else queues.
 *
 * Budget of a push: one count, one pointer stored; no allocation but a chunk
 * from a slab for the second of a dozen frames.  A lone frame, as most sends are,
 * stands in the connection: two cache lines less on each of three walks.
 *
 * Invariant:  out_bytes + out_skip = sum of sizes of the pending frames,
 *             out_flight <= out_bytes, out_owed <= out_bytes,
 *             BLOCKED implies out_flight == 0 and not LONE.
 */
#include "shards/conn/conn.h"

#include <errno.h>
#include <string.h>

#include "core/check.h"
#include "shards/cmd/connect_subs.h"
#include "shards/conn/conn_tls.h"
#include "shards/shard.h"

#define CHUNK_FRAMES      11
/* Frames of a list that is shared; a longer one is gathered for itself. */
#define GATHER_FRAMES_MAX 128

struct out_chunk {
    struct out_chunk *next;
    struct out_chunk *last; /* of the queue; valid in its first link */
    uint16_t first, count;  /* frames[first .. first + count) are pending */
    uint32_t since_s;       /* its frames wait since then, or later: see oldest_s */
    struct frame *frames[CHUNK_FRAMES];
};
static_assert(sizeof(struct out_chunk) == OUT_CHUNK_SIZE, "two cache lines");

void conn_mark_dirty(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_DIRTY) return;
    conn->flags |= CONN_DIRTY;
    indexes_add(&shard->dirty, conn_index(shard, conn));
}

static struct frame *chunk_newest(const struct out_chunk *chunk)
{
    check(chunk->count > 0);
    return chunk->frames[chunk->first + chunk->count - 1];
}

static struct frame *out_newest(const struct conn *conn)
{
    return conn->flags & CONN_LONE ? conn->out_lone : chunk_newest(conn->out_first->last);
}

static struct frame *out_oldest(const struct conn *conn)
{
    if (conn->flags & CONN_LONE) return conn->out_lone;
    return conn->out_first->frames[conn->out_first->first];
}

/* Small answers that wait share a buffer: a queue's bytes are what it costs, be they
 * half a million pongs.  Deliveries stay shared by their readers while those keep up. */
static bool queue_pack(const struct conn *conn, const struct frame *frame)
{
    if (frame->refs > 1 || (frame->letter != NULL && !(conn->flags & CONN_BLOCKED))) return false;
    return frame_append(out_newest(conn), frame);
}

/* The shard's pool of queues is spent: this reader waits longest for it. */
static void queue_refuse(struct shard *shard, struct conn *conn)
{
    conn->close = conn->close == CLOSE_NONE ? CLOSE_SLOW : conn->close;
    conn_close_peer(shard, conn);
}

/* A chunk at the queue's end; NULL when there is none left. */
static struct out_chunk *queue_extend(struct shard *shard, struct conn *conn)
{
    struct out_chunk *chunk = slab_get(&shard->out_chunks, NULL);
    if (chunk == NULL) return NULL;
    if (conn->out_first == NULL)
        conn->out_first = chunk;
    else
        conn->out_first->last->next = chunk;
    conn->out_first->last = chunk;
    chunk->since_s = shard_second(shard);
    return chunk;
}

/* A lone frame moves into a queue, for others to follow or because it will wait; false:
 * there is none left. */
static bool out_unfold(struct shard *shard, struct conn *conn)
{
    if (!(conn->flags & CONN_LONE)) return true;
    struct frame *lone = conn->out_lone;
    conn->out_first = NULL;
    struct out_chunk *chunk = queue_extend(shard, conn);
    if (chunk == NULL) {
        conn->out_lone = lone;
        return false;
    }
    conn->flags &= ~(uint32_t)CONN_LONE;
    chunk->frames[0] = lone;
    chunk->count = 1;
    return true;
}

void conn_queue(struct shard *shard, struct conn *conn, struct frame *frame)
{
    check(conn->state != CONN_FREE && conn->state != CONN_DYING);
    bool is_first = conn->out_first == NULL;
    if (is_first && !(conn->flags & CONN_BLOCKED)) {
        frame_ref(frame);
        conn->out_lone = frame;
        conn->flags |= CONN_LONE;
    } else if (is_first || !queue_pack(conn, frame)) {
        if (!out_unfold(shard, conn)) {
            queue_refuse(shard, conn);
            return;
        }
        struct out_chunk *last = is_first ? NULL : conn->out_first->last;
        if (last == NULL || last->first + last->count == CHUNK_FRAMES)
            last = queue_extend(shard, conn);
        if (last == NULL) {
            queue_refuse(shard, conn);
            return;
        }
        /* Whoever reads slowly holds no letter: its home counts them as its backlog. */
        if (conn->flags & CONN_BLOCKED) frame_own(&shard->frames, frame);
        frame_ref(frame);
        last->frames[last->first + last->count++] = frame;
    }
    conn->out_bytes += frame->size;
    conn_mark_dirty(shard, conn);
}

static uint64_t queue_limit(const struct shard *shard)
{
    return max_u64(shard->config->client_queue_max_bytes,
                   shard->config->websocket_message_max_bytes);
}

bool conn_is_full(const struct shard *shard, const struct conn *conn)
{
    return conn->out_bytes > queue_limit(shard);
}

/* A frame that waits was queued then or earlier.  A chunk begins with the second of
 * its first frame; as frames of it go, what is left is taken to be as young as can
 * be; so the second chunk, none of which went, is the better witness.  Nobody is
 * taken for slower than he is, and the error is a chunk's frames. */
static uint32_t oldest_s(const struct conn *conn)
{
    const struct out_chunk *first = conn->out_first;
    check(first != NULL && !(conn->flags & CONN_LONE));
    return first->next != NULL ? first->next->since_s : first->since_s;
}

uint32_t conn_late_s(const struct shard *shard, const struct conn *conn)
{
    uint64_t age_s = (shard->config->client_queue_max_age_ms + 999) / 1000;
    return oldest_s(conn) + (uint32_t)age_s + 1;
}

/* Large answers that the client asked for take as long as bytes go at all: whoever
 * reads nothing of one misses his pong. */
bool conn_is_late(const struct shard *shard, const struct conn *conn)
{
    if (!(conn->flags & CONN_BLOCKED) || conn->out_first == NULL || conn->out_owed > 0)
        return false;
    return shard_second(shard) >= conn_late_s(shard, conn);
}

/* A reader that does not keep up is ended, never skipped.  The limit is about what
 * the kernel would not take: a connection that is not blocked gets everything
 * of this turn, and one message always fits.  Answers that it asked for and what
 * stands before them do not count: nobody reads 20 MB of missed publications in
 * the turn in which they are queued. */
static bool is_too_slow(const struct shard *shard, const struct conn *conn, uint32_t size)
{
    uint64_t limit = queue_limit(shard);
    uint64_t waiting = conn->out_bytes - conn->out_owed;
    if (waiting == 0) return false;
    uint64_t after = waiting + size;
    return conn->flags & CONN_BLOCKED ? after > limit : after > OUT_BURST_FACTOR * limit;
}

void conn_push(struct shard *shard, struct conn *conn, struct frame *frame)
{
    if (conn->state != CONN_WS && conn->state != CONN_HTTP) return;
    if (conn->flags & CONN_CONNECTING && connect_hold(shard, conn, frame)) return;
    if (is_too_slow(shard, conn, frame->size)) {
        conn_end(shard, conn, CLOSE_SLOW);
        return;
    }
    metric_add(&shard->metrics, METRIC_DELIVERED, 1);
    conn_queue(shard, conn, frame);
}

uint8_t *conn_behind(struct shard *shard, struct conn *conn, uint32_t size)
{
    if (conn->state != CONN_WS || conn->flags & CONN_CONNECTING) return NULL;
    if (conn->out_first == NULL || is_too_slow(shard, conn, size)) return NULL;
    return frame_behind(out_newest(conn), size);
}

void conn_extend(struct shard *shard, struct conn *conn, uint32_t size)
{
    frame_extend(out_newest(conn), size);
    conn->out_bytes += size;
    conn_mark_dirty(shard, conn);
    metric_add(&shard->metrics, METRIC_DELIVERED, 1);
}

/* --- memory ahead of its use ---------------------------------------------- */

/* Between a connection's push, its flush and the end of its send the kernel walks some
 * 4 KB of its own for every other one, so that ours has left the nearer caches: out_pop
 * waited for its queue's lines three quarters of its time.  Hence connections are
 * fetched some places ahead, and their queues when they have come. */
#define AHEAD 8

static void fetch_ahead(struct shard *shard, const uint32_t *conns, uint32_t count, uint32_t i)
{
    if (i + AHEAD < count) slab_prefetch(&shard->conns, conns[i + AHEAD]);
    if (i + AHEAD / 2 >= count) return;
    const struct conn *conn = conn_at(shard, conns[i + AHEAD / 2]);
    if (conn == NULL || conn->out_first == NULL || conn->flags & CONN_LONE) return;
    __builtin_prefetch(conn->out_first, 1);
    __builtin_prefetch((const uint8_t *)conn->out_first + CACHE_LINE, 1);
}

/* --- taking away what went ------------------------------------------------ */

/* The first `gone` bytes of a lone frame went; how many, if it stays. */
static uint32_t lone_pop(struct shard *shard, struct conn *conn, uint32_t gone)
{
    struct frame *lone = conn->out_lone;
    check(gone <= lone->size);
    if (gone < lone->size) return gone;
    conn->flags &= ~(uint32_t)CONN_LONE;
    conn->out_first = NULL;
    frame_unref(&shard->frames, lone);
    return 0;
}

/* `sent` bytes of the pending ones went: gives back the frames that are done. */
static void out_pop(struct shard *shard, struct conn *conn, uint32_t sent)
{
    check(sent <= conn->out_bytes);
    check(conn->out_owed <= conn->out_bytes);
    conn->out_bytes -= sent;
    conn->out_owed -= min_u32(conn->out_owed, sent);
    if (sent > 0) conn->flags |= CONN_MOVED;
    /* Its commands may have waited for room here. */
    if (conn->flags & CONN_PAUSED && !conn_is_full(shard, conn)) shard->is_credit_back = true;
    uint32_t gone = sent + conn->out_skip;
    if (conn->flags & CONN_LONE) {
        conn->out_skip = lone_pop(shard, conn, gone);
        return;
    }
    while (gone > 0) {
        struct out_chunk *chunk = conn->out_first;
        uint32_t first = chunk->first, end = first + chunk->count;
        /* The next frame is found without what the last one wrote: a third of the time. */
        for (; first < end && gone >= chunk->frames[first]->size; first++) {
            gone -= chunk->frames[first]->size;
            frame_unref(&shard->frames, chunk->frames[first]);
        }
        if (first == end) {
            conn->out_first = chunk->next;
            if (chunk->next != NULL) chunk->next->last = chunk->last;
            slab_put(&shard->out_chunks, chunk);
            continue;
        }
        if (first > chunk->first) chunk->since_s = shard_second(shard);
        chunk->first = (uint16_t)first;
        chunk->count = (uint16_t)(end - first);
        break;
    }
    conn->out_skip = gone;
}

void conn_drop_output(struct shard *shard, struct conn *conn, bool keep_partial)
{
    /* What records on their way hold is gone; only a frame that they end within must
     * be finished. */
    bool is_tls = conn->flags & CONN_TLS;
    if (is_tls && conn->out_flight == 0) out_pop(shard, conn, conn_tls_commit(shard, conn));
    bool is_blocked = conn->flags & CONN_BLOCKED && !is_tls;
    bool keep = keep_partial && (conn->out_skip > 0 || is_blocked || conn->out_flight > 0);
    struct frame *partial = NULL;
    if (keep && conn->out_flight == 0 && conn->out_first != NULL) {
        partial = out_oldest(conn);
        frame_ref(partial);
    }
    if (keep && conn->out_flight > 0) return; /* its fate is not known yet: let all of it go */
    if (conn->flags & CONN_LONE) (void)lone_pop(shard, conn, conn->out_lone->size);
    for (struct out_chunk *chunk = conn->out_first, *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        for (uint32_t i = 0; i < chunk->count; i++)
            frame_unref(&shard->frames, chunk->frames[chunk->first + i]);
        slab_put(&shard->out_chunks, chunk);
    }
    conn->out_first = NULL;
    conn->out_bytes = conn->out_owed = 0;
    if (partial == NULL) {
        conn->out_skip = 0;
        return;
    }
    uint32_t skip = conn->out_skip;
    conn_queue(shard, conn, partial);
    conn->out_bytes -= skip;
    frame_unref(&shard->frames, partial);
}

/* The queue is empty: what waited for that happens now. */
static void out_empty(struct shard *shard, struct conn *conn)
{
    if (conn->flags & CONN_CLOSE_SENT && conn->state != CONN_DYING) conn_linger(shard, conn);
    if (conn->flags & CONN_FULL) {
        conn->flags &= ~(uint32_t)CONN_FULL;
        conn_resume(shard, conn);
    }
}

/* What was sent has gone: the rest follows at the turn's end. */
static void out_go_on(struct shard *shard, struct conn *conn)
{
    if (conn->out_bytes > 0 || (conn->flags & CONN_TLS && conn_tls_speaks(shard, conn)))
        conn_mark_dirty(shard, conn);
    else
        out_empty(shard, conn);
}

/* What waits from now on is the shard's own.  A waiting send has its bytes of an owned
 * frame, so no letter goes home under it. */
static void own_pending(struct shard *shard, struct conn *conn)
{
    for (struct out_chunk *chunk = conn->out_first; chunk != NULL; chunk = chunk->next)
        for (uint32_t i = 0; i < chunk->count; i++)
            frame_own(&shard->frames, chunk->frames[chunk->first + i]);
}

static void send_rest(struct shard *shard, struct conn *conn)
{
    if (!out_unfold(shard, conn)) {
        queue_refuse(shard, conn);
        return;
    }
    conn->flags |= CONN_BLOCKED;
    own_pending(shard, conn);
    /* Only who is blocked is looked at for it. */
    if (conn->state == CONN_WS && conn->flags & (CONN_CONNECTED | CONN_ECHO) &&
        conn->out_bytes > 0) {
        uint32_t late_s = conn_late_s(shard, conn);
        if (conn->due_s == 0 || late_s < conn->due_s) conn_due(shard, conn, late_s);
    } else if (conn->state == CONN_HTTP) {
        conn->flags &= ~(uint32_t)CONN_MOVED;
        conn_due(shard, conn, shard_second_after(shard, shard->config->client_queue_max_age_ms));
    }
    if (conn->flags & CONN_TLS) {
        conn_tls_send_rest(shard, conn);
        return;
    }
    check(conn->out_first != NULL);
    const struct frame *frame = conn->out_first->frames[conn->out_first->first];
    check(conn->out_skip < frame->size);
    loop_send_wait(shard->loop, conn_index(shard, conn), frame->bytes + conn->out_skip,
                   frame->size - conn->out_skip);
}

void conn_on_send(void *context, uint32_t sock, uint32_t sent, int error)
{
    struct shard *shard = context;
    struct conn *conn = conn_at(shard, sock);
    check(conn != NULL);
    bool is_tls = conn->flags & CONN_TLS;
    bool was_waiting = conn->flags & CONN_BLOCKED;
    bool is_dead = error != 0 && (was_waiting || error != EAGAIN);
    metric_add(&shard->metrics, METRIC_SENT_BYTES, sent);
    if (is_tls) sent = conn_tls_on_send(shard, conn, sent, is_dead || conn->state == CONN_DYING);
    conn->flags &= ~(uint32_t)CONN_BLOCKED;
    if (was_waiting)
        check(conn->out_flight == 0);
    else
        check(sent <= conn->out_flight);
    conn->out_flight = 0;
    out_pop(shard, conn, sent);

    if (conn->state == CONN_DYING) {
        conn_settle(shard, conn);
    } else if (is_dead) {
        conn->close = conn->close == CLOSE_NONE ? CLOSE_WRITE : conn->close;
        conn_close_peer(shard, conn);
    } else if (is_tls ? conn_tls_is_sending(shard, conn) : conn->out_bytes > 0 && !was_waiting) {
        send_rest(shard, conn);
    } else {
        out_go_on(shard, conn);
    }
}

/* --- the end of the turn -------------------------------------------------- */

/* The last gathered list, to be shared by those whose list is the same. */
struct gather {
    struct frame *frames[GATHER_FRAMES_MAX];
    uint32_t count; /* 0: the list cannot be shared */
    const uint8_t *bytes;
    uint32_t size;
};

/* Compared by the frames' pointers, chunk for chunk. */
static bool gather_is_same(const struct gather *gather, const struct conn *conn)
{
    if (gather->count == 0 || conn->out_skip != 0 || conn->out_bytes != gather->size) return false;
    uint32_t seen = 0;
    for (const struct out_chunk *chunk = conn->out_first; chunk != NULL; chunk = chunk->next) {
        if (chunk->count > gather->count - seen) return false;
        if (memcmp(&chunk->frames[chunk->first], &gather->frames[seen],
                   chunk->count * sizeof gather->frames[0]) != 0)
            return false;
        seen += chunk->count;
    }
    return seen == gather->count;
}

static void gather_copy(struct shard *shard, const struct conn *conn, struct gather *gather)
{
    uint32_t size = min_u32(conn->out_bytes, SEND_GATHER_MAX);
    uint8_t *bytes = arena_get(&shard->arena, size);
    uint32_t used = 0, count = 0, skip = conn->out_skip;
    bool is_shareable = size == conn->out_bytes && skip == 0;
    for (const struct out_chunk *chunk = conn->out_first; chunk != NULL && used < size;
         chunk = chunk->next)
        for (uint32_t i = chunk->first; i < (uint32_t)chunk->first + chunk->count && used < size;
             i++) {
            struct frame *frame = chunk->frames[i];
            uint32_t take = min_u32(frame->size - skip, size - used);
            memcpy(bytes + used, frame->bytes + skip, take);
            used += take;
            skip = 0;
            if (count < GATHER_FRAMES_MAX) gather->frames[count] = frame;
            count++;
        }
    check(used == size);
    gather->bytes = bytes;
    gather->size = size;
    gather->count = is_shareable && count <= GATHER_FRAMES_MAX ? count : 0;
}

/* What the connection sends this turn: the first frame where it is, or a gathered
 * copy. */
static struct bytes out_pending(struct shard *shard, const struct conn *conn, struct gather *gather)
{
    const struct frame *first = out_oldest(conn);
    uint32_t left = first->size - conn->out_skip;
    if (conn->out_bytes == left || left >= SEND_GATHER_MAX)
        return bytes_of(first->bytes + conn->out_skip, left);
    if (!gather_is_same(gather, conn)) gather_copy(shard, conn, gather);
    return bytes_of(gather->bytes, gather->size);
}

/* A dying connection sends its last words of TLS and nothing else. */
static bool flush_tls(struct shard *shard, struct conn *conn, struct gather *gather)
{
    if (conn->flags & CONN_BLOCKED) return false;
    struct bytes plain = BYTES_NONE;
    if (conn->state != CONN_DYING && conn->out_bytes > 0) plain = out_pending(shard, conn, gather);
    if (plain.size > SEND_GATHER_MAX) plain.size = SEND_GATHER_MAX;
    if (!conn_tls_send(shard, conn, plain)) return false;
    conn->out_flight = (uint32_t)plain.size;
    return true;
}

/* True when something left, whose fate is known after the enter. */
static bool flush_one(struct shard *shard, struct conn *conn, uint32_t index, struct gather *gather)
{
    conn->flags &= ~(uint32_t)CONN_DIRTY;
    if (unlikely(conn->flags & CONN_TLS)) return flush_tls(shard, conn, gather);
    if (conn->state == CONN_DYING || conn->flags & CONN_BLOCKED || conn->out_bytes == 0)
        return false;
    check(conn->out_flight == 0);
    struct bytes pending = out_pending(shard, conn, gather);
    conn->out_flight = (uint32_t)pending.size;
    loop_send_now(shard->loop, index, pending.at, conn->out_flight);
    return true;
}

/* The list of who is dirty becomes, in place, the list of whose send left. */
void conn_flush(struct shard *shard)
{
    check(shard->flushed.count == 0);
    struct indexes *dirty = &shard->dirty, empty = shard->flushed;
    struct gather gather;
    gather.count = 0;
    uint32_t sent = 0;
    for (uint32_t i = 0; i < dirty->count; i++) {
        fetch_ahead(shard, dirty->items, dirty->count, i);
        uint32_t index = dirty->items[i];
        struct conn *conn = conn_at(shard, index);
        if (conn != NULL && flush_one(shard, conn, index, &gather)) dirty->items[sent++] = index;
    }
    shard->flushed = *dirty;
    shard->flushed.count = sent;
    *dirty = empty;
}

/* True when a send of the last turn went whole: what did not has been in
 * conn_on_send. */
static bool is_sent(struct shard *shard, struct conn *conn)
{
    if (unlikely(conn->flags & CONN_TLS)) return conn_tls_is_sending(shard, conn);
    return conn->out_flight > 0;
}

void conn_flush_done(struct shard *shard)
{
    for (uint32_t i = 0; i < shard->flushed.count; i++) {
        fetch_ahead(shard, shard->flushed.items, shard->flushed.count, i);
        struct conn *conn = conn_at(shard, shard->flushed.items[i]);
        if (conn == NULL || !is_sent(shard, conn)) continue;
        uint32_t sent = conn->out_flight;
        conn->out_flight = 0;
        if (conn->flags & CONN_TLS) conn_tls_sent(shard, conn);
        metric_add(&shard->metrics, METRIC_SENT_BYTES, sent);
        out_pop(shard, conn, sent);
        if (conn->state == CONN_DYING)
            conn_settle(shard, conn);
        else
            out_go_on(shard, conn);
    }
    shard->flushed.count = 0;
}
